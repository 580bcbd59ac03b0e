"""Sentence similarity: one embedding a text, as sentence-transformers computes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from transformers.utils import ModelOutput

from neuronkit.errors import InputError
from neuronkit.export import ExportConfig, Graph, Output
from neuronkit.export.source import Source
from neuronkit.hooks import hookimpl
from neuronkit.models import NeuronBaseModel
from neuronkit.options import option
from neuronkit.processors import Processors
from neuronkit_plugins.text.encoder import as_texts, check_names, encoder_inputs, load_backbone, run_encoder
from neuronkit_plugins.text.pooling import read_json, read_modules

TRANSFORMER_CONFIGS = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)
"""Where sentence-transformers keeps the settings of its Transformer module, over the years."""


@attrs.frozen(kw_only=True)
class SentenceSimilarityOptions:
    """What a call may set."""

    batch_size: int = option(32, stage="call", minimum=1, help="Texts that run together.")
    normalize: bool = option(False, stage="call", help="Scale the embeddings to unit length, if the model does not.")


@dataclass
class SentenceTransformerOutput(ModelOutput):
    """
    What a compiled sentence transformer returns.

    Args:
        token_embeddings: ``[batch, sequence, hidden]``.
        sentence_embedding: ``[batch, features]``.
    """

    token_embeddings: torch.Tensor | None = None
    sentence_embedding: torch.Tensor | None = None


class NeuronModelForSentenceTransformers(NeuronBaseModel):
    """A compiled sentence transformer."""

    task = "sentence-similarity"
    auto_model_class_name = "AutoModel"

    @property
    def embedding_dimension(self) -> int:
        """Features of a sentence embedding."""
        outputs = [output for graph in self.session.graphs.values() for output in graph.graph.outputs]
        return next(int(output.axes[-1]) for output in outputs if output.name == "sentence_embedding")

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
            `SentenceTransformerOutput` with `token_embeddings` ``[batch, sequence, hidden]`` and `sentence_embedding`
            ``[batch, features]``.
        """
        return run_encoder(self, input_ids, attention_mask, token_type_ids, return_dict)

    def encode(
        self,
        sentences: str | Sequence[str],
        batch_size: int = 32,
        normalize_embeddings: bool = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
    ) -> np.ndarray | torch.Tensor | list[torch.Tensor]:
        """
        Embed texts.

        Args:
            sentences: A text or a list of texts. Those that are too long are cut, as sentence-transformers does.
            batch_size: Texts that run together.
            normalize_embeddings: Scale the embeddings to unit length.
            convert_to_numpy: Return numpy arrays.
            convert_to_tensor: Return one tensor; goes before `convert_to_numpy`.

        Returns:
            ``[features]`` for a text and ``[texts, features]`` for a list, in float32; tensors of their own
            if neither is asked for.
        """
        texts, is_list = as_texts("sentences", sentences)
        tensors = tokenize(texts, self.tokenizer, self.limits["sequence"], _directory(self))
        embeddings = embed(self, tensors, batch_size)
        if normalize_embeddings:
            embeddings = torch.nn.functional.normalize(embeddings, p=2, dim=-1)
        result = embeddings if is_list else embeddings[0]
        if convert_to_tensor:
            return result
        if convert_to_numpy:
            return result.numpy()
        return list(result) if is_list else result


