"""The options of image plugins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from neuronkit.errors import OptionError
from neuronkit.options import option

Pairs = Mapping[str, Any] | str
"""A mapping, or its spelling on the command line: ``name=value,name=value``."""


@attrs.frozen(kw_only=True)
class ImageCallOptions:
    """What a call may set by a short name; the pipeline's own arguments are accepted beside them."""

    negative_prompt: Any = option(None, stage="call", help="What the image should not show.")
    steps: int | None = option(None, stage="call", minimum=1, help="Denoising steps.")
    guidance: float | None = option(None, stage="call", minimum=0, help="How closely to follow the prompt.")
    seed: int | None = option(None, stage="call", help="Seed of the noise; the same seed gives the same image.")
    image: Any = option(None, stage="call", help="Image to start from: a file or what the pipeline takes.")
    mask: Any = option(
        None, stage="call", help="White where the image is to be painted anew: a file or what the pipeline takes."
    )
    num_images_per_prompt: int | None = option(None, stage="call", minimum=1, help="Images of each prompt.")
    height: int | None = option(None, stage="call", help="Height in pixels: one of those compiled for.")
    width: int | None = option(None, stage="call", help="Width in pixels: one of those compiled for.")
    strength: float | None = option(None, stage="call", minimum=0, maximum=1, help="How far to leave the given image.")
    variant: str | None = option(
        None, stage="compile", help="Which of a checkpoint's weights to take: fp16 reads model.fp16.safetensors."
    )


def data_parallel_mode(component: str) -> Any:
    """Declare which components a Neuron device has on several cores: none, the one that is called most, or all."""
    return option(
        "none",
        stage="compile",
        choices=("none", component, "all"),
        help="Which components are loaded on several Neuron cores; no matter on cpu.",
    )


@attrs.frozen(kw_only=True)
class AdaptedOptions(ImageCallOptions):
    """Compile options that change a checkpoint's weights or its graph before it is compiled."""

    data_parallel_mode: str = data_parallel_mode("unet")
    unet_id: str | None = option(None, stage="compile", help="Directory or hub id of another UNet.")
    vae_id: str | None = option(None, stage="compile", help="Directory or hub id of another VAE.")
    lora_model_ids: list[str] | None = option(
        None, stage="compile", help="LoRAs to merge: files, directories or hub ids."
    )
    lora_weight_names: list[str] | None = option(None, stage="compile", help="File name of each LoRA in its directory.")
    lora_adapter_names: list[str] | None = option(None, stage="compile", help="A name for each LoRA.")
    lora_scales: list[float] | None = option(None, stage="compile", help="Strength of each LoRA; by default 1.")
    textual_inversion: Pairs | None = option(
        None, stage="compile", help="Tokens to teach: token=file, with commas between."
    )
    freeu: Pairs | None = option(
        None, stage="compile", help="FreeU's s1, s2, b1 and b2: name=value, with commas between."
    )
    fuse_qkv_projections: bool = option(False, stage="compile", help="Compute query, key and value in one product.")
    ip_adapter_ids: list[str] | None = option(None, stage="compile", help="IP-Adapters: directories or hub ids.")
    ip_adapter_subfolders: list[str] | None = option(None, stage="compile", help="Folder of each IP-Adapter.")
    ip_adapter_weight_names: list[str] | None = option(None, stage="compile", help="File name of each IP-Adapter.")
    ip_adapter_scales: list[float] | None = option(
        None, stage="compile", help="Strength of each IP-Adapter; by default 1."
    )


@attrs.frozen(kw_only=True)
class ControlledOptions(AdaptedOptions):
    """What a compile and a call of a pipeline with ControlNets may set."""

    controlnet_ids: list[str] | None = option(
        None, stage="compile", help="ControlNets: directories or hub ids; by default the checkpoint's own."
    )
    control_image: Any = option(
        None, stage="call", help="Image that controls: a file or what the pipeline takes, one for each ControlNet."
    )


def as_pairs(name: str, value: Pairs | None) -> dict[str, str | Any]:
    """
    Return a mapping of an option's value.

    Raises:
        OptionError: It is neither a mapping nor ``name=value`` pairs.

    """
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return dict(value)
    pairs = [item.partition("=") for item in value.split(",")]
    if wrong := [key for key, equals, _ in pairs if not (key and equals)]:
        raise OptionError(f"{name}: must be name=value, with commas between (got {wrong[0]!r}).")
    return {key: item for key, _, item in pairs}


def per_item(name: str, values: list[Any] | None, items: str, count: int, default: Any) -> list[Any]:
    """
    Return one value per item of another option.

    Args:
        name: The option.
        values: Its own.
        items: The other option.
        count: How many items that has.
        default: What an item has if there are no values.

    Raises:
        OptionError: There are more or fewer values than items.

    """
    if values is None:
        return [default] * count
    if len(values) != count:
        raise OptionError(f"{name}: needs {count} values, one for each of {items} (got {len(values)}).")
    return list(values)
