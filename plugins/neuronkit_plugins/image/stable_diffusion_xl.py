"""SDXL, its refiner and its turbo and LCM variants: text-to-image, image-to-image and inpainting."""

from __future__ import annotations

from diffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLInpaintPipeline, StableDiffusionXLPipeline

from neuronkit_plugins.image.pipeline import NeuronStableDiffusionPipelineBase
from neuronkit_plugins.image.plugin import ImagePlugin


class _StableDiffusionXL(NeuronStableDiffusionPipelineBase):
    """What the three tasks have in common; an artifact with ControlNets has the same components, and they rest."""

    architecture = "stable-diffusion-xl"
    accepts = ("stable-diffusion-xl-control-net",)


class NeuronStableDiffusionXLPipeline(_StableDiffusionXL, StableDiffusionXLPipeline):
    """SDXL from text, compiled."""

    task = "text-to-image"


class NeuronStableDiffusionXLImg2ImgPipeline(_StableDiffusionXL, StableDiffusionXLImg2ImgPipeline):
    """SDXL from text and an image, compiled; also the refiner."""

    task = "image-to-image"


class NeuronStableDiffusionXLInpaintPipeline(_StableDiffusionXL, StableDiffusionXLInpaintPipeline):
    """SDXL that repaints the white part of a mask, compiled; UNets of 4 and of 9 input channels."""

    task = "inpainting"


text_to_image = ImagePlugin(NeuronStableDiffusionXLPipeline)
image_to_image = ImagePlugin(NeuronStableDiffusionXLImg2ImgPipeline)
inpainting = ImagePlugin(NeuronStableDiffusionXLInpaintPipeline)
