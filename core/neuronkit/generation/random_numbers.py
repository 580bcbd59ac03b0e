"""Random numbers: a call's own, and the program's, for which transformers' searches have no substitute."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from neuronkit.errors import InputError
from neuronkit.turns import ForkedLock

_searching = ForkedLock()
_changing = ForkedLock()
_aside: torch.Generator | None = None
"""The program's random numbers while a search has put its own into torch's global generator."""


def own(seed: Any) -> torch.Generator | None:
    """
    Return a generator of the numbers that follow ``torch.manual_seed(seed)``; None stands for the program's.

    Args:
        seed: A whole number; a generator is returned as it is.

    Raises:
        InputError: It is no whole number, or more than 64 bits long.
    """
    if seed is None or isinstance(seed, torch.Generator):
        return seed
    try:
        number = operator.index(seed)
    except TypeError:
        number = None
    if number is None or not -(2**63) <= number < 2**64:
        raise InputError(f"seed must be a whole number from -2**63 to 2**64 - 1 (got {seed!r}).")
    return torch.Generator().manual_seed(number)


def draw(probabilities: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """
    Draw the number of a column in every row.

    Args:
        probabilities: ``[rows, columns]``.
        generator: From `own`.

    Returns:
        ``[rows]``.
    """
    if generator is not None:
        return torch.multinomial(probabilities, num_samples=1, generator=generator).squeeze(1)
    with _changing.own:
        return torch.multinomial(probabilities, num_samples=1, generator=_aside).squeeze(1)


@contextmanager
def lent(generator: torch.Generator | None) -> Iterator[None]:
    """
    Let a search draw from a generator, although it draws from torch's global one; afterwards that is the program's again.

    One search at a time: what wants to draw meanwhile waits here, or takes the program's numbers with `draw`.
    """
    global _aside
    with _searching.own:
        if generator is None:
            yield
            return
        with _changing.own:
            before = torch.get_rng_state()
            outermost = _aside is None
            if outermost:
                _aside = torch.Generator()
                _aside.set_state(before)
            torch.set_rng_state(generator.get_state())
        try:
            yield
        finally:
            with _changing.own:
                generator.set_state(torch.get_rng_state())
                if outermost and _aside is not None:
                    before, _aside = _aside.get_state(), None
                torch.set_rng_state(before)
