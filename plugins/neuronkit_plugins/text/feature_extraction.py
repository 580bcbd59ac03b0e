"""Feature extraction: one vector a token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import numpy as np
import torch

from neuronkit.export.source import Source
from neuronkit.hooks import hookimpl
from neuronkit.processors import Processors
from neuronkit_plugins.text.batching import encode_texts
from neuronkit_plugins.text.checkpoint import load_backbone
from neuronkit_plugins.text.encoder_graph import TruncatingOptions
from neuronkit_plugins.text.encoder_task import EncoderTask
from neuronkit_plugins.text.raw_input import read_text
from neuronkit_plugins.text.sentence_module import SentenceModule


@attrs.frozen(kw_only=True)
class FeatureExtractionOptions(TruncatingOptions):
    """What feature extraction accepts."""


class NeuronModelForFeatureExtraction(SentenceModule):
    """
    A compiled model that returns its hidden states: `last_hidden_state` ``[batch, sequence, hidden]`` and, where the
    checkpoint has a pooler, `pooler_output` ``[batch, hidden]``.
    """

    task = "feature-extraction"
    auto_model_class_name = "AutoModel"


class FeatureExtraction(EncoderTask):
    """Every encoder that `AutoModel` loads."""

    model_class = NeuronModelForFeatureExtraction
    options_class = FeatureExtractionOptions
    axes: ClassVar = {"last_hidden_state": ("batch", "sequence"), "pooler_output": ("batch",)}
    results = ("last_hidden_state",)

    def load_eager(self, source: Source, **kwargs: Any) -> torch.nn.Module:
        """Load the checkpoint, which may lack the pooler."""
        return load_backbone(source, **kwargs)

    @hookimpl
    def preprocess(
        self, inputs: Mapping[str, Any], processors: Processors, options: FeatureExtractionOptions
    ) -> tuple[dict[str, torch.Tensor], bool]:
        """
        Tokenize `text`; the context is whether it was a list.

        Raises:
            InputError: A name is unknown, `text` is missing or not text, or a text is longer than the compiled length.
        """
        texts, is_list = read_text(inputs, options, "Feature extraction")
        if not texts:
            return {}, is_list
        return encode_texts(processors, texts, truncation=options.truncation, is_list=is_list), is_list

    @hookimpl
    def postprocess(self, outputs: Mapping[str, list[torch.Tensor]], context: bool) -> np.ndarray | list[np.ndarray]:
        """Return a float32 array ``[tokens, hidden]`` for a text, a list of them in the texts' order for a list."""
        states = [hidden.numpy() for hidden in outputs["last_hidden_state"]]
        return states if context else states[0]


plugin = FeatureExtraction()
