"""Which cores a session runs on. Cores are numbered from 0 within those that this process sees."""

from __future__ import annotations

import os
import re
import threading

import attrs

from neuronkit.backends.neuron.host import Host
from neuronkit.errors import OptionError

MODES = ("none", "unet", "transformer", "all")
"""``data_parallel_mode``: which graphs are split over the session's cores; beside none and all, those of one kind."""
LOCK = threading.RLock()
"""Held while a model is put on a core: the placement contexts of ``torch_neuronx`` are not thread-safe."""


@attrs.frozen
class Placement:
    """
    Where a session's graphs go.

    Args:
        cores: Consecutive numbers.
        data_parallel: One of `MODES`.

    """

    cores: tuple[int, ...] = (0,)
    data_parallel: str = attrs.field(default="none", validator=attrs.validators.in_(MODES))

    def splits(self, kind: str | None) -> bool:
        """Return whether a graph of this kind is split over the cores instead of running on the first."""
        return len(self.cores) > 1 and self.data_parallel in ("all", kind)


def parse_cores(value: str, name: str = "placement") -> tuple[int, ...]:
    """
    Return the cores of ``"1"``, ``"0-3"`` or ``"0,1"``.

    Args:
        value: The text.
        name: Of the option or variable that it is the value of.

    Raises:
        OptionError: It is none of these, or the cores are not consecutive.

    """
    cores: list[int] = []
    for part in value.split(","):
        found = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part)
        if not found:
            raise OptionError(
                f"{name}: must be a number, a range or a list of these, such as 0, 0-3 or 0,1 (got {value!r})."
            )
        first, last = int(found.group(1)), int(found.group(2) or found.group(1))
        cores += range(first, last + 1)
    if not cores or cores != list(range(cores[0], cores[0] + len(cores))):
        raise OptionError(f"{name}: must be consecutive and ascending (got {value!r}).")
    return tuple(cores)


def visible_cores(host: Host) -> int:
    """
    Return how many cores this process may use.

    ``NEURON_RT_VISIBLE_CORES`` beats ``NEURON_RT_NUM_CORES``, which beats the number that the machine has.
    """
    if visible := os.environ.get("NEURON_RT_VISIBLE_CORES"):
        return len(parse_cores(visible, "NEURON_RT_VISIBLE_CORES"))
    number = os.environ.get("NEURON_RT_NUM_CORES", "")
    return int(number) if number.isdigit() and int(number) else host.cores()


class CoreAllocator:
    """Gives each session of this process the next cores in turn."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0

    def take(self, count: int, visible: int) -> tuple[int, ...]:
        """
        Return consecutive cores, starting over when none is left.

        Raises:
            OptionError: There are not as many.

        """
        if count > visible:
            raise OptionError(f"placement: {count} cores are needed, and this process sees {visible}.")
        with self._lock:
            first = self._next if self._next + count <= visible else 0
            self._next = (first + count) % visible
        return tuple(range(first, first + count))


ALLOCATOR = CoreAllocator()
"""Of this process."""


def choose(cores: str | None, data_parallel: str, host: Host, allocator: CoreAllocator = ALLOCATOR) -> Placement:
    """
    Decide where a session goes.

    Args:
        cores: What the caller asked for; None takes one core, two where graphs of one kind are split, or all for ``"all"``.
        data_parallel: One of `MODES`.
        host: The machine.
        allocator: Who has had which cores.

    Raises:
        OptionError: There are no such cores, or no such mode.

    """
    if data_parallel not in MODES:
        raise OptionError(f"data_parallel_mode: must be one of {', '.join(MODES)} (got {data_parallel!r}).")
    visible = visible_cores(host)
    if cores is None:
        wanted = {"none": 1, "all": visible}.get(data_parallel, min(2, visible))
        return Placement(allocator.take(max(1, wanted), visible), data_parallel)
    chosen = parse_cores(cores)
    if chosen[-1] >= visible:
        raise OptionError(f"placement: there is no core {chosen[-1]}; this process sees {visible}, numbered from 0.")
    if data_parallel == "none" and len(chosen) > 1:
        raise OptionError(
            f"placement: one core, because this artifact splits no calls over several (got {cores!r}). Try: one number, or a "
            "pipeline compiled with data_parallel_mode."
        )
    return Placement(chosen, data_parallel)
