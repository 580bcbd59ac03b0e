"""
LoRAs on a compiled pipeline: merged into copies of the weights that they touch, which then replace the compiled graphs' own.

diffusers reads the files and merges them, in whatever format they come; only the merged tensors reach the graphs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from neuronkit.errors import InputError
from neuronkit.session import Session
from neuronkit.shells import Shell
from neuronkit_plugins.image.checkpoint import quiet
from neuronkit_plugins.image.components import MODULE_PATHS
from neuronkit_plugins.image.shells import plain_config

DEFAULT_NAME = "default_{}"


class Adapters:
    """
    The LoRAs of one session.

    Args:
        session: Compiled with its weights apart.
        eager_class: diffusers' own pipeline.
        components: Of the compiled pipeline, by name.

    """

    def __init__(self, session: Session, eager_class: Any, components: Mapping[str, Any]) -> None:
        self._session = session
        self._eager_class = eager_class
        self._components = dict(components)
        self._loaded: dict[str, tuple[Any, dict[str, Any]]] = {}
        self._scales: dict[str, Any] = {}
        self._changed: dict[str, set[str]] = {}

    @property
    def names(self) -> list[str]:
        """The loaded LoRAs, in the order in which they were loaded."""
        return list(self._loaded)

    @property
    def active(self) -> list[str]:
        """The LoRAs that are merged at present."""
        return list(self._scales)

    def load(self, model: Any, name: str | None, arguments: Mapping[str, Any]) -> None:
        """
        Read a LoRA, and merge it beside those that are active.

        Args:
            model: File, directory, hub id or state dict.
            name: None makes one up.
            arguments: For diffusers' `load_lora_weights` (``weight_name``).

        Raises:
            WeightsError: The weights are inside the graphs.
            InputError: The name is taken.

        """
        name = name or DEFAULT_NAME.format(len(self._loaded))
        if name in self._loaded:
            raise InputError(f"There is a LoRA {name!r} already. Try: another adapter_name, or unload_lora_weights().")
        before = self._loaded, self._scales
        self._loaded = {**self._loaded, name: (model, dict(arguments))}
        try:
            self.activate([*self._scales, name], [*self._scales.values(), 1.0])
        except Exception:
            self._loaded, self._scales = before
            raise

    def activate(self, names: Sequence[str], scales: Any = None) -> None:
        """
        Merge these LoRAs and no others.

        Args:
            names: Of loaded ones.
            scales: A strength for all, or one for each; None means 1.

        Raises:
            InputError: A name is not loaded, or there are more or fewer strengths than names.

        """
        unknown = sorted(set(names) - set(self._loaded))
        if unknown:
            raise InputError(f"There is no LoRA {unknown[0]!r}. Loaded: {', '.join(self._loaded) or 'none'}.")
        given = scales if isinstance(scales, (list, tuple)) else [1.0 if scales is None else scales] * len(names)
        if len(given) != len(names):
            raise InputError(f"set_adapters needs a weight for each of the {len(names)} adapters (got {len(given)}).")
        wanted = dict(zip(names, given, strict=True))
        self._replace(self._merge(wanted))
        self._scales = wanted

    def unload(self, names: Sequence[str] | None = None) -> None:
        """Forget LoRAs, by default all, and give their graphs the weights of the rest; without any, the artifact's own."""
        gone = set(self._loaded if names is None else names)
        kept = {name: scale for name, scale in self._scales.items() if name not in gone}
        self.activate(list(kept), list(kept.values()))
        self._loaded = {name: value for name, value in self._loaded.items() if name not in gone}

    def _merge(self, scales: Mapping[str, Any]) -> dict[str, dict[str, torch.Tensor]]:
        """Return the merged weights by component and by name in it."""
        if not scales:
            return {}
        components = {
            name: _fill(component, self._original(name))
            for name, component in self._components.items()
            if name in MODULE_PATHS and isinstance(component, Shell)
        }
        eager = self._eager_class(**{**self._components, **components})
        with quiet():
            for name in scales:
                model, arguments = self._loaded[name]
                eager.load_lora_weights(model, adapter_name=name, **arguments)
            touched = {name: _detach_touched(module) for name, module in components.items()}
            eager.set_adapters(list(scales), list(scales.values()))
            eager.fuse_lora(adapter_names=list(scales))
            eager.unload_lora_weights()
        merged = {name: dict(components[name].named_parameters()) for name in components}
        return {name: {key: merged[name][key].detach() for key in keys} for name, keys in touched.items() if keys}

    def _original(self, component: str) -> dict[str, torch.Tensor]:
        prefix = MODULE_PATHS[component]
        return {name.removeprefix(prefix): tensor for name, tensor in self._session.weights(component).items()}

    def _replace(self, merged: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
        """Bind merged weights, and the artifact's own where a LoRA no longer reaches."""
        for component in sorted({*merged, *self._changed}):
            prefix = MODULE_PATHS[component]
            new = {f"{prefix}{name}": tensor for name, tensor in merged.get(component, {}).items()}
            left = self._changed.get(component, set()) - set(new)
            original = self._session.weights(component)
            self._session.rebind(component, {**new, **{name: original[name] for name in left}})
            self._changed[component] = set(new)


def _fill(shell: Any, tensors: Mapping[str, torch.Tensor]) -> nn.Module:
    """Return the real module behind a shell with weights; nothing is copied."""
    base = shell.real_class
    with torch.device("meta"):
        module: nn.Module = (
            base.from_config(plain_config(shell)) if hasattr(base, "load_config") else base(shell.config)
        )
    module.load_state_dict(dict(tensors), strict=False, assign=True)
    return module.eval().requires_grad_(False)


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
