"""The third-party plugin of these tests, registered, and artifacts that many tests read."""

from __future__ import annotations

import shutil

import pytest
import torch

import neuronkit
from tests.core.tide import KEY, TASK, load_tide, make_tide, plugin


@pytest.fixture(scope="package", autouse=True)
def registered():
    """The plugin under its key, as a program adds its own."""
    with neuronkit.get_registry().temporary(plugin, KEY):
        yield


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """An empty cache, for one test."""
    path = tmp_path / "own cache"
    monkeypatch.setenv("NEURONKIT_CACHE", str(path))
    return path


@pytest.fixture(scope="package")
def tide_checkpoint(tmp_path_factory):
    """A checkpoint of the third-party model."""
    return make_tide(tmp_path_factory.mktemp("checkpoint") / "tide")


@pytest.fixture(scope="package")
def tide_eager(tide_checkpoint):
    """The eager model as a function of its named tensors."""
    model = load_tide(tide_checkpoint)

    @torch.no_grad()
    def run(readings, counted=None):
        return model(readings, torch.ones_like(readings) if counted is None else counted)

    return run


@pytest.fixture(scope="package")
def tide_artifact(registered, tide_checkpoint, tmp_path_factory):
    """The directory of an artifact that no test changes."""
    output = tmp_path_factory.mktemp("artifact") / "tide"
    neuronkit.compile(tide_checkpoint, output, task=TASK, optlevel=1, sequence_length=16)
    return output


@pytest.fixture
def tide_copy(tide_artifact, tmp_path):
    """A copy of the artifact, to damage."""
    return shutil.copytree(tide_artifact, tmp_path / "copy of tide")
