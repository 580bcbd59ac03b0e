"""The page says what the last run found, about every built-in plugin."""

from __future__ import annotations

import json

import neuronkit
from tests.lowering.table import PAGE, RESULTS, checkpoints, passed, render

KEPT = json.loads(RESULTS.read_text())


def test_the_page_is_current():
    assert PAGE.read_text() == render(KEPT)


def test_every_built_in_plugin_was_lowered():
    keys = {info.key for info in neuronkit.get_registry().records() if info.package == "neuronkit"}
    assert set(KEPT["plugins"]) == keys == {key for key, _, _ in checkpoints()}


def test_every_graph_passed():
    assert all(passed(row) for rows in KEPT["plugins"].values() for row in rows)
