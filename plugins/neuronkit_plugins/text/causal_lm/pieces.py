"""Text as it comes: from tokens to pieces whose concatenation is the whole text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"


def text_pieces(tokens: Iterable[int], tokenizer: Any) -> Iterator[str]:
    """
    Decode tokens as they come.

    A piece is held back while it ends within a character of several bytes. Only the tokens of the last piece are decoded again,
    before those that follow it: a decoder treats what comes first differently, so these cannot be decoded alone.

    Args:
        tokens: Ids.
        tokenizer: Decodes them.
    """

    def decode(ids: list[int]) -> str:
        text: str = tokenizer.decode(ids, skip_special_tokens=True)
        return text

    window: list[int] = []
    last = 0  # so many tokens of the window are the last piece's
    done = ""
    for token in tokens:
        window.append(int(token))
        text = decode(window)
        if len(text) > len(done) and not text.endswith(_INCOMPLETE):
            yield text[len(done) :]
            window = window[last:]
            last, done = len(window), decode(window)
    rest = decode(window)[len(done) :] if window else ""
    if rest:
        yield rest
