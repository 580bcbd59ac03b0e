"""Both extensions around the kit's smallest model, found by their entry points as in any program."""

import json
import logging

import pytest
import torch
from prometheus_client import REGISTRY

import neuronkit
from acme_metrics import prometheus
from neuronkit.plugins import EXTENSIONS
from neuronkit.testing.echo import KEY, plugin, write_checkpoint
from neuronkit_registry import Registry

GRAPH = {"key": KEY, "graph": "echo"}


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """The kit's smallest model, compiled and loaded while the extensions are installed."""
    path = tmp_path_factory.mktemp("echo")
    with neuronkit.get_registry().temporary(plugin, KEY):
        neuronkit.compile(write_checkpoint(path / "checkpoint"), path / "artifact", task=KEY, optlevel=1, cache=False)
        yield neuronkit.load(path / "artifact")


def sample(name, **labels):
    return REGISTRY.get_sample_value(name, labels) or 0


def test_both_are_found_by_their_entry_points():
    records = {record.key: record for record in Registry(EXTENSIONS).records() if record.package == "acme-metrics"}
    assert sorted(records) == ["call-timing", "prometheus"]


def test_each_can_be_disabled():
    registry = Registry(EXTENSIONS, environ={"NEURONKIT_DISABLE_PLUGINS": "prometheus"})
    assert [type(loaded.plugin).__name__ for loaded in registry.load_all()] == ["CallTiming"]


def test_compile_and_load_are_observed(shell):
    assert sample("neuronkit_compile_seconds_count", backend="cpu", graph="echo") == 1
    assert sample("neuronkit_load_seconds_count", backend="cpu", key=KEY) == 1


def test_forward_is_counted_and_its_result_untouched(shell):
    before = sample("neuronkit_forward_rows_total", **GRAPH), sample("neuronkit_forward_seconds_count", **GRAPH)
    letters = torch.arange(6).reshape(2, 3)
    assert shell(letters=letters).echoed.tolist() == letters.tolist()
    after = sample("neuronkit_forward_rows_total", **GRAPH), sample("neuronkit_forward_seconds_count", **GRAPH)
    assert after == (before[0] + 2, before[1] + 1)


def test_errors_are_counted_and_raised(shell):
    before = sample("neuronkit_errors_total", hook="forward", error="InputError")
    seconds = sample("neuronkit_forward_seconds_count", **GRAPH)
    with pytest.raises(neuronkit.InputError, match=r"'lettres'\. Did you mean 'letters'"):
        shell(lettres=torch.ones(1, 3))
    assert sample("neuronkit_errors_total", hook="forward", error="InputError") == before + 1
    assert sample("neuronkit_forward_seconds_count", **GRAPH) == seconds


def test_every_call_is_a_line(shell, caplog, tmp_path, monkeypatch):
    file = tmp_path / "calls.jsonl"
    monkeypatch.setenv("ACME_TIMING_FILE", str(file))
    with caplog.at_level(logging.INFO, "acme_metrics.timing"):
        shell(letters=torch.ones(4, 3, dtype=torch.int64))
        with pytest.raises(neuronkit.InputError):
            shell(letters=torch.ones(4))
    good, bad = map(json.loads, caplog.messages)
    assert good.pop("seconds") > 0
    assert good == {"hook": "forward", **GRAPH, "shapes": {"letters": [4, 3]}, "error": None}
    assert bad["error"] == "InputError"
    assert file.read_text().splitlines() == caplog.messages


def test_metrics_are_left_in_a_file(shell, tmp_path, monkeypatch):
    monkeypatch.setenv("ACME_METRICS_FILE", str(tmp_path / "metrics.prom"))
    prometheus.write_file()
    text = (tmp_path / "metrics.prom").read_text()
    assert f'neuronkit_load_seconds_count{{backend="cpu",key="{KEY}"}} 1.0' in text
