"""The simulated machine, and graphs that are compiled once for many tests."""

from __future__ import annotations

import pytest
import torch

from neuronkit.backends.neuron import backend
from neuronkit.options import CompileOptions
from tests.neuron.toys import Compiled, compile_toy
from tests.standin.conftest import inf2, machine, standin  # noqa: F401  # fixtures
from tests.standin.simulation import Simulation


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """A compiled encoder, its weights inside, made on a machine without a device."""
    return _compile(tmp_path_factory, CompileOptions(target="inf2"))


@pytest.fixture(scope="session")
def toy_apart(tmp_path_factory):
    """The same with its weights apart."""
    return _compile(tmp_path_factory, CompileOptions(target="inf2", inline_weights=False))


def _compile(tmp_path_factory, options: CompileOptions) -> Compiled:
    with pytest.MonkeyPatch.context() as patch:
        Simulation(patch, tmp_path_factory.mktemp("machines"))
        return compile_toy(backend, options, tmp_path_factory.mktemp("graph"))


@pytest.fixture
def call():
    """Inputs of the toy that no trace has seen, zeros in the mask included."""
    return torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]]), torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])
