"""
A simulated machine: the stand-in on the path, device files where the probes look, cores that processes claim.

Everything that comes out of it is labelled ``simulated``; no time taken on it says anything about a device.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

STANDIN = Path(__file__).parent
_CHIPS = {"inf2.xlarge": 1, "inf2.8xlarge": 1, "inf2.24xlarge": 6, "trn1.2xlarge": 1, "trn2.3xlarge": 1}
_ARCHITECTURES = {"inf2": ("NCv2", 2), "trn1": ("NCv2", 2), "trn2": ("NCv3", 8)}


def build_machine(root: Path, instance: str | None = None, *, memory_gib: int = 64, swap_gib: int = 0) -> Path:
    """
    Write the files that probes read.

    Args:
        root: Stands for ``/``.
        instance: Instance type; None builds a machine without a device.
        memory_gib: Available memory.
        swap_gib: Free swap.
    """
    write(
        root / "proc/meminfo",
        f"MemTotal: {memory_gib * 2**20} kB\nMemAvailable: {memory_gib * 2**20} kB\nSwapFree: {swap_gib * 2**20} kB\n",
    )
    write(root / "proc/devices", "Character devices:\n  1 mem\n")
    (root / "dev").mkdir(parents=True, exist_ok=True)
    if instance is None:
        return root
    write(root / "proc/devices", "Character devices:\n  1 mem\n245 neuron\n")
    write(root / "proc/modules", "neuron 331776 0 - Live 0x0000000000000000\n")
    write(root / "sys/module/neuron/version", "2.29.0.0-simulated")
    write(root / "sys/devices/virtual/dmi/id/product_name", instance)
    kind, cores = _ARCHITECTURES[instance.split(".")[0]]
    for chip in range(_CHIPS[instance]):
        write(root / f"dev/neuron{chip}", "")
        folder = root / f"sys/devices/virtual/neuron_device/neuron{chip}"
        write(folder / "core_count", str(cores))
        write(folder / "neuron_core0/info/architecture/arch_type", kind)
    return root


def write(file: Path, text: str) -> None:
    """Write a file and the directories above it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


class Simulation:
    """
    The machine of a test.

    Args:
        patch: Undoes everything when the test ends.
        root: Where the machine's files go.
    """

    def __init__(self, patch: pytest.MonkeyPatch, root: Path) -> None:
        self._patch = patch
        self._root = root
        self._number = 0
        patch.syspath_prepend(str(STANDIN))
        for name in ("NEURON_RT_VISIBLE_CORES", "NEURON_RT_NUM_CORES", "NEURON_LOGICAL_NC_CONFIG"):
            patch.delenv(name, raising=False)
        self.start(None)

    def start(self, instance: str | None) -> Path:
        """Become another machine, with a device or without; returns its root directory."""
        self._number += 1
        root = build_machine(self._root / f"machine{self._number}", instance)
        locks = root / "cores"
        locks.mkdir()
        self.set("NEURON_STANDIN_DEVICE", instance or "")
        self.set("NEURON_STANDIN_LOCKS", str(locks))
        self.set("NEURONKIT_HOST_ROOT", str(root))
        self.restart_process()
        return root

    def set(self, name: str, value: str | None) -> None:
        """Set or remove an environment variable."""
        if value is None:
            self._patch.delenv(name, raising=False)
        else:
            self._patch.setenv(name, value)

    def fail(self, order: str) -> None:
        """Make compilations fail: ``"70:NCC_EVRF029"``, ``"-9"``, ``"timeout"``; ``@graph`` at the end picks some."""
        self.set("NEURON_STANDIN_FAILURE", order)

    def restart_process(self) -> None:
        """Let go of all cores and contexts, as only the end of a process does."""
        if "torch_neuronx" in sys.modules:
            from torch_neuronx import _device, _runtime

            _device.reset()
            _runtime.CONTEXT.clear()
