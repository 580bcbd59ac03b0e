"""
What this machine has of what Neuron needs, to compile and to run.

Nothing is started and no Neuron package is imported; everything works on a laptop with nothing installed. Each question
is one function from what it may look at to one finding.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs

from neuronkit.backends.cpu.host import find_compiler
from neuronkit.backends.neuron import sdk
from neuronkit.backends.neuron.host import Host
from neuronkit.backends.neuron.placement import parse_cores
from neuronkit.environment import cache_directory, version_of
from neuronkit.errors import OptionError
from neuronkit.memory import available_memory

Status = Literal["ok", "absent", "warning", "problem"]

COMPILE_MEMORY = 16 * 2**30
"""What compiling an encoder with a batch of 16 was seen to take; larger models take more."""
_TOOLS = Path("opt/aws/neuron/bin")
_RUNTIME = Path("opt/aws/neuron/lib/libnrt.so.1")


@attrs.frozen
class Finding:
    """
    One thing about this machine.

    Args:
        name: What was looked at.
        status: ``"ok"``; ``"absent"``: not here, and nothing is wrong with that; ``"warning"``: works, with a catch;
            ``"problem"``: will not work.
        detail: What was found.
        hint: What to type or change, or None.

    """

    name: str
    status: Status
    detail: str
    hint: str | None = None


@attrs.frozen
class Surroundings:
    """
    What the questions look at.

    Args:
        host: The machine's file system.
        variables: The process's environment.
        packages: The installed Neuron packages.

    """

    host: Host = attrs.field(factory=Host)
    variables: Mapping[str, str] = attrs.field(factory=lambda: dict(os.environ))
    packages: sdk.Sdk = attrs.field(factory=sdk.installed)


@attrs.frozen
class Diagnosis:
    """Everything that was found, in the order of the questions."""

    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """True when there is no problem; what is merely absent is none."""
        return all(finding.status != "problem" for finding in self.findings)

    @property
    def can_compile(self) -> bool:
        """Whether graphs can be compiled for Neuron here."""
        return not {"python", "torch", "torch-neuronx", "neuronx-cc"} & self._failing()

    @property
    def can_run(self) -> bool:
        """Whether graphs can run on Neuron here."""
        return not {"python", "torch", "torch-neuronx", "devices", "driver"} & self._failing()

    def _failing(self) -> set[str]:
        return {finding.name for finding in self.findings if finding.status in ("absent", "problem")}


def examine(surroundings: Surroundings | None = None) -> Diagnosis:
    """Ask every question."""
    where = surroundings or Surroundings()
    return Diagnosis(tuple(question(where) for question in QUESTIONS))


def _python(where: Surroundings) -> Finding:
    found = sys.version_info[:2]
    text = ".".join(map(str, sys.version_info[:3]))
    low, high = sdk.PYTHONS
    if low <= found <= high:
        return Finding("python", "ok", text)
    hint = f"Python {low[0]}.{low[1]} to {high[0]}.{high[1]}, for which torch-neuronx has packages"
    return Finding("python", "problem" if where.packages.torch_neuronx else "warning", text, hint)


def _torch(where: Surroundings) -> Finding:
    found = version_of("torch")
    if found is None:
        return Finding("torch", "problem", "not installed", "pip install torch")
    paired = tuple(int(part) for part in found.split("+")[0].split(".")[:2] if part.isdigit()) == sdk.TORCH
    if where.packages.line != "xla" or paired:
        return Finding("torch", "ok", found)
    wanted = ".".join(map(str, sdk.TORCH))
    return Finding(
        "torch",
        "problem",
        f"{found}, but torch-neuronx {where.packages.torch_neuronx} is built for {wanted}",
        sdk.INSTALL,
    )


def _transformers(where: Surroundings) -> Finding:
    found = {name: version_of(name) for name in ("transformers", "diffusers")}
    text = ", ".join(f"{name} {number}" for name, number in found.items() if number)
    return Finding("libraries", "ok" if text else "absent", text or "neither transformers nor diffusers")


def _torch_neuronx(where: Surroundings) -> Finding:
    packages = where.packages
    if packages.problem is None:
        return Finding("torch-neuronx", "ok", f"{packages.torch_neuronx} (XLA line)")
    return Finding(
        "torch-neuronx", "absent" if packages.line == "absent" else "problem", packages.problem, packages.cure
    )


def _neuronx_cc(where: Surroundings) -> Finding:
    packages = where.packages
    if packages.compiler_problem is not None:
        status: Status = "absent" if packages.compiler_line == "absent" else "problem"
        return Finding("neuronx-cc", status, packages.compiler_problem, packages.cure)
    path = os.pathsep.join([str(Path(sys.executable).parent), where.variables.get("PATH", "")])
    if shutil.which("neuronx-cc", path=path) is None:
        hint = "activate the environment that it was installed in"
        return Finding("neuronx-cc", "warning", f"{packages.neuronx_cc}, but there is no such command on PATH", hint)
    return Finding("neuronx-cc", "ok", str(packages.neuronx_cc))


def _instance(where: Surroundings) -> Finding:
    instance = where.host.instance_type()
    if instance is None:
        return Finding("instance", "absent", "not an inf2, trn1 or trn2 instance", "compile here with --target inf2")
    return Finding("instance", "ok", f"{instance} ({where.host.architecture()} cores)")


def _devices(where: Surroundings) -> Finding:
    nodes = where.host.device_nodes()
    expected = where.host.expected_chips()
    if not nodes:
        if expected is None:
            return Finding("devices", "absent", "no /dev/neuron0")
        hint = "apt-get install aws-neuronx-dkms; in a container: --device /dev/neuron0"
        return Finding("devices", "problem", f"no /dev/neuron0, although the instance has {expected} chips", hint)
    closed = [node.name for node in nodes if not os.access(node, os.R_OK | os.W_OK)]
    if closed:
        hint = "run as a user who may, or change the device's permissions"
        return Finding("devices", "problem", f"cannot be opened: {', '.join(closed)}", hint)
    if expected is not None and len(nodes) < expected:
        hint = "in a container, give it every /dev/neuron*"
        return Finding("devices", "warning", f"{len(nodes)} of the instance's {expected} chips", hint)
    return Finding(
        "devices", "ok", f"{len(nodes)} ({nodes[0].name} to {nodes[-1].name})" if nodes[1:] else nodes[0].name
    )


def _driver(where: Surroundings) -> Finding:
    if where.host.driver_loaded():
        return Finding("driver", "ok", where.host.driver_version() or "loaded, version unknown")
    if where.host.instance_type() is None and not where.host.device_nodes():
        return Finding("driver", "absent", "the kernel module neuron is not loaded")
    hint = "apt-get install aws-neuronx-dkms, then modprobe neuron"
    return Finding("driver", "problem", "the kernel module neuron is not loaded", hint)


def _runtime(where: Surroundings) -> Finding:
    if (where.host.root / _RUNTIME).exists():
        return Finding("runtime", "ok", f"/{_RUNTIME}")
    status: Status = "warning" if where.host.device_nodes() else "absent"
    return Finding(
        "runtime", status, f"no /{_RUNTIME}", "apt-get install aws-neuronx-runtime-lib aws-neuronx-collectives"
    )


def _cores(where: Surroundings) -> Finding:
    host, variables = where.host, where.variables
    total = host.cores()
    if not total:
        return Finding("cores", "absent", "none")
    text = f"{total}, each of {host.logical_cores()} physical" if host.logical_cores() > 1 else str(total)
    if visible := variables.get("NEURON_RT_VISIBLE_CORES"):
        try:
            cores = parse_cores(visible, "NEURON_RT_VISIBLE_CORES")
        except OptionError as error:
            return Finding("cores", "problem", str(error), "a range such as 0-1")
        if cores[-1] >= total:
            return Finding(
                "cores", "problem", f"NEURON_RT_VISIBLE_CORES={visible}, but there are {total}", "a range below that"
            )
        text += f"; this process sees {visible}"
    elif number := variables.get("NEURON_RT_NUM_CORES"):
        text += f"; this process takes {number}"
    else:
        hint = "NEURON_RT_VISIBLE_CORES=0 (and 1, 2, ...), one process per core"
        return Finding("cores", "ok", f"{text}; a process takes all of them unless told otherwise", hint)
    return Finding("cores", "ok", text)


def _free_cores(where: Surroundings) -> Finding:
    tool = where.host.root / _TOOLS / "neuron-ls"
    if not os.access(tool, os.X_OK):
        status: Status = "warning" if where.host.device_nodes() else "absent"
        return Finding("processes", status, f"no /{_TOOLS / 'neuron-ls'}", "apt-get install aws-neuronx-tools")
    try:
        done = subprocess.run([str(tool), "-j"], capture_output=True, text=True, timeout=20, check=True)
        busy = processes(json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return Finding("processes", "warning", f"neuron-ls gave no list: {type(error).__name__}", "neuron-ls -j")
    if not busy:
        return Finding("processes", "ok", "no process uses the devices")
    shown = "; ".join(f"{name}: process {pid} ({command})" for name, pid, command in busy)
    return Finding("processes", "warning", shown, "their cores are free when they end")


def processes(listed: Any) -> list[tuple[str, int, str]]:
    """Return device, number and command of every process that ``neuron-ls -j`` lists; its keys differ by release."""
    found = []
    for device in listed if isinstance(listed, list) else []:
        for process in device.get("neuron_processes") or []:
            command = str(process.get("command", "unknown")).split()
            found.append(
                (f"neuron{device.get('neuron_device', '?')}", int(process.get("pid", 0)), " ".join(command[:3]))
            )
    return found


def _memory(where: Surroundings) -> Finding:
    available = available_memory(where.host.root, swap=True)
    text = f"{available / 2**30:.1f} GiB available for compiling, swap included"
    if available >= COMPILE_MEMORY:
        return Finding("memory", "ok", text)
    hint = f"{COMPILE_MEMORY // 2**30} GiB: add swap, or compile on a larger machine (it needs no device)"
    return Finding("memory", "warning", text, hint)


def _cache(where: Surroundings) -> Finding:
    directory = cache_directory()
    above = next(path for path in (directory, *directory.parents) if path.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        return Finding("cache", "problem", f"{directory} cannot be written", "NEURONKIT_CACHE=<another directory>")
    free = shutil.disk_usage(above).free
    text = f"{directory}, {free / 2**30:.0f} GiB free"
    return (
        Finding("cache", "ok", text)
        if free > 10 * 2**30
        else Finding("cache", "warning", text, "neuronkit cache clear")
    )


def _host_compiler(where: Surroundings) -> Finding:
    if path := find_compiler(where.variables):
        return Finding("c++", "ok", path)
    needed = "the cpu backend needs one above --optlevel 1"
    if chosen := where.variables.get("CXX"):
        return Finding(
            "c++", "problem", f"CXX={chosen} cannot be run; {needed}", "unset CXX, or CXX=<another compiler>"
        )
    return Finding("c++", "absent", f"no g++ or clang++; {needed}", "apt-get install g++")


QUESTIONS: tuple[Callable[[Surroundings], Finding], ...] = (
    _python,
    _torch,
    _transformers,
    _torch_neuronx,
    _neuronx_cc,
    _instance,
    _devices,
    _driver,
    _runtime,
    _cores,
    _free_cores,
    _memory,
    _cache,
    _host_compiler,
)
"""In the order in which the findings are shown."""