class SentenceSimilarity:
    """Every sentence-transformers checkpoint of a Transformer, a Pooling, and any of Dense and Normalize."""

    @hookimpl
    def options(self) -> type:
        """Return the class of the options."""
        return SentenceSimilarityOptions

    @hookimpl
    def export_config(self, source: Source) -> ExportConfig:
        """Declare one graph of the encoder and the modules behind it."""
        modules = read_modules(source.path)
        model = load_backbone(source, folder=modules.transformer, pooler=False)
        with torch.no_grad():
            tokens = torch.full((1, 2), source.pad_token_id)
            returned = modules.wrap(model)(input_ids=tokens, attention_mask=torch.ones_like(tokens))
        outputs = [
            Output("token_embeddings", ["batch", "sequence", returned["token_embeddings"].shape[-1]]),
            Output("sentence_embedding", ["batch", returned["sentence_embedding"].shape[-1]]),
        ]
        graph = Graph("encoder", encoder_inputs(source, model), outputs, kind="encoder", wrap=modules.wrap)
        return ExportConfig(load=lambda: model, graphs=[graph], output_class=SentenceTransformerOutput)

    @hookimpl
    def preprocess(self, inputs: Mapping[str, Any], processors: Processors) -> tuple[dict[str, torch.Tensor], bool]:
        """
        Tokenize `text`; the context is whether it was a list.

        Raises:
            InputError: A name is unknown, or `text` is missing or not text.
        """
        check_names(inputs, ["text"])
        if "text" not in inputs:
            raise InputError("Sentence similarity needs text=...: a text or a list of texts.")
        texts, is_list = as_texts("text", inputs["text"])
        return tokenize(texts, processors.tokenizer, processors.limits["sequence"], processors.path), is_list

    @hookimpl
    def call(self, shell: Any, tensors: Mapping[str, torch.Tensor], options: SentenceSimilarityOptions) -> torch.Tensor:
        """Embed the texts in batches of similar length."""
        return embed(shell, tensors, options.batch_size)

    @hookimpl
    def shell(self, session: Any) -> NeuronModelForSentenceTransformers:
        """Return the public class around a session."""
        return NeuronModelForSentenceTransformers(session)

    @hookimpl
    def postprocess(self, outputs: torch.Tensor, context: bool, options: SentenceSimilarityOptions) -> np.ndarray:
        """Return float32 arrays: ``[features]`` for a text, ``[texts, features]`` for a list."""
        embeddings = torch.nn.functional.normalize(outputs, p=2, dim=-1) if options.normalize else outputs
        return (embeddings if context else embeddings[0]).numpy()


def tokenize(texts: Sequence[str], tokenizer: Any, limit: int, path: Path) -> dict[str, torch.Tensor]:
    """
    Tokenize as sentence-transformers does: behind the default prompt, lower-cased if asked for, cut to the length.

    Args:
        texts: May be none: then there are no tensors.
        tokenizer: The checkpoint's.
        limit: Tokens of the longest text that the graph takes.
        path: Directory with the checkpoint's settings.

    Returns:
        Tensors ``[texts, longest]`` by name.
    """
    if not texts:
        return {}
    settings: dict[str, Any] = next(
        (read_json(path / name) for name in TRANSFORMER_CONFIGS if (path / name).is_file()), {}
    )
    prompting = read_json(path / "config_sentence_transformers.json")
    prompt = (prompting.get("prompts") or {}).get(prompting.get("default_prompt_name")) or ""
    prepared = [prompt + text for text in texts]
    if settings.get("do_lower_case"):
        prepared = [text.lower() for text in prepared]
    length = min(limit, settings.get("max_seq_length") or tokenizer.model_max_length)
    return dict(tokenizer(prepared, padding=True, truncation=True, max_length=length, return_tensors="pt"))


def embed(model: Any, tensors: Mapping[str, torch.Tensor], batch_size: int) -> torch.Tensor:
    """
    Run texts in batches of similar length, so that little padding is computed.

    Args:
        model: A `NeuronModelForSentenceTransformers`.
        tensors: ``[texts, longest]`` by name; none for no texts.
        batch_size: Texts that run together.

    Returns:
        float32 ``[texts, features]``, in the texts' order.
    """
    if not tensors:
        return torch.zeros(0, model.embedding_dimension)
    mask = tensors["attention_mask"].bool()
    order = mask.sum(1).argsort(descending=True, stable=True)
    batches = []
    for begin in range(0, len(order), batch_size):
        rows = order[begin : begin + batch_size]
        used = mask[rows].any(0).nonzero()
        columns = slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 1)
        batch = {name: tensor[rows, columns] for name, tensor in tensors.items()}
        batches.append(model(**batch)["sentence_embedding"].float())
    return torch.cat(batches)[order.argsort()]


def _directory(model: NeuronBaseModel) -> Path:
    """Return the directory of the artifact, where the tokenizer and the checkpoint's settings are."""
    return Path(model.session.artifact.path)


plugin = SentenceSimilarity()
