"""The doctor on made-up machines."""

from __future__ import annotations

import json
import os
import shutil
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import attrs
import pytest

from neuronkit import memory
from neuronkit.backends.cpu.host import require_compiler
from neuronkit.backends.neuron.host import Host
from neuronkit.backends.neuron.sdk import Sdk
from neuronkit.cli import main
from neuronkit.diagnosis import doctor
from neuronkit.diagnosis.doctor import QUESTIONS, Surroundings, examine, processes
from neuronkit.errors import CompilerNotFoundError
from tests.standin.simulation import build_machine, write

GOOD = Sdk("2.9.0.2.15.32035", "2.26.6360.0", "xla", "xla")
NONE = Sdk(None, None, "absent", "absent")


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """Build a machine and return its findings by name."""
    monkeypatch.delenv("NEURON_LOGICAL_NC_CONFIG", raising=False)
    monkeypatch.setattr(memory, "_CONTROL_GROUP", tmp_path / "no container")

    def run(instance=None, *, packages=NONE, variables=None, change=None, **machine):
        root = build_machine(tmp_path / "root", instance, **machine)
        if change:
            change(root)
        return {
            finding.name: finding
            for finding in examine(Surroundings(Host(root), {"PATH": "", **(variables or {})}, packages)).findings
        }

    return run


@pytest.fixture
def torch_is(monkeypatch):
    """Pretend that a version of torch is installed."""
    real = doctor.version_of

    def set_version(number):
        monkeypatch.setattr(doctor, "version_of", lambda name: number if name == "torch" else real(name))

    return set_version


def test_a_laptop_with_nothing_installed_is_healthy(tmp_path):
    diagnosis = examine(Surroundings(Host(build_machine(tmp_path)), {"PATH": os.environ["PATH"]}, NONE))

    assert len(diagnosis.findings) == len(QUESTIONS)
    assert diagnosis.healthy
    assert not diagnosis.can_compile
    assert not diagnosis.can_run
    assert {"torch-neuronx", "neuronx-cc", "instance", "devices", "driver", "cores"} <= {
        finding.name for finding in diagnosis.findings if finding.status == "absent"
    }


@pytest.mark.parametrize(("number", "works"), [("2.9.1", True), ("2.13.0+cpu", False)])
def test_with_another_torch_nothing_compiles_or_runs(tmp_path, torch_is, number, works):
    torch_is(number)
    diagnosis = examine(Surroundings(Host(build_machine(tmp_path, "inf2.xlarge")), {"PATH": ""}, GOOD))
    assert (diagnosis.can_compile, diagnosis.can_run, diagnosis.healthy) == (works, works, works)


@pytest.fixture
def disk_has(monkeypatch):
    """Pretend that the cache's disk has so much room, in GiB."""

    def set_room(free):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free * 2**30))

    return set_room


def test_a_full_disk(ask, disk_has):
    disk_has(9)

    found = ask("inf2.xlarge")["cache"]
    assert (found.status, found.hint) == ("warning", "neuronkit cache clear")
    assert found.detail.endswith(", 9 GiB free")


def test_a_good_inf2(ask, torch_is, disk_has, tmp_path):
    torch_is("2.9.1")
    disk_has(100)

    def install(root):
        write(root / "opt/aws/neuron/lib/libnrt.so.1", "")
        _neuron_ls(root, "[]")
        write(tmp_path / "bin/neuronx-cc", "")
        (tmp_path / "bin/neuronx-cc").chmod(0o755)

    found = ask("inf2.xlarge", packages=GOOD, variables={"PATH": str(tmp_path / "bin")}, change=install)
    looked_at = {name: finding.status for name, finding in found.items() if name != "c++"}
    assert set(looked_at.values()) == {"ok"}
    assert found["instance"].detail == "inf2.xlarge (trn1 cores)"
    assert found["driver"].detail == "2.29.0.0-simulated"
    assert found["cores"].detail == "2; a process takes all of them unless told otherwise"
    assert found["processes"].detail == "no process uses the devices"


