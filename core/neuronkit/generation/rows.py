"""The rows of a decoder's cache, and running tokens through them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from neuronkit.errors import InputError
from neuronkit.shape_names import BATCH

if TYPE_CHECKING:
    from neuronkit.session import Session

_WEIGHTS_WORTH = 16
"""How many padded tokens cost about as much as reading the weights once more for a call of their own."""


class CacheRows:
    """
    Runs a decoder graph over its cache; which text is in which row is the caller's affair.

    The graph takes ``input_ids`` and ``cache_ids`` ``[batch, sequence]``, ``last`` ``[batch]`` and ``cache_range``
    ``[cache]``, and returns ``logits``. A token sees the slots of its row up to its own, so a row needs no clearing; slot
    `length` is spare, and takes what padding and idle rows write.

    Args:
        session: The loaded artifact.
        graph: Name of the graph.
    """

    def __init__(self, session: Session, graph: str) -> None:
        loaded = session.graphs[graph]
        self._session = session
        self._graph = graph
        self.turns = session.turns
        self.count = loaded.limits[BATCH]
        self.length = loaded.limits["cache"]
        self.all_logits = len(loaded.graph.outputs[0].axes) == 3
        self._widest = loaded.limits["sequence"]
        self._table = loaded.table
        self._any_rows = self.count == 1 or BATCH in loaded.buckets[-1].bounds
        self._range = torch.arange(self.length)
        self._zeros = [torch.zeros(count, dtype=torch.int64) for count in range(self.count + 1)]

    def __reduce__(self) -> tuple[type[CacheRows], tuple[Session, str]]:
        """Be copied as the rows of the session's copy; nothing is in them."""
        return type(self), (self._session, self._graph)

    def run(
        self, input_ids: torch.Tensor, cache_ids: torch.Tensor, last: torch.Tensor, used: int, row: int = 0
    ) -> torch.Tensor:
        """
        Run some tokens, from row `row` on; more than the graph takes at once go through it in pieces.

        Args:
            input_ids: ``[rows, tokens]``.
            cache_ids: The slot of each.
            last: In each row, the index of the token whose logits are wanted.
            used: How many leading slots any of them sees.
            row: The cache's row of the first.

        Returns:
            ``[rows, vocabulary]``, or ``[rows, tokens, vocabulary]`` with `all_logits`.
        """
        rows, width = input_ids.shape
        if width > self._widest:
            return self._run_in_pieces(input_ids, cache_ids, last, used, row)
        sizes = {BATCH: rows, "sequence": width, "cache": used}
        fixed = rows < self.count and BATCH not in self._table.choose(sizes).bounds
        if fixed:
            rest = (row, self.count - row - rows)
            input_ids = _surround(input_ids, rest, 0)
            cache_ids = _surround(cache_ids, rest, self.length)
            last = _surround(last, rest, 0)
        tensors = {"input_ids": input_ids, "cache_ids": cache_ids, "last": last, "cache_range": self._range[:used]}
        logits = self._session.forward(self._graph, tensors, 0 if fixed else row)["logits"]
        return logits[row : row + rows] if fixed else logits

    def _run_in_pieces(
        self, input_ids: torch.Tensor, cache_ids: torch.Tensor, last: torch.Tensor, used: int, row: int
    ) -> torch.Tensor:
        pieces = []
        for begin in range(0, input_ids.shape[1], self._widest):
            ids, slots = (tensor[:, begin : begin + self._widest] for tensor in (input_ids, cache_ids))
            pieces.append(self.run(ids, slots, (last - begin).clamp(0, ids.shape[1] - 1), used, row))
        if self.all_logits:
            return torch.cat(pieces, dim=1)
        return torch.stack(pieces)[last // self._widest, torch.arange(len(last))]

    def step(self, tokens: Sequence[int], slots: Sequence[int]) -> torch.Tensor:
        """
        Run one token in each of the first rows.

        Args:
            tokens: One a row.
            slots: Where each belongs in its row; `length` for a row that takes no part.

        Returns:
            The logits, ``[rows, vocabulary]``.
        """
        used = 1 + max(slot for slot in slots if slot < self.length)
        input_ids, cache_ids = (torch.tensor([[number] for number in column]) for column in (tokens, slots))
        logits = self.run(input_ids, cache_ids, self._zeros[len(tokens)], used)
        return logits[:, -1] if self.all_logits else logits

    def prefill(self, texts: Sequence[torch.Tensor], row: int = 0) -> torch.Tensor:
        """
        Put texts into consecutive rows.

        They go through the graph together where that pads little, one by one otherwise.

        Args:
            texts: Token ids, each ``[tokens]``.
            row: The first one's row.

        Returns:
            The logits after each text's last token, ``[texts, vocabulary]``.
        """
        lengths = [text.shape[0] for text in texts]
        padding = max(lengths) * len(texts) - sum(lengths)
        if len(texts) == 1 or padding <= _WEIGHTS_WORTH * (len(texts) - 1) or not self._any_rows:
            return self._prefill_together(texts, lengths, row)
        return torch.cat([self._prefill_together([text], [text.shape[0]], row + n) for n, text in enumerate(texts)])

    def _prefill_together(self, texts: Sequence[torch.Tensor], lengths: list[int], row: int) -> torch.Tensor:
        longest = max(lengths)
        input_ids = torch.nn.utils.rnn.pad_sequence(list(texts), batch_first=True)
        slots = self._range[:longest].repeat(len(texts), 1)
        last = torch.tensor(lengths) - 1
        logits = self.run(input_ids, slots.masked_fill(slots > last[:, None], self.length), last, longest, row)
        return logits[torch.arange(len(texts)), last] if self.all_logits else logits

    def reorder(self, rows: torch.Tensor) -> None:
        """
        Make each of the first rows a copy of the row that `rows` names for it.

        Raises:
            InputError: The cache is on the device, where rows cannot be copied.
        """
        if self._session.backend.capabilities.state_on_device:
            raise InputError(
                f"Beams copy rows of the cache, and the backend {self._session.manifest.backend!r} keeps it on the device.\n"
                "Try: num_beams=1, or the cpu backend."
            )
        for tensor in self._session.state.values():
            tensor[: rows.shape[0]] = tensor.index_select(0, rows)


def _surround(tensor: torch.Tensor, amounts: tuple[int, int], value: int) -> torch.Tensor:
    """Add rows of one value before and after."""
    before, after = (tensor.new_full((amount, *tensor.shape[1:]), value) for amount in amounts)
    return torch.cat([before, tensor, after])
