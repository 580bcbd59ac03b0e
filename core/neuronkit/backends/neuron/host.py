"""
What the machine has: Neuron devices and their driver. No package of Neuron's is needed, and nothing is started.

Every probe reads below a root directory, ``/`` unless ``NEURONKIT_HOST_ROOT`` names another: a container that sees the
host's
``/dev``, ``/proc`` and ``/sys`` somewhere else sets it.
"""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from neuronkit.backends.neuron.targets import CHIPS, CORES_PER_CHIP, DEFAULT_LOGICAL_CORES, FAMILIES, target_of
from neuronkit.environment import host_root

_ARCHITECTURES = {"NCv2": "trn1", "NCv3": "trn2"}


@attrs.frozen
class Host:
    """
    A machine, seen through its file system.

    Args:
        root: The directory that stands for ``/``.

    """

    root: Path = attrs.field(factory=host_root)

    def device_nodes(self) -> list[Path]:
        """Return the device files, one per chip, in the order of their numbers."""
        nodes = [node for node in (self.root / "dev").glob("neuron*") if node.name.removeprefix("neuron").isdigit()]
        return sorted(nodes, key=lambda node: int(node.name.removeprefix("neuron")))

    def instance_type(self) -> str | None:
        """Return the EC2 instance type (``"inf2.xlarge"``) that the firmware reports, or None elsewhere."""
        name = _read(self.root / "sys/devices/virtual/dmi/id/product_name")
        return name if name and target_of(name) else None

    def driver_loaded(self) -> bool:
        """Return whether the kernel module is loaded."""
        lines = (_read(self.root / "proc/modules") or "").splitlines()
        devices = (_read(self.root / "proc/devices") or "").splitlines()
        return any(line.split()[:1] == ["neuron"] for line in lines) or any(
            line.split()[1:] == ["neuron"] for line in devices
        )

    def driver_version(self) -> str | None:
        """Return the version of the kernel module."""
        return _read(self.root / "sys/module/neuron/version")

    def architecture(self) -> str | None:
        """Return the architecture of the chips, as `targets.FAMILIES` names it; None when nothing tells."""
        if target := target_of(self.instance_type() or ""):
            return FAMILIES[target]
        for node in self.device_nodes():
            kind = _read(self._sysfs(node) / "neuron_core0/info/architecture/arch_type")
            if kind in _ARCHITECTURES:
                return _ARCHITECTURES[kind]
        return None

    def target(self) -> str | None:
        """Return the compiler's target for this machine."""
        return target_of(self.instance_type() or "") or self.architecture()

    def physical_cores(self) -> int:
        """Return the number of cores of all chips."""
        architecture = self.architecture()
        total = 0
        for node in self.device_nodes():
            count = _read(self._sysfs(node) / "core_count")
            if count and count.isdigit():
                total += int(count)
            elif architecture:
                total += CORES_PER_CHIP[architecture]
        return total

    def expected_chips(self) -> int | None:
        """Return how many chips the instance type has."""
        return CHIPS.get(self.instance_type() or "")

    def logical_cores(self) -> int:
        """Return how many physical cores the run time joins into one."""
        chosen = os.environ.get("NEURON_LOGICAL_NC_CONFIG", "")
        return int(chosen) if chosen.isdigit() and int(chosen) else DEFAULT_LOGICAL_CORES[self.architecture() or "trn1"]

    def cores(self) -> int:
        """Return the number of cores as the run time counts them."""
        return self.physical_cores() // self.logical_cores()

    def _sysfs(self, node: Path) -> Path:
        return self.root / "sys/devices/virtual/neuron_device" / node.name


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
