"""The memory that this process can have, and what compiling takes of it."""

from __future__ import annotations

import os
from pathlib import Path

_CONTROL_GROUP = Path("/sys/fs/cgroup")
"""A container sees its own control group here."""


def available_memory(root: Path = Path("/"), *, swap: bool = False) -> int:
    """
    Return the bytes of memory that can be taken, in a container those that its limit leaves.

    What merely caches files counts, for it gives way. Where the system does not say, all that the machine has counts.

    Args:
        root: The directory that stands for ``/``, where the machine is looked at.
        swap: Count free swap as well.
    """
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        lines = []
    fields = dict(line.split(":", 1) for line in lines)
    stated = fields.get("MemAvailable")
    free = _bytes(stated) if stated else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free = _left_by_the_container("memory", free)
    return free + _left_by_the_container("memory.swap", _bytes(fields.get("SwapFree", "0 kB"))) if swap else free


def expected_memory(weights: int) -> int:
    """
    Return a rough estimate of the bytes that compiling one graph takes: a base, and several copies of its weights.

    Args:
        weights: Bytes of the weights that the compiler has in memory.
    """
    return 3 * 2**30 + 6 * weights


def _bytes(value: str) -> int:
    return int(value.split()[0]) * 1024


def _left_by_the_container(what: str, free: int) -> int:
    """Return what the process's control group may still take of `free` (docs.kernel.org/admin-guide/cgroup-v2.html)."""
    try:
        limit, used = ((_CONTROL_GROUP / f"{what}.{name}").read_text(encoding="ascii") for name in ("max", "current"))
    except OSError:
        return free
    if limit.strip() == "max":
        return free
    return min(free, max(0, int(limit) - int(used) + _caches(what)))


def _caches(what: str) -> int:
    try:
        lines = (_CONTROL_GROUP / f"{what}.stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return int(dict(line.split() for line in lines).get("inactive_file", 0))