@pytest.mark.parametrize(
    ("packages", "name", "detail", "hint"),
    [
        (
            Sdk("1.0", "1.0.post1", "placeholder", "placeholder"),
            "torch-neuronx",
            "placeholder",
            "pip uninstall torch-neuronx",
        ),
        (
            Sdk("1.0", "1.0.post1", "placeholder", "placeholder"),
            "neuronx-cc",
            "placeholder",
            "pip uninstall torch-neuronx",
        ),
        (Sdk("2.14.3.0", "2.28.0", "native", "xla"), "torch-neuronx", "native line", "python -m venv"),
    ],
)
def test_wrong_packages_are_problems(ask, packages, name, detail, hint):
    finding = ask(packages=packages)[name]

    assert finding.status == "problem"
    assert detail in finding.detail
    assert finding.hint.startswith(hint)


def test_torch_must_pair_with_torch_neuronx(ask, torch_is):
    torch_is("2.13.0+cpu")

    assert ask(packages=NONE)["torch"].status == "ok"
    finding = ask(packages=GOOD)["torch"]
    assert (finding.status, finding.detail) == (
        "problem",
        "2.13.0+cpu, but torch-neuronx 2.9.0.2.15.32035 is built for 2.9",
    )


def test_a_compiler_off_the_path_is_a_warning(ask):
    assert ask(packages=GOOD)["neuronx-cc"].status == "warning"


@pytest.mark.parametrize(
    ("there", "chosen", "status", "detail"),
    [
        (["g++"], None, "ok", "{bin}/g++"),
        (["clang++"], "", "ok", "{bin}/clang++"),
        (["g++", "c++-9"], "c++-9", "ok", "{bin}/c++-9"),
        (["g++"], "/nowhere/clang", "problem", "CXX=/nowhere/clang cannot be run; {needed}"),
        ([], None, "absent", "no g++ or clang++; {needed}"),
    ],
)
def test_the_host_compiler_is_the_one_that_compiling_takes(ask, tmp_path, monkeypatch, there, chosen, status, detail):
    """Only what ``CXX`` names, where it is set."""
    for name in there:
        write(tmp_path / "bin" / name, "")
        (tmp_path / "bin" / name).chmod(0o755)
    variables = {"PATH": str(tmp_path / "bin")} | ({} if chosen is None else {"CXX": chosen})
    finding = ask(variables=variables)["c++"]
    needed = "the cpu backend needs one above --optlevel 1"
    assert (finding.status, finding.detail) == (status, detail.format(bin=tmp_path / "bin", needed=needed))
    monkeypatch.delenv("CXX", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CompilerNotFoundError) if status != "ok" else nullcontext():
        require_compiler()


def test_an_instance_without_its_devices(ask):
    def unplug(root):
        (root / "dev/neuron0").unlink()

    finding = ask("inf2.xlarge", change=unplug)["devices"]
    assert (finding.status, finding.detail) == ("problem", "no /dev/neuron0, although the instance has 1 chips")
    assert "--device /dev/neuron0" in finding.hint


def test_a_container_with_some_of_the_devices(ask):
    def unplug(root):
        (root / "dev/neuron5").unlink()

    finding = ask("inf2.24xlarge", change=unplug)["devices"]
    assert (finding.status, finding.detail) == ("warning", "5 of the instance's 6 chips")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_devices_that_cannot_be_opened(ask):
    finding = ask("inf2.xlarge", change=lambda root: (root / "dev/neuron0").chmod(0))["devices"]
    assert (finding.status, finding.detail) == ("problem", "cannot be opened: neuron0")


def test_a_driver_that_is_not_loaded(ask):
    def unload(root):
        write(root / "proc/modules", "nvme 1 0\n")
        write(root / "proc/devices", "Character devices:\n")

    finding = ask("inf2.xlarge", change=unload)["driver"]
    assert finding.status == "problem"
    assert "modprobe neuron" in finding.hint


