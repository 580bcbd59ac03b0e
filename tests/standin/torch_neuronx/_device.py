"""The simulated chip: which cores this process has, and how full they are."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass, field
from typing import Any

from torch_neuronx import _settings

NOT_INITIALIZED = (
    "The PyTorch Neuron Runtime could not be initialized. Neuron Driver issues are logged to your system logs."
)


@dataclass
class Device:
    """
    The cores that this process holds until it ends.

    Args:
        cores: Physical numbers; everything else counts from 0 within them.
        used: Bytes on each.
    """

    cores: list[int]
    used: list[int] = field(default_factory=list)
    locks: list[Any] = field(default_factory=list)
    next: int = 0

    def place(self, size: int, start: int, count: int) -> list[int]:
        """Put a model on cores; a start of -1 takes the next core in turn."""
        if count == 0 or count < -1 or count > len(self.cores):
            raise ValueError(f"nc_count must be -1 or between 1 and {len(self.cores)} (got {count}).")
        if start < 0:
            first = 0 if count > 1 else self.next % len(self.cores)
            self.next += 1
        else:
            first = start
        chosen = list(range(first, first + (1 if count == -1 else count)))
        if chosen[-1] >= len(self.cores):
            raise ValueError(f"There is no core {chosen[-1]}: this process sees {len(self.cores)}.")
        for core in chosen:
            if self.used[core] + size > _settings.core_bytes():
                raise RuntimeError(
                    "Could not load the model status=4 message=Allocation Failure (simulated): "
                    f"core {core} holds {self.used[core]} bytes"
                )
        for core in chosen:
            self.used[core] += size
        return chosen

    def free(self, size: int, cores: list[int]) -> None:
        """Unload a model."""
        for core in cores:
            self.used[core] -= size


_device: Device | None = None


def device() -> Device:
    """Start the simulated run time, once in a process."""
    global _device
    if _device is None:
        name = _settings.device()
        if name is None:
            raise RuntimeError(NOT_INITIALIZED)
        cores = _visible(_settings.CORES[name])
        _device = Device(cores, [0] * len(cores), _claim(cores))
    return _device


def reset() -> None:
    """Forget the device, as a new process would; only tests of the stand-in need it."""
    global _device
    if _device is not None:
        for lock in _device.locks:
            lock.close()
    _device = None


def _visible(count: int) -> list[int]:
    if wanted := os.environ.get("NEURON_RT_VISIBLE_CORES"):
        cores: list[int] = []
        for part in wanted.split(","):
            first, _, last = part.partition("-")
            cores += range(int(first), int(last or first) + 1)
        if cores != list(range(cores[0], cores[0] + len(cores))):
            raise RuntimeError(
                f"{NOT_INITIALIZED} NEURON_RT_VISIBLE_CORES must be contiguous and ascending (got {wanted})."
            )
    elif number := int(os.environ.get("NEURON_RT_NUM_CORES", 0)):
        cores = list(range(number))
    else:
        cores = list(range(count))
    if cores[-1] >= count:
        raise RuntimeError(f"{NOT_INITIALIZED} NeuronCore(s) not available - Requested:{len(cores)} Available:{count}")
    return cores


def _claim(cores: list[int]) -> list[Any]:
    directory = _settings.lock_directory()
    if directory is None:
        return []
    locks: list[Any] = []
    for core in cores:
        lock = (directory / f"core{core}").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            for held in [*locks, lock]:
                held.close()
            raise RuntimeError(
                f"{NOT_INITIALIZED} NeuronCore(s) not available - Requested:{len(cores)} Available:0"
            ) from None
        locks.append(lock)
    return locks
