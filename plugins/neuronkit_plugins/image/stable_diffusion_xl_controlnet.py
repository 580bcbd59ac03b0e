"""SDXL with ControlNets: text-to-image, image-to-image and inpainting."""

from __future__ import annotations

from diffusers import (
    StableDiffusionXLControlNetImg2ImgPipeline,
    StableDiffusionXLControlNetInpaintPipeline,
    StableDiffusionXLControlNetPipeline,
)

from neuronkit_plugins.image.controlled import ControlledPipeline
from neuronkit_plugins.image.plugin import ImagePlugin


class _StableDiffusionXLControlNet(ControlledPipeline):
    """What the three tasks have in common."""

    architecture = "stable-diffusion-xl-control-net"


class NeuronStableDiffusionXLControlNetPipeline(_StableDiffusionXLControlNet, StableDiffusionXLControlNetPipeline):
    """SDXL from text and an image that controls, compiled."""

    task = "text-to-image"


class NeuronStableDiffusionXLControlNetImg2ImgPipeline(
    _StableDiffusionXLControlNet, StableDiffusionXLControlNetImg2ImgPipeline
):
    """SDXL from text, an image, and an image that controls, compiled."""

    task = "image-to-image"


class NeuronStableDiffusionXLControlNetInpaintPipeline(
    _StableDiffusionXLControlNet, StableDiffusionXLControlNetInpaintPipeline
):
    """SDXL that repaints the white part of a mask, with an image that controls, compiled."""

    task = "inpainting"


text_to_image = ImagePlugin(NeuronStableDiffusionXLControlNetPipeline)
image_to_image = ImagePlugin(NeuronStableDiffusionXLControlNetImg2ImgPipeline)
inpainting = ImagePlugin(NeuronStableDiffusionXLControlNetInpaintPipeline)
