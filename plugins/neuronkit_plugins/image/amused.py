"""
aMUSEd: masked image modelling, from text, from an image, and of the white part of a mask.

The loop samples token ids on the host with the caller's generator; the graphs are the text encoder, the transformer that
predicts masked tokens, and the VQ model between tokens and pixels.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from torch import nn

from neuronkit.errors import OptionError
from neuronkit.export import ExportConfig, Tolerance
from neuronkit.export.source import Source
from neuronkit_plugins.image.checkpoint import load_pipeline, write_files
from neuronkit_plugins.image.components.text_encoder import text_encoder_graph
from neuronkit_plugins.image.components.transformer import transformer_graph
from neuronkit_plugins.image.components.vq import vq_graphs
from neuronkit_plugins.image.options import ImageCallOptions, data_parallel_mode
from neuronkit_plugins.image.pipeline import ImagePipeline, image_sizes
from neuronkit_plugins.image.plugin import ImagePlugin
from neuronkit_plugins.image.shells import require_supported

TESTED = "0.40 to 0.42"
"""The releases of diffusers whose aMUSEd pipelines are known to work; they are in its deprecated folder."""

try:
    from diffusers import AmusedImg2ImgPipeline, AmusedInpaintPipeline, AmusedPipeline
except ImportError as error:
    import diffusers

    raise ImportError(
        f"diffusers {diffusers.__version__} has no aMUSEd pipelines; those of {TESTED} are known to work. "
        'Try: pip install "diffusers<0.43"'
    ) from error


@attrs.frozen(kw_only=True)
class AmusedOptions(ImageCallOptions):
    """What a compile and a call may set."""

    data_parallel_mode: str = data_parallel_mode("transformer")


class _Amused(ImagePipeline):
    """What the three tasks have in common."""

    architecture = "amused"
    options_class = AmusedOptions

    @classmethod
    def export_config(cls, source: Source, shapes: Mapping[str, list[int]], options: AmusedOptions) -> ExportConfig:
        """
        Declare the graphs of a checkpoint.

        Raises:
            OptionError: A component is of a class that has no graph, or a size does not fit the VQ model.

        """
        pipeline = load_pipeline(source, cls._eager_class(), options.variant)
        names = ("text_encoder", "transformer", "vqvae")
        compiled = {name: pipeline.components[name] for name in names}
        require_supported(compiled)
        if not pipeline.vqvae.config.lookup_from_codebook:
            raise OptionError("vqvae: its configuration says lookup_from_codebook=False, and aMUSEd decodes token ids.")
        factor = 2 ** (len(pipeline.vqvae.config.block_out_channels) - 1)
        trained = pipeline.transformer.config.sample_size * factor
        sizes = image_sizes(shapes, trained, trained, factor)
        return ExportConfig(
            load=lambda: nn.ModuleDict(compiled),
            graphs=[
                text_encoder_graph("text_encoder", pipeline.text_encoder, sizes),
                transformer_graph(pipeline.transformer, sizes, pipeline.text_encoder.config.max_position_embeddings),
                *vq_graphs(pipeline.vqvae, sizes),
            ],
            tolerance=Tolerance(relative=True),
            shapes=sizes.shapes,
            write_files=lambda directory: write_files(source, pipeline, compiled, directory),
        )


class NeuronAmusedPipeline(_Amused, AmusedPipeline):
    """aMUSEd from text, compiled."""

    task = "text-to-image"


class NeuronAmusedImg2ImgPipeline(_Amused, AmusedImg2ImgPipeline):
    """aMUSEd from text and an image, compiled."""

    task = "image-to-image"


class NeuronAmusedInpaintPipeline(_Amused, AmusedInpaintPipeline):
    """aMUSEd that repaints the white part of a mask, compiled."""

    task = "inpainting"


text_to_image = ImagePlugin(NeuronAmusedPipeline)
image_to_image = ImagePlugin(NeuronAmusedImg2ImgPipeline)
inpainting = ImagePlugin(NeuronAmusedInpaintPipeline)
