"""What a sentence transformer says of itself beside its modules, and lets its user change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs
import torch

from neuronkit.errors import InputError
from neuronkit.export.source import SENTENCE_SETTINGS_FILE, optional_settings
from neuronkit_plugins.text.prompts import Prompts
from neuronkit_plugins.text.sentence_module import SentenceModule

SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
"""How embeddings can be compared; the first is what a checkpoint that says nothing means."""


@attrs.define
class ModelCardData:
    """
    Where evaluators of sentence-transformers note their results; no model card is written of them.

    Args:
        metrics: The newest value of each metric, by the name that the evaluator gives it.
    """

    metrics: dict[str, float] = attrs.field(factory=dict)

    def set_evaluation_metrics(self, evaluator: Any, metrics: Mapping[str, Any], epoch: int = 0, step: int = 0) -> None:
        """Note what an evaluator found."""
        self.metrics.update(metrics)


class SentenceSettings(SentenceModule):
    """A sentence transformer's prompts, how many features it keeps, and how it compares embeddings."""

    @cached_property
    def truncate_dim(self) -> int | None:
        """
        How many features `encode` keeps, the first ones, and the model as a module of a ``SentenceTransformer``; None keeps all.

        The checkpoint may say so; may be assigned.
        """
        return _kept_features(self.processors.settings(SENTENCE_SETTINGS_FILE))

    @contextmanager
    def truncate_embeddings(self, truncate_dim: int | None) -> Iterator[None]:
        """Keep another number of features while the context lasts."""
        before = self.truncate_dim
        self.truncate_dim = truncate_dim
        try:
            yield
        finally:
            self.truncate_dim = before

    def truncate_sentence_embeddings(self, truncate_dim: int | None) -> AbstractContextManager[None]:
        """Keep another number of features while the context lasts: the older name of `truncate_embeddings`."""
        return self.truncate_embeddings(truncate_dim)

    @property
    def prompts(self) -> dict[str, str]:
        """The prompts by name; may be changed."""
        return self._prompts.named

    @prompts.setter
    def prompts(self, named: Mapping[str, str]) -> None:
        self._prompts.named = dict(named)

    @property
    def default_prompt_name(self) -> str | None:
        """The name of the prompt that `encode` takes where none is asked for; may be assigned."""
        return self._prompts.default

    @default_prompt_name.setter
    def default_prompt_name(self, name: str | None) -> None:
        self._prompts.default = name

    @cached_property
    def _prompts(self) -> Prompts:
        return Prompts.read(self.processors)

    @property
    def similarity_fn_name(self) -> str:
        """
        How `similarity` compares: ``"cosine"``, ``"dot"``, ``"euclidean"`` or ``"manhattan"``; may be assigned.

        A ``SimilarityFunction`` of sentence-transformers does too, and None stands for the first.
        """
        return self._similarity_fn_name

    @similarity_fn_name.setter
    def similarity_fn_name(self, name: str | Enum | None) -> None:
        known = name.value if isinstance(name, Enum) else name
        self._similarity_fn_name = SIMILARITIES[0] if known is None else known

    @cached_property
    def _similarity_fn_name(self) -> str:
        return _similarity_name(self.processors.settings(SENTENCE_SETTINGS_FILE))

    @cached_property
    def model_card_data(self) -> ModelCardData:
        """Where evaluators of sentence-transformers note their results."""
        return ModelCardData()

    def similarity(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """
        Compare embeddings, as sentence-transformers does.

        Args:
            embeddings1: ``[texts, features]`` or ``[features]``.
            embeddings2: ``[other texts, features]`` or ``[features]``.

        Returns:
            ``[texts, other texts]``.

        Raises:
            InputError: `similarity_fn_name` is not known, or sentence-transformers is not installed.
        """
        found: torch.Tensor = self._similarity().to_similarity_fn(self.similarity_fn_name)(embeddings1, embeddings2)
        return found

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Compare each embedding with the one in the same row: as `similarity`, and ``[texts]``."""
        functions = self._similarity()
        found: torch.Tensor = functions.to_similarity_pairwise_fn(self.similarity_fn_name)(embeddings1, embeddings2)
        return found

    def _similarity(self) -> Any:
        """Return the class that has the functions, after checking the name of the one that is wanted."""
        self._known_similarity()
        try:
            from sentence_transformers import SimilarityFunction
        except ModuleNotFoundError as error:
            raise missing("similarity") from error
        return SimilarityFunction

    def _known_similarity(self) -> str:
        if self.similarity_fn_name not in SIMILARITIES:
            known = ", ".join(SIMILARITIES)
            raise InputError(f"similarity_fn_name must be one of {known} (got {self.similarity_fn_name!r}).")
        return self.similarity_fn_name

    def _add_embeddings(self, features: Mapping[str, Any]) -> dict[str, Any]:
        added = super()._add_embeddings(features)
        # Modules return as many features as their get_embedding_dimension says.
        return {**added, "sentence_embedding": added["sentence_embedding"][:, : self.truncate_dim]}

    def _save_own(self, directory: Path) -> None:
        super()._save_own(directory)
        saved = optional_settings(directory / SENTENCE_SETTINGS_FILE)
        prompts = Prompts.of(saved)
        before = {
            "prompts": prompts.named,
            "default_prompt_name": prompts.default,
            "similarity_fn_name": _similarity_name(saved),
            "truncate_dim": _kept_features(saved),
        }
        now = {
            "prompts": self.prompts,
            "default_prompt_name": self.default_prompt_name,
            "similarity_fn_name": self._known_similarity(),
            "truncate_dim": self.truncate_dim,
        }
        self._write_settings(
            directory, SENTENCE_SETTINGS_FILE, {name: now[name] for name in now if now[name] != before[name]}
        )


def missing(what: str) -> InputError:
    """Return the error for what sentence-transformers computes, where it is not installed."""
    return InputError(
        f"{what} is computed by sentence-transformers, which is not installed.\n"
        'Try: pip install "neuronkit[sentence-transformers]"'
    )


def _similarity_name(saved: Mapping[str, Any]) -> str:
    name = saved.get("similarity_fn_name")
    return name if name in SIMILARITIES else SIMILARITIES[0]


def _kept_features(saved: Mapping[str, Any]) -> int | None:
    count = saved.get("truncate_dim")
    return None if count is None else int(count)
