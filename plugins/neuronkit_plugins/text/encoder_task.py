"""The hooks that all encoder tasks share; a plugin adds what it reads of a call, and what it makes of the outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from neuronkit.export import ExportConfig
from neuronkit.export.source import Source
from neuronkit.hooks import hookimpl
from neuronkit_plugins.text.batching import run_texts
from neuronkit_plugins.text.checkpoint import load_model
from neuronkit_plugins.text.encoder_graph import EncoderOptions, attention_flags, encoder_config, longest_sequence
from neuronkit_plugins.text.encoder_model import NeuronEncoderModel


class EncoderTask:
    """
    A task of encoder-only architectures, around its public class.

    Attributes:
        model_class: The public class; names transformers' auto class.
        options_class: An attrs class of what the task accepts.
        axes: The leading axes of every output by name, as `encoder_config` takes them.
        leading: The axes of the inputs before ``sequence``.
        results: The outputs that `postprocess` gets.
    """

    model_class: ClassVar[type[NeuronEncoderModel]]
    options_class: ClassVar[type[EncoderOptions]]
    axes: ClassVar[Mapping[str, tuple[str, ...]]]
    leading: ClassVar[tuple[str, ...]] = ("batch",)
    results: ClassVar[tuple[str, ...]] = ("logits",)

    @hookimpl
    def options(self) -> type:
        """Return the class of the options."""
        return self.options_class

    @hookimpl
    def default_shapes(self, source: Source) -> dict[str, list[int]]:
        """Return the default ``sequence_length``."""
        return longest_sequence(source)

    @hookimpl
    def export_config(self, source: Source, shapes: Mapping[str, list[int]], options: Any) -> ExportConfig:
        """Declare one graph of the whole model."""
        model = self.load_eager(source, **attention_flags(source, options))
        return encoder_config(source, model, self.axes, options, shapes=shapes, leading=self.leading)

    def load_eager(self, source: Source, **kwargs: Any) -> torch.nn.Module:
        """
        Load the checkpoint.

        Raises:
            SourceError: As `load_model`.
        """
        return load_model(source, self.model_class.auto_model_class_name, **kwargs)

    @hookimpl
    def call(self, shell: Any, tensors: Mapping[str, torch.Tensor], options: Any) -> Any:
        """Run the texts in batches of similar length."""
        return run_texts(shell, tensors, options.batch_size, self.results)

    @hookimpl
    def shell(self, session: Any) -> NeuronEncoderModel:
        """Return the public class around a session."""
        return self.model_class(session)
