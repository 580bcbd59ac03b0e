"""
What steers the stand-in, read at every use so that subprocesses and tests can set it.

``NEURON_STANDIN_DEVICE``: instance type of the simulated machine (``inf2.xlarge``); empty means that there is no
device.
``NEURON_STANDIN_FAILURE``: what the next compilations do: ``70:NCC_EVRF029`` fails with that exit code and error code
in the log, ``-9`` is killed for memory, ``timeout`` never ends. ``@NAME`` at the end limits it to work directories with
that part.
``NEURON_STANDIN_CORE_BYTES``: memory of one core, 16 GiB by default.
``NEURON_STANDIN_PRECISION``: ``bf16`` rounds floating inputs and outputs, as auto-cast would disturb them.
``NEURON_STANDIN_LOCKS``: a directory in which the processes of one simulated machine claim its cores.
``NEURON_STANDIN_RUNTIME``: version of the simulated run time; files of another version do not load.
"""

from __future__ import annotations

import os
from pathlib import Path

__version__ = "2.9.0.2.15.32035+simulated"
COMPILER_VERSION = "2.26.6360.0+simulated"
CORES = {
    "inf2.xlarge": 2,
    "inf2.8xlarge": 2,
    "inf2.24xlarge": 12,
    "inf2.48xlarge": 24,
    "trn1.2xlarge": 2,
    "trn1.32xlarge": 32,
    "trn2.3xlarge": 4,
}
FAMILIES = {"inf2": "trn1", "trn1": "trn1", "trn1n": "trn1", "trn2": "trn2"}
"""Targets by the architecture that they share."""


def device() -> str | None:
    """Return the instance type, or None without a device."""
    return os.environ.get("NEURON_STANDIN_DEVICE") or None


def family() -> str:
    """Return the architecture of the simulated device."""
    return FAMILIES[str(device()).split(".")[0]]


def failure(workdir: Path) -> str | None:
    """Return what a compilation in `workdir` is told to do."""
    order, _, part = os.environ.get("NEURON_STANDIN_FAILURE", "").partition("@")
    return order if order and part in workdir.as_posix() else None


def core_bytes() -> int:
    """Return the memory of one core."""
    return int(os.environ.get("NEURON_STANDIN_CORE_BYTES", 16 * 2**30))


def rounds_to_bf16() -> bool:
    """Return whether floating tensors lose precision."""
    return os.environ.get("NEURON_STANDIN_PRECISION") == "bf16"


def lock_directory() -> Path | None:
    """Return where cores are claimed, or None for a machine that this process has to itself."""
    directory = os.environ.get("NEURON_STANDIN_LOCKS")
    return Path(directory) if directory else None


def runtime_version() -> str:
    """Return the version of the simulated run time."""
    return os.environ.get("NEURON_STANDIN_RUNTIME", __version__)


def logical_cores() -> int:
    """Return the logical core configuration of the run time: 1, and 2 by default on trn2."""
    return int(os.environ.get("NEURON_LOGICAL_NC_CONFIG", 2 if device() and family() == "trn2" else 1))
