"""Feature extraction: one vector a token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
import torch

from neuronkit.errors import InputError
from neuronkit.export import ExportConfig
from neuronkit.export.source import Source
from neuronkit.hooks import hookimpl
from neuronkit.options import option
from neuronkit.processors import Processors
from neuronkit_plugins.text.batching import check_fits, run_texts, tensors_of, tokenize
from neuronkit_plugins.text.encoder import as_texts, check_names, load_backbone
from neuronkit_plugins.text.encoder_graph import EncoderOptions, attention_flags, encoder_config, longest_sequence
from neuronkit_plugins.text.sentence_module import SentenceModule


@attrs.frozen(kw_only=True)
class FeatureExtractionOptions(EncoderOptions):
    """What feature extraction accepts."""

    truncation: bool = option(False, stage="call", help="Cut texts that are longer than the compiled length.")


class NeuronModelForFeatureExtraction(SentenceModule):
    """
    A compiled model that returns its hidden states: `last_hidden_state` ``[batch, sequence, hidden]`` and, where the
    checkpoint has a pooler, `pooler_output` ``[batch, hidden]``.
    """

    task = "feature-extraction"
    auto_model_class_name = "AutoModel"


class FeatureExtraction:
    """Every encoder that `AutoModel` loads."""

    @hookimpl
    def options(self) -> type:
        """Return the class of the options."""
        return FeatureExtractionOptions

    @hookimpl
    def default_shapes(self, source: Source) -> dict[str, list[int]]:
        """Return the default ``sequence_length``."""
        return longest_sequence(source)

    @hookimpl
    def export_config(
        self, source: Source, shapes: Mapping[str, list[int]], options: FeatureExtractionOptions
    ) -> ExportConfig:
        """Declare one graph; what it returns is asked of the model, as a checkpoint may lack the pooler."""
        model = load_backbone(source, **attention_flags(options))
        axes = {"last_hidden_state": ("batch", "sequence"), "pooler_output": ("batch",)}
        return encoder_config(source, model, axes, options, shapes=shapes)

    @hookimpl
    def preprocess(
        self, inputs: Mapping[str, Any], processors: Processors, options: FeatureExtractionOptions
    ) -> tuple[dict[str, torch.Tensor], bool]:
        """
        Tokenize `text`; the context is whether it was a list.

        Raises:
            InputError: A name is unknown, `text` is missing or not text, or a text is longer than the compiled length.
        """
        check_names(inputs, ["text"], options)
        if "text" not in inputs:
            raise InputError("Feature extraction needs text=...: a text or a list of texts.")
        texts, is_list = as_texts("text", inputs["text"])
        if not texts:
            return {}, is_list
        limit = processors.limits["sequence"]
        cut: dict[str, Any] = {"truncation": True, "max_length": limit} if options.truncation else {}
        tensors = tensors_of(tokenize(processors.tokenizer, texts, **cut))
        check_fits(tensors, limit, "text", is_list=is_list)
        return tensors, is_list

    @hookimpl
    def call(self, shell: Any, tensors: Mapping[str, torch.Tensor], options: FeatureExtractionOptions) -> Any:
        """Run the texts in batches of similar length."""
        return run_texts(shell, tensors, options.batch_size, ["last_hidden_state"])

    @hookimpl
    def shell(self, session: Any) -> NeuronModelForFeatureExtraction:
        """Return the public class around a session."""
        return NeuronModelForFeatureExtraction(session)

    @hookimpl
    def postprocess(self, outputs: Mapping[str, list[torch.Tensor]], context: bool) -> np.ndarray | list[np.ndarray]:
        """Return a float32 array ``[tokens, hidden]`` for a text, a list of them in the texts' order for a list."""
        states = [hidden.numpy() for hidden in outputs["last_hidden_state"]]
        return states if context else states[0]


plugin = FeatureExtraction()
