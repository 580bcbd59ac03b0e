"""The hooks that all image plugins share; a plugin is one of these around its pipeline class."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import torch

from neuronkit.errors import InputError, closest
from neuronkit.export.source import Source
from neuronkit.hooks import hookimpl
from neuronkit.images import SETTINGS
from neuronkit.paths import named_path
from neuronkit_plugins.image.options import ImageCallOptions

_ARGUMENTS = {
    "control_image": "control_image",
    "guidance": "guidance_scale",
    "height": "height",
    "image": "image",
    "mask": "mask_image",
    "negative_prompt": "negative_prompt",
    "num_images_per_prompt": "num_images_per_prompt",
    "steps": "num_inference_steps",
    "strength": "strength",
    "width": "width",
}
"""The pipelines' arguments that the options stand for."""
_IMAGES = {"control_image", "image", "ip_adapter_image", "mask_image"}
"""The pipelines' arguments that are images, or lists of them."""
_PROMPTS = {"prompt", "prompt_2", "negative_prompt", "negative_prompt_2"}
"""The pipelines' arguments of which there may be one for each image."""
_TEXTS = {"output_type", *_PROMPTS}
"""The pipelines' arguments that are text, whatever it looks like."""
_PAIRS = {
    "crops_coords_top_left",
    "micro_conditioning_crop_coord",
    "negative_crops_coords_top_left",
    "negative_original_size",
    "negative_target_size",
    "original_size",
    "target_size",
}
"""The pipelines' arguments that must be tuples of two numbers."""
_OBJECTS = {
    "callback",
    "callback_on_step_end",
    "generator",
    "image_embeds",
    "ip_adapter_image_embeds",
    "latents",
    "masked_image_latents",
    "negative_pooled_prompt_embeds",
    "negative_prompt_embeds",
    "pooled_prompt_embeds",
    "prompt_embeds",
}
"""The pipelines' arguments that are objects of Python, which cannot be typed."""
_DEPRECATED = {"callback", "callback_steps"}
"""What some pipelines still take among their other keywords."""


