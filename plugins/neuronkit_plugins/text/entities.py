"""From the scores of tokens to entities: arithmetic and strings only, by the strategies of transformers' pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

STRATEGIES = ("none", "simple", "first", "average", "max")


@attrs.frozen
class Token:
    """
    A token of a text.

    Args:
        word: As the tokenizer has it.
        scores: One a label.
        start: Offset of its first character; None where the tokenizer does not know.
        end: Offset behind its last.
        index: Position in the sequence.
        continues: Whether it belongs to the word of the token before.
    """

    word: str
    scores: NDArray[np.floating]
    start: int | None
    end: int | None
    index: int
    continues: bool


def find_entities(
    tokens: Sequence[Token], strategy: str, label: Callable[[int], str], join: Callable[[list[str]], str]
) -> list[dict[str, Any]]:
    """
    Label tokens, and put those of one entity together.

    Args:
        tokens: Those of the text, without special ones.
        strategy: One out of `STRATEGIES`.
        label: From the number of a label to its name.
        join: From tokens to a string.

    Returns:
        ``{"entity", "score", "index", "word", "start", "end"}`` a token for ``"none"``, otherwise
        ``{"entity_group", "score", "word", "start", "end"}`` a group.
    """
    if strategy in ("none", "simple"):
        labelled = [_label_token(token, label) for token in tokens]
    else:
        labelled = [_label_word(word, strategy, label, join) for word in _words(tokens)]
    return labelled if strategy == "none" else [_merge(group, join) for group in _groups(labelled)]


def _label_token(token: Token, label: Callable[[int], str]) -> dict[str, Any]:
    best = int(np.argmax(token.scores))
    return {
        "entity": label(best),
        "score": float(token.scores[best]),
        "index": token.index,
        "word": token.word,
        "start": token.start,
        "end": token.end,
    }


def _words(tokens: Sequence[Token]) -> list[list[Token]]:
    words: list[list[Token]] = []
    for token in tokens:
        if words and token.continues:
            words[-1].append(token)
        else:
            words.append([token])
    return words


def _label_word(
    word: list[Token], strategy: str, label: Callable[[int], str], join: Callable[[list[str]], str]
) -> dict[str, Any]:
    if strategy == "first":
        scores = word[0].scores
    elif strategy == "max":
        scores = max(word, key=lambda token: float(np.max(token.scores))).scores
    else:
        scores = np.nanmean(np.stack([token.scores for token in word]), axis=0)
    best = int(np.argmax(scores))
    return {
        "entity": label(best),
        "score": float(scores[best]),
        "word": join([token.word for token in word]),
        "start": word[0].start,
        "end": word[-1].end,
    }


def _groups(labelled: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    groups: list[list[dict[str, Any]]] = []
    previous = None
    for entity in labelled:
        begins, tag = _tag(entity["entity"])
        if groups and tag == previous and not begins:
            groups[-1].append(entity)
        else:
            groups.append([entity])
        previous = tag
    return groups


def _tag(name: str) -> tuple[bool, str]:
    """Return whether a label begins an entity, and the entity's kind; a label without a prefix continues."""
    if name.startswith("B-"):
        return True, name[2:]
    return False, name.removeprefix("I-")


def _merge(group: list[dict[str, Any]], join: Callable[[list[str]], str]) -> dict[str, Any]:
    return {
        "entity_group": group[0]["entity"].split("-", 1)[-1],
        "score": float(np.nanmean([entity["score"] for entity in group])),
        "word": join([entity["word"] for entity in group]),
        "start": group[0]["start"],
        "end": group[-1]["end"],
    }


def resolve_overlaps(entities: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return entities of overlapping windows: of those that overlap the longest, of equally long ones the likeliest."""
    kept: list[dict[str, Any]] = []
    for entity in sorted(entities, key=lambda entity: entity["start"]):
        if not kept or not kept[-1]["start"] <= entity["start"] < kept[-1]["end"]:
            kept.append(entity)
            continue
        rank = (entity["end"] - entity["start"], entity["score"])
        if rank > (kept[-1]["end"] - kept[-1]["start"], kept[-1]["score"]):
            kept[-1] = entity
    return kept
