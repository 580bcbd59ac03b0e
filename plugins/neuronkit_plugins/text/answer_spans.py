"""
The best answer spans of start and end logits: arithmetic only, no tokenizer.

A span begins at a token and covers up to `max_answer_length` of them, so the spans of a context are a band of
``tokens x max_answer_length`` cells. The band is walked in blocks: memory does not grow with the number of windows.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import numpy as np
from numpy.typing import NDArray

BLOCK_CELLS = 1 << 18
"""Cells of the band that are built at once: some 20 MB."""
NO_ANSWER = (0, 0)
"""The offsets of the empty answer."""

Candidates = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]
"""Logits, first characters and ends of spans, each ``[spans]``."""


@attrs.frozen
class Span:
    """
    A span of the context.

    Args:
        start: Offset of its first character.
        end: Offset behind its last character.
        score: Its share of all allowed spans, between 0 and 1.
    """

    start: int
    end: int
    score: float


def best_spans(
    start_logits: NDArray[np.floating],
    end_logits: NDArray[np.floating],
    offsets: NDArray[np.integer],
    allowed: NDArray[np.bool_],
    *,
    max_answer_length: int,
    top_k: int = 1,
    null_positions: NDArray[np.integer] | None = None,
) -> list[Span]:
    """
    Rank the spans of one question over all windows of its context.

    A span's logit is that of its first token as start plus that of its last as end. The same characters may be found in
    several windows, and then count once, with the best logit. Scores are a softmax over all distinct allowed spans, so
    they fall with rank and, were all of them returned, would add up to one.

    Args:
        start_logits: ``[windows, sequence]``.
        end_logits: ``[windows, sequence]``.
        offsets: ``[windows, sequence, 2]``, the characters of each token in the context.
        allowed: ``[windows, sequence]``, which tokens belong to the context; they stand next to each other.
        max_answer_length: Tokens of the longest allowed span.
        top_k: How many spans to return, at most.
        null_positions: ``[windows]``, the position whose logits say that there is no answer (``[CLS]``). Then the empty
            answer takes part, with the smallest of its logits over the windows: the convention of SQuAD 2.0, by
            which one window that holds an answer outweighs those that do not.

    Returns:
        The best spans, best first; the empty answer has the offsets `NO_ANSWER`. Of equal spans the earlier,
        then the shorter comes first.

    Raises:
        ValueError: The logits are not finite, so that there is no order among the spans.
    """
    best: Candidates = (np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64))
    log_total = -np.inf
    blocks = _blocks(start_logits, end_logits, offsets, allowed, max_answer_length)
    for logits, starts, ends in _with_null(blocks, start_logits, end_logits, null_positions):
        if not np.isfinite(logits).all():
            raise ValueError("The model returned logits that are infinite or not a number, so no answer can be chosen.")
        highest = np.max(logits)
        log_total = np.logaddexp(log_total, highest + np.log(np.exp(logits - highest).sum()))
        both = (np.append(best[0], logits), np.append(best[1], starts), np.append(best[2], ends))
        best = _highest(both, top_k)
    scores = np.exp(best[0] - log_total)
    return [
        Span(int(start), int(end), float(score)) for start, end, score in zip(best[1], best[2], scores, strict=True)
    ]


def trimmed(offsets: NDArray[np.int64], text: str) -> NDArray[np.int64]:
    """
    Return the offsets of tokens without the white space around them, which some tokenizers count to the next word.

    Args:
        offsets: ``[..., 2]``, within the text.
        text: What the offsets point into.

    Returns:
        ``[..., 2]``; a token that is nothing but white space ends no later than it starts.
    """
    length = len(text)
    visible = np.fromiter((not character.isspace() for character in text), dtype=bool, count=length)
    places = np.arange(length)
    following = np.append(np.where(visible, places, length), length)
    following = np.minimum.accumulate(following[::-1])[::-1]  # [i]: the first visible character from i on
    preceding = np.append(0, np.where(visible, places + 1, 0))
    preceding = np.maximum.accumulate(preceding)  # [i]: behind the last visible character before i
    return np.stack([following[offsets[..., 0]], preceding[offsets[..., 1]]], axis=-1)


def _blocks(
    start_logits: NDArray[np.floating],
    end_logits: NDArray[np.floating],
    offsets: NDArray[np.integer],
    allowed: NDArray[np.bool_],
    max_answer_length: int,
) -> Iterator[Candidates]:
    """Yield every allowed span once, with its best logit; spans of one first character are in the same block."""
    length = start_logits.shape[1]
    width = min(max_answer_length, length)
    windows, firsts = np.nonzero(allowed)
    starts = offsets[windows, firsts, 0]
    order = np.argsort(starts, kind="stable")
    windows, firsts, starts = windows[order], firsts[order], starts[order]
    groups = np.append(np.flatnonzero(np.diff(starts, prepend=-1)), starts.size)
    begin = 0
    while begin < starts.size:
        wanted = np.searchsorted(groups, begin + max(BLOCK_CELLS // width, 1), side="right") - 1
        stop = int(max(groups[wanted], groups[np.searchsorted(groups, begin, side="right")]))
        block = _distinct(
            start_logits,
            end_logits,
            offsets,
            allowed,
            windows[begin:stop],
            firsts[begin:stop],
            starts[begin:stop],
            width,
        )
        if block[0].size:
            yield block
        begin = stop


def _distinct(
    start_logits: NDArray[np.floating],
    end_logits: NDArray[np.floating],
    offsets: NDArray[np.integer],
    allowed: NDArray[np.bool_],
    windows: NDArray[np.integer],
    firsts: NDArray[np.integer],
    starts: NDArray[np.integer],
    width: int,
) -> Candidates:
    """
    Return the spans that begin at the given tokens.

    Args:
        start_logits: ``[windows, sequence]``.
        end_logits: ``[windows, sequence]``.
        offsets: ``[windows, sequence, 2]``.
        allowed: ``[windows, sequence]``.
        windows: Window of each token, ``[tokens]``.
        firsts: Its position there, ``[tokens]``.
        starts: Its first character, ``[tokens]``.
        width: Tokens of the longest span.
    """
    length = start_logits.shape[1]
    lasts = firsts[:, None] + np.arange(width)  # [tokens, width]
    inside = lasts < length
    np.minimum(lasts, length - 1, out=lasts)
    ends = offsets[windows[:, None], lasts, 1]
    rows, columns = np.nonzero(inside & allowed[windows[:, None], lasts] & (ends > starts[:, None]))
    first_logits = start_logits[windows, firsts].astype(np.float64)
    logits = first_logits[rows] + end_logits[windows[rows], lasts[rows, columns]]
    found_starts, found_ends = starts[rows].astype(np.int64), ends[rows, columns].astype(np.int64)
    order = np.lexsort((found_ends, found_starts))
    logits, found_starts, found_ends = logits[order], found_starts[order], found_ends[order]
    new = np.flatnonzero((np.diff(found_starts, prepend=-1) != 0) | (np.diff(found_ends, prepend=-1) != 0))
    if new.size:
        logits = np.maximum.reduceat(logits, new)
    return logits, found_starts[new], found_ends[new]


def _with_null(
    blocks: Iterator[Candidates],
    start_logits: NDArray[np.floating],
    end_logits: NDArray[np.floating],
    null_positions: NDArray[np.integer] | None,
) -> Iterator[Candidates]:
    """Yield the blocks, and the empty answer after them where it takes part."""
    yield from blocks
    if null_positions is not None:
        rows = np.arange(len(start_logits))
        logits = start_logits[rows, null_positions].astype(np.float64) + end_logits[rows, null_positions]
        yield logits.min(keepdims=True), np.array([NO_ANSWER[0]]), np.array([NO_ANSWER[1]])


def _highest(candidates: Candidates, count: int) -> Candidates:
    """Return the candidates of the highest logits, highest first."""
    logits, starts, ends = candidates
    count = min(count, logits.size)
    if count == 0:
        return candidates
    # Whatever ties with the last place is kept until the offsets decide between them.
    threshold = np.partition(logits, logits.size - count)[logits.size - count]
    kept = np.flatnonzero(logits >= threshold)
    order = kept[np.lexsort((ends[kept], starts[kept], -logits[kept]))][:count]
    return logits[order], starts[order], ends[order]
