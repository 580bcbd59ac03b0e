"""Stable Diffusion 1 and 2 with ControlNets: text-to-image, image-to-image and inpainting."""

from __future__ import annotations

from diffusers import (
    StableDiffusionControlNetImg2ImgPipeline,
    StableDiffusionControlNetInpaintPipeline,
    StableDiffusionControlNetPipeline,
)

from neuronkit_plugins.image.controlled import ControlledPipeline
from neuronkit_plugins.image.plugin import ImagePlugin


class _StableDiffusionControlNet(ControlledPipeline):
    """What the three tasks have in common."""

    architecture = "stable-diffusion-control-net"


class NeuronStableDiffusionControlNetPipeline(_StableDiffusionControlNet, StableDiffusionControlNetPipeline):
    """Stable Diffusion from text and an image that controls, compiled."""

    task = "text-to-image"


class NeuronStableDiffusionControlNetImg2ImgPipeline(
    _StableDiffusionControlNet, StableDiffusionControlNetImg2ImgPipeline
):
    """Stable Diffusion from text, an image, and an image that controls, compiled."""

    task = "image-to-image"


class NeuronStableDiffusionControlNetInpaintPipeline(
    _StableDiffusionControlNet, StableDiffusionControlNetInpaintPipeline
):
    """Stable Diffusion that repaints the white part of a mask, with an image that controls, compiled."""

    task = "inpainting"


text_to_image = ImagePlugin(NeuronStableDiffusionControlNetPipeline)
image_to_image = ImagePlugin(NeuronStableDiffusionControlNetImg2ImgPipeline)
inpainting = ImagePlugin(NeuronStableDiffusionControlNetInpaintPipeline)
