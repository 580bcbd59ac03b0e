"""Feature extraction: one vector a token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
import torch

from neuronkit.errors import InputError
from neuronkit.export import ExportConfig, Graph, Output
from neuronkit.export.source import Source
from neuronkit.hooks import hookimpl
from neuronkit.models import NeuronBaseModel
from neuronkit.options import option
from neuronkit.processors import Processors
from neuronkit_plugins.text.encoder import as_texts, check_names, encoder_inputs, load_backbone, run_encoder


@attrs.frozen(kw_only=True)
class FeatureExtractionOptions:
    """What a call may set."""

    truncation: bool = option(False, stage="call", help="Cut texts that are longer than the compiled length.")


@attrs.frozen
class Texts:
    """
    What `postprocess` must know of the input.

    Args:
        masks: Which positions hold a token of the text, ``[batch, sequence]``.
        is_list: Whether a list was given.
    """

    masks: torch.Tensor
    is_list: bool


class NeuronModelForFeatureExtraction(NeuronBaseModel):
    """A compiled model that returns its hidden states."""

    task = "feature-extraction"
    auto_model_class_name = "AutoModel"

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """
        Run the model.

        Args:
            input_ids: ``[batch, sequence]``.
            attention_mask: ``[batch, sequence]``, 1 for tokens and 0 for padding.
            token_type_ids: ``[batch, sequence]``.
            return_dict: False returns a tuple.

        Returns:
            ``BaseModelOutputWithPooling`` with `last_hidden_state` ``[batch, sequence, hidden]`` and, where the
            checkpoint has a pooler, `pooler_output` ``[batch, hidden]``.
        """
        return run_encoder(self, input_ids, attention_mask, token_type_ids, return_dict)


class FeatureExtraction:
    """Every encoder that `AutoModel` loads."""

    @hookimpl
    def options(self) -> type:
        """Return the class of the options."""
        return FeatureExtractionOptions

    @hookimpl
    def export_config(self, source: Source) -> ExportConfig:
        """Declare one graph; what it returns is asked of the model, as a checkpoint may lack the pooler."""
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        model = load_backbone(source)
        with torch.no_grad():
            returned = model(input_ids=torch.full((1, 2), source.pad_token_id))
        axes = {"last_hidden_state": ("batch", "sequence"), "pooler_output": ("batch",)}
        outputs = [
            Output(name, [*leading, returned[name].shape[-1]])
            for name, leading in axes.items()
            if returned.get(name) is not None
        ]
        graph = Graph("encoder", encoder_inputs(source, model), outputs, kind="encoder")
        return ExportConfig(load=lambda: model, graphs=[graph], output_class=BaseModelOutputWithPooling)

    @hookimpl
    def preprocess(
        self, inputs: Mapping[str, Any], processors: Processors, options: FeatureExtractionOptions
    ) -> tuple[dict[str, torch.Tensor], Texts]:
        """
        Tokenize `text`.

        Raises:
            InputError: A name is unknown, `text` is missing or not text, or a text is longer than the compiled length.
        """
        check_names(inputs, ["text"])
        if "text" not in inputs:
            raise InputError("Feature extraction needs text=...: a text or a list of texts.")
        texts, is_list = as_texts("text", inputs["text"])
        if not texts:
            return {}, Texts(torch.zeros(0, 0, dtype=torch.int64), is_list)
        limit = processors.limits["sequence"]
        cut = {"truncation": True, "max_length": limit} if options.truncation else {"truncation": False}
        encoded = processors.tokenizer(texts, padding=True, return_tensors="pt", **cut)
        lengths = encoded["attention_mask"].sum(1)
        if int(lengths.max()) > limit:
            which = f" {int(lengths.argmax())}" if is_list else ""
            raise InputError(
                f"text{which} has {int(lengths.max())} tokens and the model was compiled for {limit}.\n"
                f"Try: truncation=True, or compile with a larger sequence_length."
            )
        return dict(encoded), Texts(encoded["attention_mask"], is_list)

    @hookimpl
    def call(self, shell: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
        """Run the model, unless there is no text."""
        return shell(**tensors) if tensors else None

    @hookimpl
    def shell(self, session: Any) -> NeuronModelForFeatureExtraction:
        """Return the public class around a session."""
        return NeuronModelForFeatureExtraction(session)

    @hookimpl
    def postprocess(self, outputs: Any, context: Texts) -> np.ndarray | list[np.ndarray]:
        """Return a float32 array ``[tokens, hidden]`` for a text, a list of them in the texts' order for a list."""
        if outputs is None:
            return []
        states = [
            hidden[mask.bool()].to(torch.float32).numpy()
            for hidden, mask in zip(outputs["last_hidden_state"], context.masks, strict=True)
        ]
        return states if context.is_list else states[0]


plugin = FeatureExtraction()
