"""Embedding any number of texts: in windows of texts of similar length, and in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import torch

from neuronkit_plugins.text.batching import run_batches, run_texts, tensors_of, tokenize

if TYPE_CHECKING:
    from neuronkit_plugins.text.sentence_similarity import NeuronModelForSentenceTransformers

WINDOW = 4096
"""Texts that are tokenized at once; each window is sorted by length on its own."""


@attrs.frozen
class Encoder:
    """
    Embeds any number of texts, a window of them at a time.

    Args:
        model: The compiled model.
        batch_size: Texts that run together.
        show_progress_bar: Show how many windows are done.
    """

    model: NeuronModelForSentenceTransformers
    batch_size: int
    show_progress_bar: bool

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """Return float32 ``[texts, features]``, in the texts' order."""
        embeddings = torch.zeros(len(texts), self.model.features)
        for numbers, tensors in self._windows(texts):
            for rows, _, outputs in run_batches(self.model, tensors, self.batch_size):
                embeddings[[numbers[row] for row in rows]] = outputs["sentence_embedding"].float()
        return embeddings

    def encode_tokens(self, texts: Sequence[str], kept: int | None) -> list[dict[str, torch.Tensor]]:
        """Return each text's tokens and their embeddings, without padding, and the first `kept` features of its own."""
        names = ("token_embeddings", "sentence_embedding")
        results: list[Any] = [None] * len(texts)
        for numbers, tensors in self._windows(texts):
            outputs = run_texts(self.model, tensors, self.batch_size, names)
            outputs["sentence_embedding"] = [whole[:kept] for whole in outputs["sentence_embedding"]]
            for row, number in enumerate(numbers):
                length = int(tensors["attention_mask"][row].sum())
                own = {name: tensor[row, :length] for name, tensor in tensors.items()}
                results[number] = {**own, **{name: outputs[name][row] for name in names}}
        return results

    def _windows(self, texts: Sequence[str]) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
        # Characters tell roughly how many tokens there will be, so that a window holds texts of one kind.
        order = sorted(range(len(texts)), key=lambda number: -len(texts[number]))
        begins: Any = range(0, len(order), WINDOW)
        if self.show_progress_bar:
            from transformers.utils.logging import tqdm

            begins = tqdm(begins, desc="Windows")
        for begin in begins:
            numbers = order[begin : begin + WINDOW]
            keywords: dict[str, Any] = {"truncation": True, "max_length": self.model.max_seq_length}
            encoded = tokenize(self.model.tokenizer, [texts[number] for number in numbers], **keywords)
            yield numbers, tensors_of(encoded)
