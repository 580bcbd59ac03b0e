"""Both extensions around a model of one line, found by their entry points as in any program."""

import json
import logging

import pytest
import torch
from prometheus_client import REGISTRY
from torch import nn

import neuronkit
from acme_metrics import prometheus
from neuronkit.export import ExportConfig, Graph, Input, Output
from neuronkit.plugins import EXTENSIONS
from neuronkit_registry import Registry

KEY = "toy.doubling"
GRAPH = {"key": KEY, "graph": "double"}


class Double(nn.Module):
    def forward(self, numbers):
        return (numbers * 2,)


class Doubling:
    @neuronkit.hookimpl
    def export_config(self):
        graph = Graph("double", [Input("numbers", ["batch", 3], "float32")], [Output("doubled", ["batch", 3])])
        return ExportConfig(load=Double, graphs=[graph])

    @neuronkit.hookimpl
    def postprocess(self, outputs):
        return outputs.doubled.tolist()


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """The model, compiled and loaded while the extensions are installed."""
    path = tmp_path_factory.mktemp("toy")
    (path / "config.json").write_text('{"model_type": "toy"}')
    with neuronkit.get_registry().temporary(Doubling(), KEY):
        neuronkit.compile(path, path / "artifact", task="doubling", optlevel=1, cache=False)
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
    assert sample("neuronkit_compile_seconds_count", backend="cpu", graph="double") == 1
    assert sample("neuronkit_load_seconds_count", backend="cpu", key=KEY) == 1


def test_forward_is_counted_and_its_result_untouched(shell):
    before = sample("neuronkit_forward_rows_total", **GRAPH), sample("neuronkit_forward_seconds_count", **GRAPH)
    numbers = torch.arange(6.0).reshape(2, 3)
    assert neuronkit.pipeline(shell)(numbers=numbers) == (numbers * 2).tolist()
    after = sample("neuronkit_forward_rows_total", **GRAPH), sample("neuronkit_forward_seconds_count", **GRAPH)
    assert after == (before[0] + 2, before[1] + 1)


def test_errors_are_counted_and_raised(shell):
    before = sample("neuronkit_errors_total", hook="forward", error="InputError")
    seconds = sample("neuronkit_forward_seconds_count", **GRAPH)
    with pytest.raises(neuronkit.InputError, match=r"'numbres'\. Did you mean 'numbers'"):
        shell(numbres=torch.zeros(1, 3))
    assert sample("neuronkit_errors_total", hook="forward", error="InputError") == before + 1
    assert sample("neuronkit_forward_seconds_count", **GRAPH) == seconds


def test_every_call_is_a_line(shell, caplog, tmp_path, monkeypatch):
    file = tmp_path / "calls.jsonl"
    monkeypatch.setenv("ACME_TIMING_FILE", str(file))
    with caplog.at_level(logging.INFO, "acme_metrics.timing"):
        shell(numbers=torch.zeros(4, 3))
        with pytest.raises(neuronkit.InputError):
            shell(numbers=torch.zeros(4))
    good, bad = map(json.loads, caplog.messages)
    assert good.pop("seconds") > 0
    assert good == {"hook": "forward", **GRAPH, "shapes": {"numbers": [4, 3]}, "error": None}
    assert bad["error"] == "InputError"
    assert file.read_text().splitlines() == caplog.messages


def test_metrics_are_left_in_a_file(shell, tmp_path, monkeypatch):
    monkeypatch.setenv("ACME_METRICS_FILE", str(tmp_path / "metrics.prom"))
    prometheus.write_file()
    text = (tmp_path / "metrics.prom").read_text()
    assert f'neuronkit_load_seconds_count{{backend="cpu",key="{KEY}"}} 1.0' in text
