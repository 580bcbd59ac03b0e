"""Text as it comes: from tokens to pieces whose concatenation is the whole text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"


def text_pieces(tokens: Iterable[int], tokenizer: Any) -> Iterator[str]:
    """
    Decode tokens as they come.

    A piece is held back while it ends within a character of several bytes.

    Args:
        tokens: Ids.
        tokenizer: Decodes them.
    """
    seen: list[int] = []
    done = ""
    for token in tokens:
        seen.append(int(token))
        text = tokenizer.decode(seen, skip_special_tokens=True)
        if len(text) > len(done) and not text.endswith(_INCOMPLETE):
            yield text[len(done) :]
            done = text
    rest = tokenizer.decode(seen, skip_special_tokens=True)[len(done) :] if seen else ""
    if rest:
        yield rest
