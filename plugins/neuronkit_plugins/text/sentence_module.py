"""Encoders as the first module of a ``SentenceTransformer``: text to features, features to token embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch

from neuronkit.errors import InputError
from neuronkit.processors import Processors
from neuronkit_plugins.text.batching import tensors_of, tokenize
from neuronkit_plugins.text.encoder_model import NeuronEncoderModel
from neuronkit_plugins.text.pooling import TRANSFORMER_CONFIGS
from neuronkit_plugins.text.raw_input import as_texts


class SentenceModule(NeuronEncoderModel):
    """
    A compiled encoder that sentence-transformers takes for a module of its own.

    Called with one mapping of features it adds to them, as those modules do; called with tensors it is a model.
    """

    save_in_root = False
    config_keys: tuple[str, ...] = ()
    forward_kwargs: frozenset[str] = frozenset()

    def forward(  # positional, as the eager model takes them
        self,
        input_ids: torch.Tensor | Mapping[str, Any] | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        **others: Any,
    ) -> Any:
        """Run the model on tensors, or on a mapping of features that is given alone."""
        if isinstance(input_ids, Mapping):
            return self._add_embeddings(input_ids)
        return super().forward(input_ids, attention_mask, token_type_ids, **others)

    def _add_embeddings(self, features: Mapping[str, Any]) -> dict[str, Any]:
        tensors: dict[str, Any] = tensors_of(features)
        outputs = super().forward(**tensors)
        added = {name: outputs[name] for name in ("token_embeddings", "sentence_embedding") if name in outputs}
        return {**features, **(added or {"token_embeddings": outputs["last_hidden_state"]})}

    @property
    def modalities(self) -> list[str]:
        """What sentence-transformers may feed."""
        return ["text"]

    @property
    def max_seq_length(self) -> int:
        """Tokens that texts are cut to: what the checkpoint says, at most the compiled length."""
        return self._max_seq_length

    @max_seq_length.setter
    def max_seq_length(self, length: int) -> None:
        if not 1 <= length <= self.limits["sequence"]:
            raise InputError(
                f"max_seq_length must be between 1 and the compiled {self.limits['sequence']} (got {length})."
            )
        self._max_seq_length = length

    @cached_property
    def _max_seq_length(self) -> int:
        return longest_text(self.processors)

    def get_max_seq_length(self) -> int:
        """Return `max_seq_length`, as older code asks for it."""
        return self.max_seq_length

    def preprocess(
        self,
        inputs: Sequence[str],
        prompt: str | None = None,
        *,
        processing_kwargs: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> dict[str, torch.Tensor]:
        """
        Tokenize texts as sentence-transformers does.

        Args:
            inputs: The texts.
            prompt: Stands before each of them.
            processing_kwargs: Refused: settings of a tokenizer for one call.
            **_: Settings of modules that this is not.

        Raises:
            InputError: There are `processing_kwargs`, or something that is no text, such as a pair.
        """
        if processing_kwargs:
            raise InputError(
                "processing_kwargs: a compiled model tokenizes as the checkpoint's settings say.\n"
                "Try: max_seq_length, which may be assigned, to cut texts elsewhere."
            )
        texts = prepare(self.processors, as_texts("inputs", inputs)[0], prompt or "")
        return tensors_of(tokenize(self.tokenizer, texts, truncation=True, max_length=self.max_seq_length))

    def tokenize(self, texts: Sequence[str], **_: Any) -> dict[str, torch.Tensor]:
        """Tokenize texts: the older name of `preprocess`."""
        return self.preprocess(texts)

    def get_word_embedding_dimension(self) -> int:
        """Return the features of a token."""
        return self._features("token_embeddings", "last_hidden_state")

    def get_embedding_dimension(self) -> int:
        """Return the features of what comes last: a text's, or a token's where texts are not pooled."""
        return self._features("sentence_embedding", "last_hidden_state")

    def _features(self, *names: str) -> int:
        outputs = [output for graph in self.session.graphs.values() for output in graph.graph.outputs]
        return next(int(output.axes[-1]) for output in outputs if output.name in names)

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """Write the artifact, as a module of a sentence transformer that is saved."""
        self.save_pretrained(output_path)

    def _save_own(self, directory: Path) -> None:
        super()._save_own(directory)
        length = vars(self).get("_max_seq_length")  # not there where nobody has asked for it, or assigned it
        if length is None:
            return
        trusted = self.processors.trust_remote_code
        if length != longest_text(Processors(directory, self.limits, trust_remote_code=trusted)):
            there = (name for name in TRANSFORMER_CONFIGS if (directory / name).is_file())
            self._write_settings(directory, next(there, TRANSFORMER_CONFIGS[0]), {"max_seq_length": length})

    @classmethod
    def load(cls, model: str, subfolder: str = "", *, trust_artifact: bool = False, **options: Any) -> Self:
        """
        Load the artifact that `save` wrote.

        Args:
            model: Directory or hub id of the sentence transformer.
            subfolder: The module's folder.
            trust_artifact: As for `from_pretrained`.
            **options: What sentence-transformers passes to every module.
        """
        kept = {name: options[name] for name in ("revision", "token", "local_files_only") if options.get(name)}
        return cls.from_pretrained(model, subfolder=subfolder or None, trust_artifact=trust_artifact, **kept)


def longest_text(processors: Processors) -> int:
    """Return the tokens that texts are cut to: what the checkpoint's settings or its tokenizer say, at most the compiled length."""
    longest = _settings(processors).get("max_seq_length") or processors.tokenizer.model_max_length
    return int(min(processors.limits["sequence"], longest))


def prepare(processors: Processors, texts: Sequence[str], prompt: str) -> list[str]:
    """Return the texts behind the prompt, in lower case where the checkpoint's settings say so."""
    prepared = [prompt + text for text in texts]
    return [text.lower() for text in prepared] if _settings(processors).get("do_lower_case") else prepared


def _settings(processors: Processors) -> dict[str, Any]:
    """Return the settings of a checkpoint's Transformer module."""
    return next((found for name in TRANSFORMER_CONFIGS if (found := processors.settings(name))), {})
