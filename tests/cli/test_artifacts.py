"""`neuronkit inspect`, `cache` and `bench`."""

from __future__ import annotations

import shutil

import pytest
from torch import nn

import neuronkit
from neuronkit.cli.timing import time_in_turns
from neuronkit.export import ExportConfig, Graph, Input, Output
from neuronkit.testing.echo import Echo, write_checkpoint
from tests.generation.checkpoints import tiny_decoder


def test_inspect_for_people(cli, artifact):
    ended = cli("inspect", artifact)
    assert ended.status == 0
    lines = dict(line.split(maxsplit=1) for line in ended.out.splitlines() if line[:1].isalpha())
    assert lines["key"] == "bert.question-answering"
    assert lines["plugin"].startswith("neuronkit ")
    assert lines["backend"] == "cpu"
    assert lines["validation"].startswith("passed: max abs difference from eager ")
    assert "batch=1..64 sequence=1..64" in ended.out
    assert "encoder returns start_logits [batch, sequence]" in ended.out


def test_inspect_as_json(cli, artifact):
    found = cli("inspect", artifact, "--json").json
    assert found["path"] == str(artifact)
    assert found["verified"] is None
    assert found["plugin"]["package"] == "neuronkit"
    assert found["shapes"] == {"batch_size": [1], "sequence_length": [64]}
    assert found["graphs"][0]["buckets"][0]["bounds"] == {"batch": [1, 64], "sequence": [1, 64]}
    assert (
        found["size"]
        == sum(path.stat().st_size for path in artifact.rglob("*") if path.is_file())
        - (artifact / "neuronkit.json").stat().st_size
    )


def test_inspect_verifies(cli, artifact, tmp_path):
    """Weights too, whose digest is otherwise read once."""
    assert cli("inspect", artifact, "--verify", "--json").json["verified"] is True
    copy = shutil.copytree(artifact, tmp_path / "copy")
    weights = copy / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert cli("inspect", copy).status == 0
    ended = cli("inspect", copy, "--verify")
    assert (ended.status, ended.out) == (1, "")
    assert "weights.safetensors of the artifact" in ended.err
    assert "was edited" in ended.err
    assert "Try: neuronkit compile --model" in ended.err


@pytest.mark.parametrize(
    ("text", "message"), [("{", "truncated"), ('{"schema": 99}', "pip install --upgrade neuronkit")]
)
def test_inspect_of_a_bad_manifest(cli, tmp_path, text, message):
    (tmp_path / "neuronkit.json").write_text(text)
    ended = cli("inspect", tmp_path)
    assert ended.status == 1
    assert message in ended.err


def test_cache(cli, checkpoint, tmp_path, monkeypatch):
    """What a compile keeps is listed, used by the next one, and gone after clear."""
    monkeypatch.setenv("NEURONKIT_CACHE", str(tmp_path / "cache"))
    assert cli("cache", "list").out == ""
    assert cli("cache", "list", "--json").json == {
        "schema": 1,
        "directory": str(tmp_path / "cache"),
        "size": 0,
        "entries": [],
    }
    words = ["compile", "-m", checkpoint, "-O1", "--static", "--sequence-length", "8"]
    assert "compiled" in cli(*words, tmp_path / "a").err
    assert "from the cache" in cli(*words, tmp_path / "b").err
    ended = cli("cache", "list")
    assert "batch1_sequence8" in ended.out
    assert ended.err.startswith("1 graphs in ")
    (entry,) = cli("cache", "list", "--json").json["entries"]
    assert entry["size"] > 0
    cleared = cli("cache", "clear", "--json").json
    assert list(cleared) == ["schema", "directory", "freed"]
    assert cleared["schema"] == 1
    assert cleared["freed"] >= entry["size"]
    assert cli("cache", "list", "--json").json["entries"] == []
    assert " freed in " in cli("cache", "clear").out


def test_cache_of_another_action(cli):
    ended = cli("cache", "purge")
    assert ended.status == 2
    assert "invalid choice: 'purge'" in ended.err


def test_bench(cli, artifact):
    """Every combination of the sizes that were asked for, and what neuronkit adds."""
    words = ["--batch-size", "1,2", "--sequence_length", "8,16", "--repeats", "3"]
    found = cli("bench", artifact, *words, "--json").json
    assert (found["schema"], found["key"], found["backend"]) == (1, "bert.question-answering", "cpu")
    sizes = [(result["sizes"]["batch"], result["sizes"]["sequence"]) for result in found["results"]]
    assert sizes == [(1, 8), (1, 16), (2, 8), (2, 16)]
    for result in found["results"]:
        assert result["runs"] == 3
        assert result["p10_ms"] <= result["median_ms"] <= result["p90_ms"]
        assert result["tokens_per_second"] == pytest.approx(
            result["sizes"]["batch"] * result["sizes"]["sequence"] / result["median_ms"] * 1e3, rel=0.01
        )
        assert result["overhead_us"] == pytest.approx((result["median_ms"] - result["compiled_ms"]) * 1e3, abs=1)


