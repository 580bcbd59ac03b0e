"""Latent consistency models: Stable Diffusion distilled to a few steps, with the guidance as an input of the UNet."""

from __future__ import annotations

from diffusers import LatentConsistencyModelImg2ImgPipeline, LatentConsistencyModelPipeline

from neuronkit_plugins.image.pipeline import NeuronStableDiffusionPipelineBase
from neuronkit_plugins.image.plugin import ImagePlugin


class _LatentConsistencyModel(NeuronStableDiffusionPipelineBase):
    """What the two tasks have in common; the components are Stable Diffusion's."""

    architecture = "latent-consistency"
    accepts = ("stable-diffusion",)


class NeuronLatentConsistencyModelPipeline(_LatentConsistencyModel, LatentConsistencyModelPipeline):
    """An LCM from text, compiled."""

    task = "text-to-image"


class NeuronLatentConsistencyModelImg2ImgPipeline(_LatentConsistencyModel, LatentConsistencyModelImg2ImgPipeline):
    """An LCM from text and an image, compiled."""

    task = "image-to-image"


text_to_image = ImagePlugin(NeuronLatentConsistencyModelPipeline)
image_to_image = ImagePlugin(NeuronLatentConsistencyModelImg2ImgPipeline)
