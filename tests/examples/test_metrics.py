"""An extension that pip installed, around calls that know nothing of it."""

from __future__ import annotations

import json
import re

from tests.examples.conftest import SENTENCES

KEY = "byte-conv.text-classification"


def read_metrics(site) -> dict[str, float]:
    """Return the samples of the file that the process left, without the buckets."""
    lines = (site.directory / "metrics.prom").read_text().splitlines()
    found = (re.fullmatch(r"(neuronkit_\w+\{[^}]*\}) (\S+)", line) for line in lines)
    return {match[1]: float(match[2]) for match in found if match and "_bucket{" not in match[1]}


def test_every_call_is_timed(used):
    """One compile, a load for each run, a forward for each run that reached the graph."""
    lines = (used.site.directory / "timing.jsonl").read_text().splitlines()
    calls = [json.loads(line) for line in lines[:6]]  # behind them come those of the generated package
    assert [call["hook"] for call in calls] == ["compile", "load", "forward", "load", "forward", "load"]
    assert all(call["seconds"] > 0 and call["error"] is None for call in calls)
    assert calls[2]["shapes"]["byte_ids"][0] == len(SENTENCES)


def test_metrics_count_calls_and_rows(used):
    """Names and labels are those that the package's README promises."""
    metrics = read_metrics(used.site)
    graph = f'graph="classifier",key="{KEY}"'
    assert metrics['neuronkit_compile_seconds_count{backend="cpu",graph="classifier"}'] == 1
    assert metrics[f'neuronkit_load_seconds_count{{backend="cpu",key="{KEY}"}}'] == 3
    assert metrics[f"neuronkit_forward_seconds_count{{{graph}}}"] == 2
    assert metrics[f"neuronkit_forward_seconds_sum{{{graph}}}"] > 0
    assert metrics[f"neuronkit_forward_rows_total{{{graph}}}"] == len(SENTENCES) + 3