@pytest.mark.parametrize(
    ("variables", "status", "detail"),
    [
        ({"NEURON_RT_VISIBLE_CORES": "0-1"}, "ok", "2; this process sees 0-1"),
        ({"NEURON_RT_NUM_CORES": "1"}, "ok", "2; this process takes 1"),
        ({"NEURON_RT_VISIBLE_CORES": "1,0"}, "problem", "must be consecutive and ascending"),
        ({"NEURON_RT_VISIBLE_CORES": "2"}, "problem", "NEURON_RT_VISIBLE_CORES=2, but there are 2"),
    ],
)
def test_cores(ask, variables, status, detail):
    finding = ask("inf2.xlarge", variables=variables)["cores"]

    assert finding.status == status
    assert detail in finding.detail


def test_logical_cores_are_told_apart(ask):
    assert ask("trn2.3xlarge")["cores"].detail.startswith("4, each of 2 physical")


def test_little_memory_is_a_warning_that_counts_swap(ask):
    assert ask(memory_gib=12)["memory"].status == "warning"
    assert ask(memory_gib=12, swap_gib=8)["memory"].status == "ok"


def test_processes_on_the_devices_are_named(ask):
    listed = '[{"neuron_device": 0, "neuron_processes": [{"pid": 41, "command": "python serve.py --port 1"}]}]'
    finding = ask("inf2.xlarge", change=lambda root: _neuron_ls(root, listed))["processes"]

    assert (finding.status, finding.detail) == ("warning", "neuron0: process 41 (python serve.py --port)")


@pytest.mark.parametrize("printed", ["not json", "", "[{]"])
def test_a_tool_that_prints_something_else(ask, printed):
    finding = ask("inf2.xlarge", change=lambda root: _neuron_ls(root, printed))["processes"]
    assert finding.status == "warning"


def test_older_tools_leave_keys_out():
    assert processes([{"nc_count": 2}, {"neuron_device": 1, "neuron_processes": None}]) == []
    assert processes([{"neuron_processes": [{}]}]) == [("neuron?", 0, "unknown")]
    assert processes({"error": "none"}) == []


def test_a_cache_that_cannot_be_written(ask, tmp_path, monkeypatch):
    write(tmp_path / "file", "")
    monkeypatch.setenv("NEURONKIT_CACHE", str(tmp_path / "file" / "cache"))

    finding = ask()["cache"]
    assert finding.status == "problem"
    assert finding.hint.startswith("NEURONKIT_CACHE=")


def test_python_must_fit_the_packages(ask, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 14, 1))

    assert ask()["python"].status == "warning"
    assert ask(packages=GOOD)["python"].status == "problem"


# The command


def test_the_command_prints_json(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("NEURONKIT_HOST_ROOT", str(build_machine(tmp_path / "root", "inf2.xlarge")))

    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["healthy"], found["can_compile"], found["can_run"]) == (1, True, False, False)
    assert set(found["findings"][0]) == {field.name for field in attrs.fields(doctor.Finding)}


def test_the_command_is_for_people_too_and_fails_on_a_problem(capsys, tmp_path, monkeypatch):
    root = build_machine(tmp_path / "root", "inf2.xlarge")
    (root / "dev/neuron0").unlink()
    monkeypatch.setenv("NEURONKIT_HOST_ROOT", str(root))

    assert main(["doctor"]) == 1
    text = capsys.readouterr().out
    assert "FAIL  devices        no /dev/neuron0, although the instance has 1 chips\n" in text
    assert text.endswith("compile for Neuron here: no; run on Neuron here: no\n")


def _neuron_ls(root, printed):
    tool = root / "opt/aws/neuron/bin/neuron-ls"
    write(tool, f"#!/bin/sh\ncat <<'END'\n{printed}\nEND\n")
    tool.chmod(0o755)
