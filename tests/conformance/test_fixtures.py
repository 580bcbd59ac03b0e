"""The fixtures for authors: packages, the registry, the echo plugin and the backend that records."""

from __future__ import annotations

from pathlib import Path

import pytest

import neuronkit
from neuronkit.errors import OptionError
from neuronkit.testing.fixtures import FakeDist
from neuronkit.testing.recording import RecordingBackend
from neuronkit_registry import Registry


def test_echo_through_the_recording_backend(
    echo_plugin: str, echo_checkpoint: Path, recording_backend: RecordingBackend, tmp_path: Path
) -> None:
    """The whole journey but the compiler; what was compiled and called is there to look at."""
    before = len(recording_backend.compiled)  # of a wider block around all tests, if there is one
    given = {"task": echo_plugin, "backend": "recording", "cache": False, "static": True, "sequence_length": [4, 8]}
    neuronkit.compile(echo_checkpoint, tmp_path / "out", **given)
    pipeline = neuronkit.pipeline(tmp_path / "out")
    recording_backend.shapes.clear()

    assert pipeline(text="abc") == "abc"
    assert pipeline(text="déjà vu") == "déjà vu"
    assert recording_backend.shapes == [(1, 4), (1, 8)]
    own = recording_backend.compiled[before:]
    assert [one.bucket.label for one in own] == ["batch1_sequence4", "batch1_sequence8"]
    assert {one.graph.name for one in own} == {"echo"}


def test_the_recording_backend_keeps_nothing_for_other_processes(
    echo_plugin: str, echo_checkpoint: Path, recording_backend: RecordingBackend, tmp_path: Path
) -> None:
    with pytest.raises(
        OptionError, match=r"^cache: the recording backend keeps graphs in this process, not in files\."
    ):
        neuronkit.compile(echo_checkpoint, tmp_path / "out", task=echo_plugin, backend="recording")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("round", [1, 2])
def test_a_package_is_there_for_one_test(
    round: int, fake_dist: FakeDist, isolated_registry: Registry, site: Path
) -> None:
    """Twice the same: nothing of the first is left in the second."""
    assert "acme.some-task" not in isolated_registry
    fake_dist("acme", {"acme.some-task": "acme_module:plugin"}, modules={"acme_module": "plugin = 1"})
    assert "acme.some-task" not in isolated_registry
    isolated_registry.refresh()
    assert isolated_registry["acme.some-task"].package == "acme"
    assert isolated_registry is neuronkit.get_registry()


def test_nothing_is_left_of_them() -> None:
    assert "acme.some-task" not in neuronkit.get_registry()
    assert "echo.repeat-text" not in neuronkit.get_registry()
