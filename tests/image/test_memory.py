"""Where weights are by default, and how much memory is free."""

from __future__ import annotations

import json

import pytest


@pytest.mark.parametrize("inline", [None, True])
def test_the_manifest_has_where_the_weights_are(artifact, inline):
    """Apart, unless the caller asks for them inside, where nothing is bound at load; options keep what was asked for."""
    given = {} if inline is None else {"inline_weights": inline}
    manifest = json.loads((artifact("sd", **given) / "neuronkit.json").read_text())
    assert manifest["options"]["inline_weights"] is inline
    for graph in manifest["graphs"]:
        assert graph["inline_weights"] is bool(inline)
        assert bool(graph["buckets"][0]["constants"]) is not bool(inline)


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


@pytest.mark.parametrize(("limit", "expected"), [("3000", 3000 - 2000 + 500), ("1000", 0), ("max", None)])
def test_a_container_s_limit_counts(limit, expected, tmp_path, monkeypatch):
    """Less what it uses, without what merely caches files."""
    from neuronkit import environment

    without = environment.available_memory()
    monkeypatch.setattr(environment, "_CONTROL_GROUP", tmp_path)
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text("2000\n")
    (tmp_path / "memory.stat").write_text("anon 1500\ninactive_file 500\n")
    found = environment.available_memory()
    assert found == expected if expected is not None else found > without / 2
