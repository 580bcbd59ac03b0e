"""The base of the Stable Diffusion family: SD, SDXL and LCM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from neuronkit.errors import InputError, OptionError
from neuronkit.export import ExportConfig, Graph
from neuronkit.export.source import Source
from neuronkit.models.diffusion import NeuronDiffusionPipeline
from neuronkit.session import Session
from neuronkit_plugins.image.checkpoint import load_pipeline, write_files
from neuronkit_plugins.image.components import Sizes, text_encoder_graph, unet_graph, vae_graphs
from neuronkit_plugins.image.options import AdaptedOptions
from neuronkit_plugins.image.shells import make_shells


class NeuronStableDiffusionPipelineBase(NeuronDiffusionPipeline):
    """A pipeline of text encoders, a UNet and a VAE, all compiled; the VAE's encoder too, whatever the task."""

    options_class: ClassVar[type] = AdaptedOptions

    @classmethod
    def make_shells(cls, session: Session, classes: Mapping[str, Any]) -> dict[str, Any]:
        """Return a shell per compiled component."""
        return make_shells(session, classes)

    @classmethod
    def export_config(cls, source: Source, shapes: Mapping[str, list[int]], options: AdaptedOptions) -> ExportConfig:
        """
        Declare the graphs of a checkpoint.

        Raises:
            OptionError: A component is of a class that has no graph, or a size does not fit the VAE.

        """
        pipeline = load_pipeline(source, cls._eager_class(), options)
        factor = 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
        trained = pipeline.unet.config.sample_size
        tall, wide = (trained, trained) if isinstance(trained, int) else trained
        sizes = image_sizes(shapes, tall * factor, wide * factor, factor)
        encoders = {name: pipeline.components.get(name) for name in ("text_encoder", "text_encoder_2")}
        encoders = {name: encoder for name, encoder in encoders.items() if encoder is not None}
        last = list(encoders.values())[-1]
        pooled = last.config.projection_dim if pipeline.unet.config.addition_embed_type == "text_time" else None
        graphs: list[Graph] = [
            *(text_encoder_graph(name, encoder, sizes) for name, encoder in encoders.items()),
            unet_graph(pipeline.unet, sizes, last.config.max_position_embeddings, pooled),
            *vae_graphs(pipeline.vae, sizes),
        ]
        compiled = {**encoders, "unet": pipeline.unet, "vae": pipeline.vae}
        return ExportConfig(
            load=lambda: nn.ModuleDict(compiled),
            graphs=graphs,
            shapes={"height": sizes.heights, "width": sizes.widths, "num_images_per_prompt": [1]},
            write_files=lambda directory: write_files(pipeline, compiled, directory),
        )

    def sibling(self, arguments: Mapping[str, Any], with_image: Any, with_mask: Any) -> Any:
        """Return a pipeline over the same components that takes what the arguments hold."""
        if arguments.get("mask_image") is not None:
            if with_mask is None:
                raise InputError(
                    f"{type(self).__name__} takes no mask: diffusers has no inpainting for {self.architecture}."
                )
            return with_mask.from_pipe(self)
        return self if arguments.get("image") is None else with_image.from_pipe(self)


def image_sizes(shapes: Mapping[str, list[int]], height: int, width: int, factor: int) -> Sizes:
    """
    Return the sizes to compile for.

    Args:
        shapes: What the caller gave.
        height: In pixels, where the caller gave none: what the checkpoint was trained for.
        width: As `height`.
        factor: Pixels along one latent.

    Raises:
        OptionError: A height or a width is not a multiple of the factor.

    """
    heights, widths = shapes.get("height", [height]), shapes.get("width", [width])
    for name, given in (("height", heights), ("width", widths)):
        if odd := [size for size in given if size % factor]:
            raise OptionError(f"{name}: must be a multiple of {factor}, the pixels of one latent (got {odd[0]}).")
    prompts = shapes["batch_size"]
    images = [rows * each for rows in prompts for each in shapes.get("num_images_per_prompt", [1])]
    return Sizes(tuple(prompts), tuple(dict.fromkeys(images)), tuple(heights), tuple(widths), factor)
