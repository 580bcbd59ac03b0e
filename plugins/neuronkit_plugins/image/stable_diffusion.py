"""Stable Diffusion 1 and 2: text-to-image, image-to-image and inpainting."""

from __future__ import annotations

from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline, StableDiffusionPipeline

from neuronkit_plugins.image.pipeline import NeuronStableDiffusionPipelineBase
from neuronkit_plugins.image.plugin import ImagePlugin


class _StableDiffusion(NeuronStableDiffusionPipelineBase):
    """What the three tasks have in common; an LCM's components are the same."""

    architecture = "stable-diffusion"
    accepts = ("latent-consistency", "stable-diffusion-control-net")


class NeuronStableDiffusionPipeline(_StableDiffusion, StableDiffusionPipeline):
    """Stable Diffusion from text, compiled."""

    task = "text-to-image"


class NeuronStableDiffusionImg2ImgPipeline(_StableDiffusion, StableDiffusionImg2ImgPipeline):
    """Stable Diffusion from text and an image, compiled."""

    task = "image-to-image"


class NeuronStableDiffusionInpaintPipeline(_StableDiffusion, StableDiffusionInpaintPipeline):
    """Stable Diffusion that repaints the white part of a mask, compiled; UNets of 4 and of 9 input channels."""

    task = "inpainting"


text_to_image = ImagePlugin(NeuronStableDiffusionPipeline)
image_to_image = ImagePlugin(NeuronStableDiffusionImg2ImgPipeline)
inpainting = ImagePlugin(NeuronStableDiffusionInpaintPipeline)
