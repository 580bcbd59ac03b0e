"""A model type that transformers does not know, from a package that pip installed."""

from __future__ import annotations

import json

from tests.examples.conftest import LONG, SENTENCES

KEY = "byte-conv.text-classification"


def test_is_listed_without_import(examples):
    """The key, the package and its version come from what pip wrote."""
    (plugin,) = json.loads(examples.neuronkit("list-plugins", "--package", "acme-langid", "--json"))["plugins"]
    assert (plugin["key"], plugin["version"], plugin["status"]) == (KEY, "1.0.0", "available")


def test_compiles(used):
    assert used.compiled.status == 0, used.compiled.err
    assert used.compiled.out == "artifact\n"
    assert f"{KEY} from acme-langid 1.0.0, backend cpu" in used.compiled.err
    manifest = json.loads((used.site.directory / "artifact" / "neuronkit.json").read_text())
    assert (manifest["key"], manifest["plugin"]["package"]) == (KEY, "acme-langid")
    assert manifest["validation"]["status"] == "passed"


def test_names_the_languages(used):
    """Trained for some seconds on a handful of sentences, it tells others apart."""
    results = json.loads(used.named.out)
    assert [result["label"] for result in results] == list(SENTENCES)
    assert all(0.2 < result["score"] <= 1 for result in results)


def test_reads_a_text_longer_than_the_graph(used):
    """Three windows, most of them Italian."""
    assert len(LONG.encode()) > 2 * 256
    first, second = json.loads(used.ranked.out)
    assert first["label"] == "it"
    assert first["score"] > second["score"]


def test_refuses_an_empty_text(used):
    assert (used.refused.status, used.refused.out) == (1, "")
    assert used.refused.err == "error: text must be a text that is not empty (got ' ').\n"
