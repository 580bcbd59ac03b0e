"""Series: tensors that a model takes or returns as a tuple, and its graph one by one, under numbered names."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import count, takewhile
from typing import TypeVar

T = TypeVar("T")


def numbered(series: str, items: Iterable[T]) -> dict[str, T]:
    """
    Return the items of a series by the names that they have in a graph: ``<series>_0``, ``<series>_1`` and so on.

    A series is what a model takes or returns as a tuple, such as the hidden states of its layers; a graph has tensors only.

    Args:
        series: Its name.
        items: Tensors, or whatever else there is one of for each.
    """
    return {_name(series, number): item for number, item in enumerate(items)}


def members(series: str, names: Collection[str]) -> list[str]:
    """
    Return those names of a graph that belong to a series, in its order; see `numbered`.

    Args:
        series: Its name.
        names: Of inputs or outputs.
    """
    return list(takewhile(names.__contains__, (_name(series, number) for number in count())))


def _name(series: str, number: int) -> str:
    return f"{series}_{number}"
