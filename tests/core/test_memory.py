"""How much memory is free, on made-up machines and in made-up containers."""

from __future__ import annotations

import os

import pytest

from neuronkit import memory
from neuronkit.backends.neuron.host import Host
from neuronkit.backends.neuron.sdk import Sdk
from neuronkit.diagnosis.doctor import Surroundings, examine
from neuronkit.memory import available_memory
from tests.standin.simulation import build_machine

MIB, GIB = 2**20, 2**30


@pytest.fixture
def group(tmp_path, monkeypatch):
    """The files of a control group, none at first."""
    path = tmp_path / "group"
    path.mkdir()
    monkeypatch.setattr(memory, "_CONTROL_GROUP", path)
    return path


@pytest.fixture
def machine(group, tmp_path):
    """A machine with memory and swap."""
    return build_machine(tmp_path / "root", memory_gib=32, swap_gib=4)


def limit(group, what, most, used):
    """Write the limit of memory or swap, and what is used of it."""
    (group / f"{what}.max").write_text(f"{most}\n")
    (group / f"{what}.current").write_text(f"{used}\n")


@pytest.mark.parametrize("line", ["MemAvailable:    1024 kB\n", ""])
def test_memory_that_only_caches_files_is_free(line, group, tmp_path):
    """The kernel's own estimate counts; where there is none, the machine's memory does."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text(f"MemTotal:    4096 kB\nMemFree:    1 kB\n{line}")
    everything = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert available_memory(tmp_path) == (MIB if line else everything)
    assert available_memory(tmp_path / "missing") == everything


def test_swap_counts_where_it_is_asked_for(machine):
    """Compilers may take it."""
    assert available_memory(machine) == 32 * GIB
    assert available_memory(machine, swap=True) == 36 * GIB


@pytest.mark.parametrize(
    ("most", "expected"),
    [(3000 * MIB, (3000 - 2000 + 500) * MIB), (1000 * MIB, 0), ("max", 32 * GIB), (99 * GIB, 32 * GIB)],
)
def test_a_container_s_limit_counts(most, expected, group, machine):
    """Less what it uses, without what merely caches files."""
    limit(group, "memory", most, 2000 * MIB)
    (group / "memory.stat").write_text(f"anon {1500 * MIB}\ninactive_file {500 * MIB}\n")
    assert available_memory(machine) == expected


def test_a_container_s_limit_of_swap_counts(group, machine):
    """Beside that of the memory."""
    limit(group, "memory", 8 * GIB, 2 * GIB)
    limit(group, "memory.swap", 3 * GIB, 1 * GIB)
    assert available_memory(machine, swap=True) == 8 * GIB


def test_the_doctor_promises_no_more_than_the_container_has(group, machine):
    """Whatever the machine around it has."""
    limit(group, "memory", 6 * GIB, 1 * GIB)
    limit(group, "memory.swap", 0, 0)
    found = examine(Surroundings(Host(machine), {"PATH": ""}, Sdk(None, None, "absent", "absent"))).findings
    (finding,) = [finding for finding in found if finding.name == "memory"]
    assert (finding.status, finding.detail) == ("warning", "5.0 GiB available for compiling, swap included")
