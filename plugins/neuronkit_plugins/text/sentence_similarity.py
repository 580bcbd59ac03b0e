"""Sentence similarity: one embedding a text, as sentence-transformers computes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

import attrs
import numpy as np
import torch
from transformers.utils import ModelOutput

from neuronkit.errors import InputError
from neuronkit.export import ExportConfig
from neuronkit.export.source import Source
from neuronkit.hooks import hookimpl
from neuronkit.options import option
from neuronkit_plugins.text.checkpoint import load_backbone
from neuronkit_plugins.text.embedding import Encoder
from neuronkit_plugins.text.encoder_graph import EncoderOptions, attention_flags, encoder_config
from neuronkit_plugins.text.encoder_task import EncoderTask
from neuronkit_plugins.text.pooling import read_modules
from neuronkit_plugins.text.prompts import DOCUMENT, QUERY
from neuronkit_plugins.text.raw_input import as_texts, read_text
from neuronkit_plugins.text.sentence_module import prepare
from neuronkit_plugins.text.sentence_settings import SentenceSettings, missing

PRECISIONS = ("float32", "int8", "uint8", "binary", "ubinary")
"""What embeddings can be returned in; all but the first are made of it by sentence-transformers."""


@attrs.frozen(kw_only=True)
class SentenceSimilarityOptions(EncoderOptions):
    """What sentence similarity accepts."""

    normalize: bool = option(False, stage="call", help="Scale the embeddings to unit length, if the model does not.")
    truncate_dim: int | None = option(
        None, stage="call", minimum=1, help="Keep the first features only (default: as many as the checkpoint says)."
    )


@dataclass
class SentenceTransformerOutput(ModelOutput):
    """
    What a compiled sentence transformer returns.

    Args:
        token_embeddings: ``[batch, sequence, hidden]``.
        sentence_embedding: ``[batch, features]``.
        hidden_states: One tensor a layer, if compiled with them.
        attentions: One tensor a layer, if compiled with them.
    """

    token_embeddings: torch.Tensor | None = None
    sentence_embedding: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class NeuronModelForSentenceTransformers(SentenceSettings):
    """
    A compiled sentence transformer: `token_embeddings` ``[batch, sequence, hidden]`` and `sentence_embedding`
    ``[batch, features]``.
    """

    task = "sentence-similarity"
    auto_model_class_name = "AutoModel"

    @property
    def embedding_dimension(self) -> int:
        """Features of a sentence embedding, as `encode` returns it."""
        return self.get_embedding_dimension()

    def get_embedding_dimension(self) -> int:
        """Return the features of a sentence embedding, as `encode` returns it."""
        return self.features if self.truncate_dim is None else min(self.features, self.truncate_dim)

    def get_sentence_embedding_dimension(self) -> int:
        """Return the features of a sentence embedding: the older name of `get_embedding_dimension`."""
        return self.get_embedding_dimension()

    @property
    def features(self) -> int:
        """Features of a sentence embedding before any are cut."""
        return super().get_embedding_dimension()

    def encode(
        self,
        inputs: str | Sequence[str] | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        output_value: str | None = "sentence_embedding",
        precision: str | None = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: str | torch.device | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pool: None = None,
        chunk_size: None = None,
        *,
        sentences: str | Sequence[str] | None = None,
    ) -> Any:
        """
        Embed texts, with the options of sentence-transformers.

        Args:
            inputs: A text or a list of texts. Those that are too long are cut, as sentence-transformers does.
            prompt_name: Name of one of the checkpoint's prompts, which stands before every text.
            prompt: The prompt itself; goes before `prompt_name`.
            batch_size: Texts that run together.
            show_progress_bar: Show how many texts are done.
            output_value: ``"sentence_embedding"``, ``"token_embeddings"``, or None for both and the tokens.
            precision: ``"float32"`` or None for it, or what sentence-transformers then quantizes the sentence embeddings to:
                ``"int8"``, ``"uint8"``, ``"binary"`` or ``"ubinary"``.
            convert_to_numpy: Return numpy arrays.
            convert_to_tensor: Return one tensor; goes before `convert_to_numpy`.
            device: Where a compiled model takes its tensors: the CPU.
            normalize_embeddings: Scale the sentence embeddings to unit length.
            truncate_dim: Keep the first features only; None keeps as many as `truncate_dim` of the model says.
            pool: Refused: a compiled model runs in the process that it is called in.
            chunk_size: As `pool`.
            sentences: Older name of `inputs`.

        Returns:
            ``[features]`` for a text and ``[texts, features]`` for a list, in float32 or as `precision` has it (eight features
            in a byte for ``"binary"``); tensors of their own if neither is asked for. For token embeddings a tensor
            ``[tokens, hidden]`` a text; for both a mapping a text.

        Raises:
            InputError: An argument has a value that is not known, or sentence-transformers is needed and not installed.
        """
        _check_encode(output_value, precision, batch_size)
        _check_processes(pool=pool, chunk_size=chunk_size, device=device if isinstance(device, (list, tuple)) else None)
        if device is not None:
            self.to(device)
        texts, is_list = as_texts("inputs", sentences if inputs is None else inputs)
        texts = prepare(self.processors, texts, self._prompts.find(prompt, prompt_name))
        encoder = Encoder(self, batch_size, show_progress_bar=bool(show_progress_bar))
        kept = self.truncate_dim if truncate_dim is None else truncate_dim
        if output_value != "sentence_embedding":
            both = encoder.encode_tokens(texts, kept)
            results = both if output_value is None else [one["token_embeddings"] for one in both]
            return results if is_list else results[0]
        embeddings = encoder.encode(texts)[:, :kept]
        if normalize_embeddings:
            embeddings = torch.nn.functional.normalize(embeddings, p=2, dim=-1)
        if precision not in ("float32", None) and texts:
            embeddings = _quantized(embeddings, precision)
        result = embeddings if is_list else embeddings[0]
        if convert_to_tensor:
            return result
        if convert_to_numpy:
            return result.numpy()
        return list(result) if is_list else result

    def encode_query(
        self,
        inputs: Any = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        *others: Any,
        **options: Any,
    ) -> Any:
        """
        Embed queries: `encode` behind the checkpoint's prompt for queries, if it has one.

        Args:
            inputs: As for `encode`.
            prompt_name: Another prompt.
            prompt: The prompt itself.
            *others: As for `encode`, in its order.
            **options: As for `encode`.
        """
        if prompt_name is None and prompt is None and QUERY in self.prompts:
            prompt_name = QUERY
        return self.encode(inputs, prompt_name, prompt, *others, **options)

    def encode_document(
        self,
        inputs: Any = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        *others: Any,
        **options: Any,
    ) -> Any:
        """Embed documents: as `encode_query`, with the prompt for documents."""
        if prompt_name is None and prompt is None and DOCUMENT in self.prompts:
            prompt_name = DOCUMENT
        return self.encode(inputs, prompt_name, prompt, *others, **options)


def _check_processes(**given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise InputError(
                f"{name}: a compiled model runs in the process that it is called in, on all of its cores.\n"
                "Try: without it; or load the artifact in processes of your own."
            )


def _quantized(embeddings: torch.Tensor, precision: str) -> torch.Tensor:
    """Return embeddings in fewer bits, in the ranges of these embeddings themselves, as sentence-transformers does."""
    try:
        from sentence_transformers import quantize_embeddings
    except ModuleNotFoundError as error:
        raise missing("precision") from error
    try:
        return torch.from_numpy(quantize_embeddings(embeddings, precision))
    except ValueError as error:
        raise InputError(f"precision: {error}") from error


def _check_encode(output_value: str | None, precision: str | None, batch_size: int) -> None:
    if output_value not in ("sentence_embedding", "token_embeddings", None):
        raise InputError(
            f"output_value must be 'sentence_embedding', 'token_embeddings' or None (got {output_value!r})."
        )
    if precision not in (*PRECISIONS, None):
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)} (got {precision!r}).")
    if precision not in ("float32", None) and output_value != "sentence_embedding":
        raise InputError(f"precision: only sentence embeddings are quantized (got {precision!r} for {output_value!r}).")
    if not isinstance(batch_size, Integral) or batch_size < 1:
        raise InputError(f"batch_size must be a whole number of at least 1 (got {batch_size!r}).")


class SentenceSimilarity(EncoderTask):
    """Every sentence-transformers checkpoint of a Transformer, a Pooling, and any of Dense and Normalize."""

    model_class = NeuronModelForSentenceTransformers
    options_class = SentenceSimilarityOptions
    axes: ClassVar = {"token_embeddings": ("batch", "sequence"), "sentence_embedding": ("batch",)}

    @hookimpl
    def export_config(
        self, source: Source, shapes: Mapping[str, list[int]], options: SentenceSimilarityOptions
    ) -> ExportConfig:
        """Declare one graph of the encoder and the modules behind it."""
        modules = read_modules(source.path)
        model = load_backbone(source, folder=modules.transformer, pooler=False, **attention_flags(source, options))
        return encoder_config(
            source,
            model,
            self.axes,
            options,
            shapes=shapes,
            wrap=modules.wrap,
            output_class=SentenceTransformerOutput,
        )

    @hookimpl
    def preprocess(self, inputs: Mapping[str, Any], options: Any) -> tuple[dict[str, list[str]], bool]:
        """
        Return the texts, which the model tokenizes as its settings say, and whether they were a list.

        Raises:
            InputError: A name is unknown, or `text` is missing or not text.
        """
        texts, is_list = read_text(inputs, options, "Sentence similarity")
        return {"inputs": texts}, is_list

    @hookimpl
    def call(
        self,
        shell: NeuronModelForSentenceTransformers,
        tensors: Mapping[str, Any],
        options: SentenceSimilarityOptions,
    ) -> np.ndarray:
        """Embed the texts as the model does by itself."""
        embeddings: np.ndarray = shell.encode(
            tensors["inputs"],
            batch_size=options.batch_size,
            truncate_dim=options.truncate_dim,
            normalize_embeddings=options.normalize,
        )
        return embeddings

    @hookimpl
    def postprocess(self, outputs: np.ndarray, context: bool) -> np.ndarray:
        """Return float32 arrays: ``[features]`` for a text, ``[texts, features]`` for a list."""
        return outputs if context else outputs[0]


plugin = SentenceSimilarity()
