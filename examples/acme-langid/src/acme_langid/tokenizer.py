"""The tokenizer: a text's UTF-8 bytes, and windows of them where a text is longer than the model was compiled for."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import attrs
import torch

PAD = 0
VOCABULARY = 257
"""The padding, and every byte one higher than it is."""
_FILE = "byte_tokenizer.json"


@attrs.frozen(kw_only=True)
class ByteTokenizer:
    """
    From texts to numbers.

    Args:
        form: Unicode normal form in which a text is read, so that an accent is the same bytes however it was typed.
        lower: Read capitals as small letters.
    """

    form: str = "NFC"
    lower: bool = True

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Load the tokenizer of a checkpoint or an artifact."""
        return cls(**json.loads((directory / _FILE).read_text(encoding="utf-8")))

    def save(self, directory: Path) -> None:
        """Save the tokenizer beside a checkpoint; neuronkit copies small JSON files into the artifact."""
        (directory / _FILE).write_text(json.dumps(attrs.asdict(self)) + "\n", encoding="utf-8")

    def encode(self, text: str) -> list[int]:
        """Return the numbers of a text; an empty text has none."""
        normal = unicodedata.normalize(self.form, text.strip())
        return [byte + 1 for byte in (normal.lower() if self.lower else normal).encode()]


def split(ids: Sequence[int], longest: int) -> list[Sequence[int]]:
    """Return windows of about equal size, none longer than `longest`."""
    count = -(-len(ids) // longest)
    size = -(-len(ids) // count)
    return [ids[start : start + size] for start in range(0, len(ids), size)]


def pad(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows as one tensor, padded on the right, and the mask that tells bytes from padding."""
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[PAD] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids, mask