class ImagePlugin:
    """
    A task of a diffusion architecture.

    Args:
        pipeline: The public class: a diffusers pipeline over compiled components.

    """

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline

    @hookimpl
    def options(self) -> type:
        """Return the class of the options."""
        return self.pipeline.options_class

    @hookimpl
    def export_config(self, source: Source, shapes: Mapping[str, list[int]], options: Any) -> Any:
        """Declare the graphs of the pipeline's components."""
        return self.pipeline.export_config(source, shapes, options)

    @hookimpl
    def shell(self, session: Any) -> Any:
        """Return the pipeline over a session."""
        return self.pipeline.from_session(session)

    @hookimpl
    def preprocess(self, inputs: Mapping[str, Any], options: ImageCallOptions) -> tuple[dict[str, Any], dict[str, Any]]:
        """
        Turn short names into the pipeline's arguments, files into images, and a seed into a generator.

        Raises:
            InputError: Two names of one argument are given, a file cannot be read, or no generator takes the seed.

        """
        given = attrs.asdict(options, recurse=False)
        arguments = {name: _read_argument(name, value) for name, value in inputs.items()}
        for name, argument in _ARGUMENTS.items():
            if (value := given.get(name)) is not None:
                if name != argument and argument in inputs:
                    raise InputError(f"{name} and {argument} are one and the same. Try: one of them.")
                arguments[argument] = read_image(value) if argument in _IMAGES else value
        if options.seed is not None:
            if inputs.get("generator") is not None:
                raise InputError("seed makes a generator, and generator is given too. Try: one of them.")
            if not -(2**63) <= options.seed < 2**64:
                raise InputError(f"seed: must be a number of 64 bits (got {options.seed}).")
            arguments["generator"] = torch.Generator().manual_seed(options.seed)
        settings = {name: value for name, value in arguments.items() if _is_plain(value)}  # an image is no text
        return arguments, settings | ({} if options.seed is None else {"seed": options.seed})

    @hookimpl
    def call(self, shell: Any, tensors: Mapping[str, Any]) -> Any:
        """
        Run the pipeline; one that was compiled for text alone serves images and masks through its sibling.

        Raises:
            InputError: An argument is unknown, or the prompt or an image is missing.
        """
        pipeline = shell.for_arguments(tensors)
        arguments = pipeline.named(tensors)
        check_arguments(pipeline, arguments)
        return pipeline(**arguments)

    @hookimpl
    def postprocess(self, outputs: Any, context: Mapping[str, Any]) -> Any:
        """Return the images; the settings that made them are in each one's ``info``, as PNG files keep them."""
        images = outputs[0]
        for number, image in enumerate(images if isinstance(images, list) else []):
            own = {**context, "image_number": number} if len(images) > 1 else dict(context)
            for name in _PROMPTS & own.keys():
                if isinstance(texts := own[name], (list, tuple)):
                    own[name] = texts[number * len(texts) // len(images)]  # the images of a prompt follow each other
            image.info[SETTINGS] = {name: str(value) for name, value in own.items()}
        return images


def check_arguments(pipeline: Any, given: Mapping[str, Any]) -> None:
    """
    Refuse what a pipeline's own call overlooks or trips over: it takes any name, and some of its arguments are not optional.

    Args:
        pipeline: A diffusers pipeline.
        given: Arguments by name.

    Raises:
        InputError: An argument is unknown or cannot be what is given, the prompt or an image is missing, or there are not as
            many prompts as images.
    """
    known = set(inspect.signature(pipeline.__call__).parameters) - {"kwargs"} | _DEPRECATED
    options = {option for option, argument in _ARGUMENTS.items() if argument in known}
    for name in given:
        if name not in known:
            if name in _ARGUMENTS.values():
                where = " without image=..." if name == "strength" and "image" not in known else ""
                raise InputError(f"{type(pipeline).__name__} takes no {name}{where}.")
            close = closest(name, known | options)
            hint = f"Did you mean {close!r}?" if close else f"It takes: {', '.join(sorted(known - _DEPRECATED))}."
            raise InputError(f"{name}: unknown input. {hint}")
        if name in _OBJECTS and isinstance(given[name], (str, int, float)):
            hint = "\nTry: seed=... (--seed)." if name == "generator" else ""
            raise InputError(f"{name}: must be an object of Python, which cannot be typed (got {given[name]!r}).{hint}")
        if isinstance(given[name], str) and name not in _TEXTS:
            raise InputError(
                f"{name}: must be a number or what the pipeline takes, and is no text (got {given[name]!r})."
            )
    if given.get("prompt") is None and given.get("prompt_embeds") is None:
        raise InputError(f"{type(pipeline).__name__} needs prompt=... (or prompt_embeds=...).")
    for name in ("image", "mask_image", "control_image"):
        if name in known and given.get(name) is None:
            short = next(option for option, argument in _ARGUMENTS.items() if argument == name)
            raise InputError(f"{type(pipeline).__name__} needs {short}=...: a file or an image.")
    if "strength" in known:  # otherwise an image controls, and there is one for each ControlNet
        _require_as_many(given)


def _require_as_many(given: Mapping[str, Any]) -> None:
    """Refuse several images that the prompts cannot be spread over."""
    images, prompts = given.get("image"), given.get("prompt")
    prompts = given.get("prompt_embeds") if prompts is None else prompts
    if isinstance(images, list) and isinstance(prompts, (str, list, torch.Tensor)):
        count = 1 if isinstance(prompts, str) else len(prompts)
        if images and count * int(given.get("num_images_per_prompt") or 1) % len(images):
            raise InputError(
                f"{len(images)} images are given, and {count} {'prompt' if count == 1 else 'prompts'}.\n"
                "Try: as many prompts as images (--prompt once for each)."
            )


def _is_plain(value: Any) -> bool:
    return all(map(_is_plain, value)) if isinstance(value, (list, tuple)) else isinstance(value, (str, int, float))


def _read_argument(name: str, value: Any) -> Any:
    if name in _IMAGES:
        return read_image(value)
    if name in _PAIRS:
        return read_pair(name, value)
    return value if name in _TEXTS else read_typed(value)


def read_pair(name: str, value: Any) -> tuple[int, ...] | None:
    """
    Return two whole numbers, which may be typed with a comma between.

    Args:
        name: Of the argument.
        value: A text, or a sequence of numbers or texts.

    Raises:
        InputError: It is something else.

    """
    items = value.split(",") if isinstance(value, str) else value
    if items is None:
        return None
    try:
        pair = tuple(int(item) for item in items)
    except (TypeError, ValueError):
        pair = ()
    if len(pair) != 2:
        raise InputError(f"{name}: must be two whole numbers, such as 64,48 (got {value!r}).")
    return pair


def read_typed(value: Any) -> Any:
    """
    Return the number, list or truth that was typed for an argument of the pipeline, and anything else as it is.

    Numbers with commas between are a list.
    """
    if not isinstance(value, str):
        return value
    for text in (value, f"[{value}]"):
        try:
            found = json.loads(text)
        except ValueError:
            continue
        if text == value or (found and all(type(item) in (int, float) for item in found)):
            return found
    return value


def read_image(value: Any) -> Any:
    """
    Return an image of a file's name, a list of those of a list's items, and anything else as it is.

    Raises:
        InputError: There is no such file, or it is no image.

    """
    if isinstance(value, (list, tuple)):
        return [read_image(item) for item in value]
    if not isinstance(value, (str, Path)):
        return value
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(named_path(value, "An image", InputError)) as opened:
            return ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(f"{value} cannot be read as an image: {error}") from error
