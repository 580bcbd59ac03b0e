"""The simulated machine for the tests of the stand-in."""

from __future__ import annotations

import pytest

from tests.standin.simulation import Simulation


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without a device; `machine.start("inf2.xlarge")` gives it one."""
    simulation = Simulation(monkeypatch, tmp_path / "machines")
    yield simulation
    simulation.restart_process()


@pytest.fixture
def inf2(machine):
    """An inf2.xlarge: one chip, two cores."""
    machine.start("inf2.xlarge")
    return machine


@pytest.fixture
def standin(machine):
    """The stand-in's module."""
    import torch_neuronx

    return torch_neuronx