def test_bench_for_people(cli, artifact):
    """Without sizes the shapes that the artifact was compiled with."""
    ended = cli("bench", artifact, "--repeats", "1")
    header, line = ended.out.splitlines()
    assert header.split()[:3] == ["GRAPH", "SIZES", "MS"]
    assert line.startswith("encoder  batch=1 sequence=64 ")


def test_bench_beyond_the_largest_bucket(cli, artifact):
    ended = cli("bench", artifact, "--sequence-length", "65")
    assert ended.status == 1
    assert "65" in ended.err


@pytest.mark.parametrize(
    "words", [["--batch-size", "x"], ["--batch-size", "0"], ["--repeats", "0"], ["--threads", "-1"]]
)
def test_bench_of_wrong_numbers(cli, artifact, words):
    assert cli("bench", artifact, *words).status == 2


class Turned(nn.Module):
    """Takes its rows second, and a number."""

    def forward(self, columns, by):
        return (columns.T * by,)


class TurnedPlugin(Echo):
    """Declares it."""

    @neuronkit.hookimpl
    def export_config(self, source):
        inputs = [Input("columns", [3, "batch"], "float32"), Input("by", [], "float32")]
        graph = Graph("turned", inputs, [Output("rows", ["batch", 3])])
        return ExportConfig(load=Turned, graphs=[graph])


@pytest.mark.parametrize("static", [False, True])
def test_bench_of_inputs_of_any_axes(cli, tmp_path, static):
    """The rows of each are along its own batch."""
    with neuronkit.get_registry().temporary(TurnedPlugin(), "echo.turn"):
        given = {"optlevel": 1, "static": static, "batch_size": 4}
        neuronkit.compile(write_checkpoint(tmp_path / "echo"), tmp_path / "out", task="echo.turn", **given)
        found = cli("bench", tmp_path / "out", "--batch-size", "2", "--repeats", "1", "--json").json
    assert [result["sizes"] for result in found["results"]] == [{"batch": 2}]


class Doubled(nn.Module):
    """Takes samples, which no shape of the core's is named after."""

    def forward(self, wave):
        return (wave * 2,)


class DoubledPlugin(Echo):
    """Declares it."""

    @neuronkit.hookimpl
    def export_config(self, source):
        axes = ["batch", "samples"]
        graph = Graph("doubled", [Input("wave", axes, "float32")], [Output("twice", axes)])
        return ExportConfig(load=Doubled, graphs=[graph], shapes={"samples": [4, 8]})


def test_bench_of_an_axis_of_the_plugin_s_own(cli, tmp_path):
    """Its sizes are typed by its name, which is known only when the artifact is."""
    with neuronkit.get_registry().temporary(DoubledPlugin(), "echo.double"):
        neuronkit.compile(write_checkpoint(tmp_path / "echo"), tmp_path / "out", task="echo.double", optlevel=1)
        found = cli("bench", tmp_path / "out", "--samples", "3,7", "--repeats", "1", "--json").json
        assert [(result["sizes"]["samples"], result["bucket"]) for result in found["results"]] == [
            (3, "batch1-64_samples4"),
            (7, "batch1-64_samples8"),
        ]
        mistyped = cli("bench", tmp_path / "out", "--sample", "3")
        wrong = cli("bench", tmp_path / "out", "--samples", "few")
    assert (mistyped.status, wrong.status) == (2, 2)
    assert "error: there is no option --sample, and no axis 'sample'. Did you mean samples?" in mistyped.err
    assert "error: --samples: must be a size or a list of sizes (got 'few')." in wrong.err


def test_turns_alternate():
    """Each turn runs every call once, and the budget ends it after three."""
    seen = []
    calls = {"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}
    latencies = time_in_turns(calls, repeats=10, warm_up=1, budget=0)
    assert seen == ["a", "b"] * 4
    assert [len(latency.seconds) for latency in latencies.values()] == [3, 3]


@pytest.mark.parametrize("static", [False, True])
def test_bench_of_a_graph_with_state(cli, tmp_path, static):
    """The session feeds the cache, whichever part of its rows a call uses."""
    path = tiny_decoder(tmp_path / "gpt2")
    neuronkit.compile(
        path, tmp_path / "out", task="text-generation", batch_size=2, sequence_length=16, optlevel=1, static=static
    )
    found = cli("bench", tmp_path / "out", "--batch-size", "1", "--repeats", "1", "--json").json
    assert [result["sizes"]["sequence"] for result in found["results"]] == ([1, 16] if static else [16])
    assert all(result["median_ms"] > 0 for result in found["results"])
