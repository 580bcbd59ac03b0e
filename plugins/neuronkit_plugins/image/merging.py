"""
LoRAs merged into the weights of components: before a compile, and for a loaded artifact.

diffusers merges those of a UNet. Those of text encoders are merged here: diffusers leaves them to PEFT through transformers,
where not every pair of releases fits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from math import sqrt
from typing import Any

import attrs
import torch
from torch import nn

from neuronkit.errors import InputError
from neuronkit_plugins.image.lora_file import Lora

UNET = "unet"
_ENDINGS = {
    ".lora_A.weight": "A",
    ".lora_B.weight": "B",
    ".lora_linear_layer.down.weight": "A",
    ".lora_linear_layer.up.weight": "B",
    "_lora.down.weight": "A",
    "_lora.up.weight": "B",
}
"""How the names of a text encoder's matrices end, once diffusers has read a file."""
_OLDER_NAMES = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}


@attrs.frozen
class ScaledLora:
    """
    A LoRA with its strength.

    Args:
        lora: What is merged.
        scale: Its strength, or one for each component.
        components: Where it is merged; None means wherever it has weights.
        factor: Multiplies its strength everywhere.

    """

    lora: Lora
    scale: Any = 1.0
    components: tuple[str, ...] | None = None
    factor: float = 1.0

    def scale_of(self, component: str) -> Any:
        """Return its strength in a component: 0 where it is not merged; for a UNet perhaps one for each block."""
        if self.components is not None and component not in self.components:
            return 0.0
        if not isinstance(self.scale, Mapping):
            return self.scale
        found = self.scale.get(component)
        return 1.0 if found is None else found


def merge(pipeline_class: Any, modules: Mapping[str, nn.Module], loras: Sequence[ScaledLora]) -> dict[str, list[str]]:
    """
    Merge LoRAs into modules in place; a weight that is touched becomes a float32 copy, and its module lets go of the old one.

    Args:
        pipeline_class: diffusers' own.
        modules: The real components, by name.
        loras: What to merge.

    Returns:
        The names of the touched weights by component.

    Raises:
        InputError: A LoRA does not fit a component.

    """
    names = [f"lora_{number}" for number in range(len(loras))]
    unet: Any = modules[UNET]
    touched: dict[str, list[str]] = {}
    for name, scaled in zip(names, loras, strict=True):
        lora = scaled.lora
        if UNET in lora.components:
            try:
                pipeline_class.load_lora_into_unet(
                    dict(lora.state),
                    network_alphas=dict(lora.alphas),
                    unet=unet,
                    adapter_name=name,
                    metadata=deepcopy(dict(lora.metadata)) or None,
                )
            except RuntimeError as error:  # as torch reports sizes that do not fit
                raise _other_model(UNET, lora.name) from error
        for component, module in modules.items():
            if component != UNET and scaled.scale_of(component):
                try:
                    changed = _merge_text(module, component, scaled)
                except RuntimeError as error:  # as torch reports sizes that do not fit
                    raise _other_model(component, lora.name) from error
                touched.setdefault(component, []).extend(changed)
    loaded = {
        name: scaled for name, scaled in zip(names, loras, strict=True) if name in getattr(unet, "peft_config", {})
    }
    if loaded:
        touched[UNET] = _detach_touched(unet)
        unet.set_adapters(list(loaded), [scaled.scale_of(UNET) for scaled in loaded.values()])
        _multiply(unet, {name: scaled.factor for name, scaled in loaded.items()})
        unet.fuse_lora(adapter_names=list(loaded))
        unet.unload_lora()
    return {component: list(dict.fromkeys(found)) for component, found in touched.items() if found}


def _multiply(unet: nn.Module, factors: Mapping[str, float]) -> None:
    """Multiply the strengths that LoRAs have in the layers of a UNet."""
    for layer in unet.modules():
        scaling = getattr(layer, "scaling", None)
        if hasattr(layer, "base_layer") and isinstance(scaling, dict):
            scaling.update({name: scaling[name] * factor for name, factor in factors.items() if name in scaling})


def _other_model(component: str, name: str) -> InputError:
    return InputError(f"{name} has other sizes than the layers of {component}: the LoRA is for another model.")


def _merge_text(encoder: nn.Module, component: str, scaled: ScaledLora) -> list[str]:
    """Add a LoRA to a text encoder's weights, and return the names of these."""
    state, metadata, scale = scaled.lora.of_component(component), scaled.lora.metadata, scaled.scale_of(component)
    if not state:
        return []
    if isinstance(scale, Mapping):
        raise InputError(f"set_adapters needs one weight for {component} (got {scale!r}).")
    for key, alpha in scaled.lora.alphas.items():
        down = key.removesuffix(".alpha")
        if down in state:
            up = down.replace(".down.", ".up.")
            state[up] = state[up] * (float(alpha) / state[down].shape[0])
    pairs: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in state.items():
        path, matrix = _parse(component, key.removeprefix(f"{component}."))
        pairs.setdefault(path, {})[matrix] = tensor.float()
    changed = []
    for path, pair in pairs.items():
        name, base = _find(encoder, component, path)
        strength = scale * scaled.factor * _strength(component, path, len(pair["A"]), metadata)
        merged = base.weight.detach().float() + strength * (pair["B"] @ pair["A"])
        base.weight = nn.Parameter(merged, requires_grad=False)
        changed.append(f"{name}.weight")
    return changed


def _parse(component: str, key: str) -> tuple[str, str]:
    """Return the path of a layer, and which of the two matrices a tensor is."""
    for ending, matrix in _ENDINGS.items():
        if key.endswith(ending):
            path, dot, layer = key.removesuffix(ending).rpartition(".")
            return f"{path}{dot}{_OLDER_NAMES.get(layer, layer)}", matrix
    raise InputError(f"{component}: a LoRA with {key!r} cannot be merged into a text encoder.")


def _find(encoder: nn.Module, component: str, path: str) -> tuple[str, Any]:
    """Return a layer with its path, which has a level more or less by the release of transformers that wrote the file."""
    level = "text_model."
    for name in (path, path.removeprefix(level), level + path):
        try:
            return name, encoder.get_submodule(name)
        except AttributeError:
            continue
    raise InputError(f"{component} has no layer {path!r}: the LoRA is for another model.")


def _strength(component: str, path: str, rank: int, metadata: Mapping[str, Any]) -> float:
    """Return alpha over rank as a file's metadata has them; without any, it is 1."""
    alpha = metadata.get(f"{component}.lora_alpha")
    if alpha is None:
        return 1.0
    patterns = metadata.get(f"{component}.alpha_pattern") or {}
    alpha = next((value for pattern, value in patterns.items() if path.endswith(pattern)), alpha)
    return float(alpha) / (sqrt(rank) if metadata.get(f"{component}.use_rslora") else rank)


def _detach_touched(module: nn.Module) -> list[str]:
    """Give the layers that a LoRA touches copies of their weights, in float32, and return the weights' names."""
    names = []
    for path, layer in module.named_modules():
        base = getattr(layer, "base_layer", None)
        if isinstance(base, nn.Module):
            for name, parameter in list(base.named_parameters(recurse=False)):
                copy = nn.Parameter(parameter.detach().float().contiguous().clone(), requires_grad=False)
                setattr(base, name, copy)
                names.append(f"{path}.{name}")
    return names
