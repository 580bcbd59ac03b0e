"""Whether weights go inside the graphs may depend on the free memory; what came of it is written down, and never mixed up."""

from __future__ import annotations

import json

import pytest

from neuronkit.backends.cpu import backend
from neuronkit.compilation import compile_model, settle_weights
from neuronkit.export import CompilerHints, Graph, Input, Output
from neuronkit.options import CompileOptions

PLENTY, LITTLE = 2**50, 0
CONVOLUTIONS = ["unet", "vae_encoder", "vae_decoder"]


@pytest.fixture
def settled(monkeypatch):
    """Return a graph whose weights are large, settled for so much free memory and what the caller says, and the notes."""
    hints = CompilerHints(inline_weights=True, freezing_bytes=10**9)
    graph = Graph("net", [Input("x", ["batch"])], [Output("y", ["batch"])], hints=hints)

    def settle(free, inline_weights=None):
        monkeypatch.setattr("neuronkit.compilation.available_memory", lambda: free)
        notes = []
        return settle_weights(graph, CompileOptions(inline_weights=inline_weights), backend, notes.append), notes

    return settle


def test_the_memory_decides_unless_the_caller_does(settled):
    """What is compiled, and so its key in the cache, follows from what was decided alone, not from why."""
    inside, notes = settled(PLENTY)
    assert inside.hints.inline_weights
    assert notes == []
    apart, notes = settled(LITTLE)
    assert not apart.hints.inline_weights
    assert notes == [
        "note: the weights of net stay apart: freezing them takes 1.0 GB, and 0.0 GB are free (--inline-weights insists)"
    ]
    assert settled(LITTLE, True) == (inside, [])
    assert settled(PLENTY, False) == (apart, [])
    assert inside != apart


def test_the_manifest_has_what_was_decided(checkpoint, tmp_path, monkeypatch):
    """A second compile with other free memory is another artifact, and says so; the options keep what was asked for."""
    monkeypatch.setattr("neuronkit.compilation.available_memory", lambda: LITTLE)
    notes = []
    given = {"optlevel": 1, "validate": False}
    compile_model(
        checkpoint("sd"), tmp_path / "out", task="text-to-image", backend="cpu", given=given, progress=notes.append
    )
    assert [note.split()[4] for note in notes if note.startswith("note:")] == CONVOLUTIONS
    manifest = json.loads((tmp_path / "out" / "neuronkit.json").read_text())
    assert manifest["options"]["inline_weights"] is None
    for graph in manifest["graphs"]:
        assert graph["inline_weights"] is False
        assert graph["buckets"][0]["constants"]


def test_enough_memory_is_recorded_too(artifact):
    """Convolutions are inside, and have nothing to be bound at load."""
    graphs = json.loads((artifact("sd") / "neuronkit.json").read_text())["graphs"]
    assert [graph["name"] for graph in graphs if graph["inline_weights"]] == CONVOLUTIONS
    assert all(graph["inline_weights"] != bool(graph["buckets"][0]["constants"]) for graph in graphs)


@pytest.mark.parametrize("line", ["MemAvailable:    1024 kB\n", ""])
def test_memory_that_only_caches_files_is_free(line, monkeypatch):
    """The kernel's own estimate counts; where there is none, the machine's memory does."""
    import builtins
    import io

    from neuronkit.environment import available_memory

    real = builtins.open
    text = f"MemTotal:    4096 kB\nMemFree:    1 kB\n{line}"
    monkeypatch.setattr(
        builtins,
        "open",
        lambda file, *more, **options: io.StringIO(text) if file == "/proc/meminfo" else real(file, *more, **options),
    )
    assert available_memory() == 2**20 if line else available_memory() > 2**20
