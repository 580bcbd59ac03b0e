"""A LoRA as it was read: diffusers reads the files, in whatever format they come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import torch
from diffusers.loaders import StableDiffusionXLLoraLoaderMixin

from neuronkit.errors import InputError

MODULE_PATHS = {"text_encoder": "module.encoder.", "text_encoder_2": "module.encoder.", "unet": "module.unet."}
"""What takes LoRAs, and where it stands in the module that is traced: what its weights' names begin with in the graph."""


@attrs.frozen(eq=False)
class Lora:
    """
    A LoRA in memory: whatever becomes of its file, this stays.

    Args:
        name: What messages call it.
        state: Its matrices by component and layer, as `diffusers` names them.
        alphas: By layer, where a file has them as tensors.
        metadata: What a file says of itself.

    """

    name: str
    state: Mapping[str, torch.Tensor]
    alphas: Mapping[str, float]
    metadata: Mapping[str, Any]

    @property
    def components(self) -> frozenset[str]:
        """The components that it has weights for."""
        return frozenset(key.partition(".")[0] for key in self.state)

    def of_component(self, component: str) -> dict[str, torch.Tensor]:
        """Return its matrices for a component."""
        return {key: tensor for key, tensor in self.state.items() if key.startswith(f"{component}.")}


def read(pipeline_class: Any, model: Any, arguments: Mapping[str, Any], config: Any) -> Lora:
    """
    Read a LoRA.

    Args:
        pipeline_class: diffusers' own.
        model: File, directory, hub id or state dict.
        arguments: For diffusers' `lora_state_dict` (``weight_name``).
        config: The UNet's.

    Raises:
        InputError: It cannot be read, or is no LoRA.

    """
    given = isinstance(model, Mapping)
    name = "The dictionary" if given else str(model)
    more = {"unet_config": config} if issubclass(pipeline_class, StableDiffusionXLLoraLoaderMixin) else {}
    try:
        state, alphas, metadata = pipeline_class.lora_state_dict(
            dict(model) if given else model, return_lora_metadata=True, **more, **arguments
        )
    except (OSError, ValueError) as error:
        raise InputError(f"{name} cannot be read as a LoRA: {error}") from error
    if wrong := [key for key in state if "lora" not in key and "dora" not in key]:
        raise InputError(f"{name} is no LoRA: it has a tensor {wrong[0]!r}.")
    if not state:
        raise InputError(f"{name} is no LoRA: it is empty.")
    components = {key.partition(".")[0] for key in state}
    if not components & set(MODULE_PATHS):
        raise InputError(
            f"{name} has weights for {', '.join(sorted(components))}, and LoRAs are merged into {', '.join(MODULE_PATHS)}: "
            "the LoRA is for another model, or its names lack the component."
        )
    copies = {key: tensor.clone() for key, tensor in state.items()}  # a tensor may be the file's own pages
    return Lora(name, copies, dict(alphas or {}), dict(metadata or {}))
