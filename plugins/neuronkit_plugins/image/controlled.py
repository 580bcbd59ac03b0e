"""The base of pipelines with ControlNets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import PIL.Image
import torch

from neuronkit.errors import InputError, OptionError
from neuronkit.export import ExportConfig
from neuronkit.export.source import Source
from neuronkit_plugins.image.components.controlnet import COMPONENT as CONTROLNET
from neuronkit_plugins.image.components.controlnet import controlnets_of
from neuronkit_plugins.image.options import ControlledOptions
from neuronkit_plugins.image.pipeline import NeuronStableDiffusionPipelineBase

_STRENGTH = "controlnet_conditioning_scale"
"""Of the ControlNets: a float, or a list with one for each."""


class ControlledPipeline(NeuronStableDiffusionPipelineBase):
    """
    A pipeline whose UNet adds what one or several compiled ControlNets see in an image.

    That image is ``control_image``, whatever the task; where a pipeline starts from text, diffusers calls it ``image``, and so
    may the caller.
    """

    options_class = ControlledOptions

    @classmethod
    def export_config(
        cls,
        source: Source,
        shapes: Mapping[str, list[int]],
        options: ControlledOptions,  # type: ignore[override]
    ) -> ExportConfig:
        """
        Declare the graphs of a checkpoint and its ControlNets.

        Raises:
            OptionError: There is no ControlNet, or what the base refuses.

        """
        if not options.controlnet_ids and not any(source.config.get("controlnet") or ()):
            raise OptionError(
                f"controlnet_ids: required, because {source.model} has no ControlNet.\n"
                "Try: --controlnet-ids with a directory or a hub id for each."
            )
        return super().export_config(source, shapes, options)

    def for_arguments(self, arguments: Mapping[str, Any]) -> Any:
        """Return the pipeline for a call's arguments; without ``control_image``, it is the image that is given."""
        if self.task == "text-to-image" and arguments.get("control_image") is None:
            arguments = {name: value for name, value in arguments.items() if name != "image"}
        return super().for_arguments(arguments)

    def check_sizes(self, given: dict[str, Any]) -> None:
        """
        Fill in height and width of a call: from text they are those of the image that controls, as in diffusers.

        Where another image is the start, all images keep their sizes unless one is given, and graphs refuse others than theirs.

        Raises:
            InputError: No compiled resolution has this height and this width.

        """
        unsaid = given.get("height") is None and given.get("width") is None
        if unsaid and self.task != "text-to-image":
            return
        if unsaid and (size := _image_size(given.get("image"))) is not None:
            compiled = self.compiled_sizes
            if size not in compiled:
                height, width = compiled[0]
                known = ", ".join(f"{tall} x {wide}" for tall, wide in compiled)
                raise InputError(
                    f"The image that controls is {size[0]} x {size[1]} (height x width), and the pipeline was compiled for "
                    f"{known}.\n"
                    f"Try: height={height}, width={width}, to which it is resized, or compile again with its size."
                )
            given["height"], given["width"] = size
        super().check_sizes(given)

    def named(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """
        Return a call's arguments by the names that this pipeline has for them, with whole strengths as the floats that it takes.

        Raises:
            InputError: No image controls, or there are not as many as ControlNets.

        """
        own = dict(arguments)
        control = own.pop("control_image", None)
        if control is None and self.task == "text-to-image":
            control = own.get("image")
        if control is None:
            raise InputError(f"{type(self).__name__} needs control_image=...: a file or an image.")
        self._require_as_many(control, own.get("prompt"))
        own["image" if self.task == "text-to-image" else "control_image"] = control
        if isinstance(strength := own.get(_STRENGTH), int):
            own[_STRENGTH] = float(strength)
        return own

    def _require_as_many(self, control: Any, prompt: Any) -> None:
        """Refuse images that control which ControlNets and prompts cannot be given one by one."""
        count = len(controlnets_of(self.components[CONTROLNET]))  # type: ignore[attr-defined]  # of the pipeline
        images = control if isinstance(control, list) else [control]
        if count > 1:
            of_prompts = [len(item) for item in images if isinstance(item, list)]
            if {*(of_prompts or [len(images)])} != {count}:
                raise InputError(
                    f"{type(self).__name__} has {count} ControlNets, and needs an image for each (got {len(images)}).\n"
                    "Try: a list of as many (--control-image once for each)."
                )
            return
        prompts = len(prompt) if isinstance(prompt, list) else 1
        if prompt is not None and len(images) not in (1, prompts):
            raise InputError(
                f"{len(images)} images control, and there is 1 ControlNet and {prompts} "
                f"{'prompt' if prompts == 1 else 'prompts'}.\n"
                "Try: one image, or as many prompts as images (--prompt once for each)."
            )


def _image_size(image: Any) -> tuple[int, int] | None:
    """Return height and width of the first of some images, or None for what is no image."""
    while isinstance(image, (list, tuple)) and image:
        image = image[0]
    if isinstance(image, PIL.Image.Image):
        return image.height, image.width
    if isinstance(image, torch.Tensor) and image.ndim >= 3:
        return image.shape[-2], image.shape[-1]
    if isinstance(image, np.ndarray) and image.ndim >= 3:
        return image.shape[-3], image.shape[-2]
    return None
