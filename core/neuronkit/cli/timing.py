"""Timing calls against each other: in turns, so that whatever else the machine does hits all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import attrs


@attrs.frozen
class Latency:
    """
    How long one call took.

    Args:
        seconds: Every run, sorted.

    """

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """In seconds."""
        return median(self.seconds)

    @property
    def spread(self) -> tuple[float, float]:
        """The tenth and the ninetieth percentile, in seconds."""
        last = len(self.seconds) - 1
        return self.seconds[round(last * 0.1)], self.seconds[round(last * 0.9)]


def time_in_turns(
    calls: Mapping[str, Callable[[], Any]], *, repeats: int, warm_up: int = 2, budget: float = float("inf")
) -> dict[str, Latency]:
    """
    Run several calls in turns.

    Args:
        calls: By name.
        repeats: Turns that are timed, if the budget allows.
        warm_up: Turns before those.
        budget: Seconds after which no further turn begins; at least three are timed.

    Returns:
        Latencies by name.

    """
    for _ in range(warm_up):
        for call in calls.values():
            call()
    taken: dict[str, list[float]] = {name: [] for name in calls}
    began = time.perf_counter()
    for turn in range(repeats):
        if turn >= 3 and time.perf_counter() - began > budget:
            break
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - started)
    return {name: Latency(tuple(sorted(seconds))) for name, seconds in taken.items()}
