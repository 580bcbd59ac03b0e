"""
JSON that other programs read, as it was when they were written.

A snapshot changes with the schema's version or by addition: ``UPDATE_SNAPSHOTS=1 pytest tests/acceptance/test_schemas.py``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from neuronkit.cli import COMMANDS, main
from neuronkit.options import CompileOptions, SourceOptions, json_schema
from neuronkit.testing.fixtures import FakeDist
from neuronkit_registry import Registry

SNAPSHOTS = Path(__file__).parent / "snapshots"


def compare(name: str, found: Any) -> None:
    """Compare JSON-like data with its snapshot."""
    file = SNAPSHOTS / f"{name}.json"
    text = json.dumps(found, indent=1) + "\n"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()


def test_the_options_of_the_core() -> None:
    """Names, types, defaults, choices and limits; a description may be worded anew."""
    schemas = [json_schema(CompileOptions), json_schema(SourceOptions)]
    for schema in schemas:
        for field in schema["properties"].values():
            assert field.pop("description").endswith((".", ".)"))
    compare("options", schemas)


def test_the_listing(
    fake_dist: FakeDist,
    isolated_registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One plugin of ours, one of a package that cannot be used, and what is said of all."""
    fake_dist("acme", {"bert.question-answering": "acme"}, group="neuronkit.models.v2", version="3.1")
    isolated_registry.refresh()
    monkeypatch.setenv("NEURONKIT_DISABLE_PLUGINS", "no-such-package")
    assert main(["list-plugins", "--json", "--task", "question-answering"]) == 0
    found = json.loads(capsys.readouterr().out)
    found["neuronkit"] = "VERSION"
    kept = [plugin for plugin in found["plugins"] if plugin["key"] == "bert.question-answering"]
    for plugin in kept:
        if plugin["package"] == "neuronkit":
            plugin |= {"version": "VERSION", "status": "available"}  # others may have loaded it
    compare("listing", {**found, "plugins": kept})


@pytest.mark.parametrize("command", COMMANDS)
def test_json_has_a_schema(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """All but a result of `run`, whose form is the task's."""
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert ("\n  --json " in text and command != "run") == ('"schema"' in text)


def test_the_schema_comes_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new-plugin", "acme-bert", "--task", "fill-mask", "--directory", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["schema", "directory", "key", "files", "next"]
    assert found["schema"] == 1
