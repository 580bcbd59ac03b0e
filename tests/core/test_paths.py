"""What a caller names that can be no path: one error, that says so, wherever it is given."""

from __future__ import annotations

import json
import os
import sys

import pytest

import neuronkit
from neuronkit.cli import main
from neuronkit.errors import ArtifactNotFoundError, OptionError, SourceError
from tests.core.tide import TASK

UNKNOWN_HOME = "begins with a home directory that is not known (got '~nobody-at-all/x').\nTry: the whole path"
NAMES = [("~nobody-at-all/x", UNKNOWN_HOME), ("x" * 300, "too long for a file's name"), ("a\0b", "embedded null ")]
NOT_UTF_8 = os.fsdecode(b"not \xff")


@pytest.mark.parametrize(
    ("name", "reason"), [*NAMES, (NOT_UTF_8, "not UTF-8"), ("", "must be a path that is not empty")]
)
def test_models_and_outputs(name, reason, tide_checkpoint, tmp_path):
    """Nothing is loaded or written."""
    with pytest.raises(SourceError) as caught:
        neuronkit.compile(name, tmp_path / "out", task=TASK)
    assert str(caught.value).startswith("The model ")
    assert reason in str(caught.value)
    with pytest.raises(OptionError) as caught:
        neuronkit.compile(tide_checkpoint, name, task=TASK, optlevel=1)
    assert str(caught.value).startswith("The output ")
    assert reason in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "reason"), [*NAMES, (NOT_UTF_8, "not UTF-8")])
def test_artifacts(name, reason):
    """As for what is loaded."""
    with pytest.raises(ArtifactNotFoundError) as caught:
        neuronkit.load(name)
    assert reason in str(caught.value)


def test_a_directory_to_save_in(tide_artifact):
    """A loaded model is saved in no such place."""
    model = neuronkit.load(tide_artifact)
    with pytest.raises(OptionError, match="home directory that is not known"):
        model.save_pretrained("~nobody-at-all/x")
    with pytest.raises(OptionError, match="must be a path that is not empty"):
        model.save_pretrained("")


def test_a_link_to_an_artifact_whose_path_is_not_utf_8(tide_artifact, tmp_path):
    """What the message says to try helps."""
    (tmp_path / NOT_UTF_8).symlink_to(tide_artifact)
    with pytest.raises(ArtifactNotFoundError, match="a symbolic link to it"):
        neuronkit.load(tmp_path / NOT_UTF_8)
    assert neuronkit.load(tide_artifact)


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """Work in a directory that is gone."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here").rmdir()


@pytest.mark.skipif(
    sys.version_info[:3] == (3, 13, 0), reason="CPython 3.13.0 itself fails there to look up a name of a module"
)
def test_whole_paths_do_not_miss_a_working_directory(tide_checkpoint, tide_artifact, tmp_path, nowhere):
    """Neither in compiling nor in loading."""
    neuronkit.compile(tide_checkpoint, tmp_path / "out", task=TASK, optlevel=1, sequence_length=16)
    assert neuronkit.load(tide_artifact)


def test_a_working_directory_that_is_gone(tide_checkpoint, nowhere):
    """A path in it is told from one that is missing."""
    for call, kind in (
        (lambda: neuronkit.compile(tide_checkpoint, "out", task=TASK, optlevel=1), OptionError),
        (lambda: neuronkit.load("out"), ArtifactNotFoundError),
    ):
        with pytest.raises(kind, match="'out' lies in the directory that this process works in, which is gone"):
            call()


def test_commands(capsys, tide_artifact):
    """They foresee it."""
    assert main(["inspect", "~nobody-at-all/x"]) == 1
    assert UNKNOWN_HOME in capsys.readouterr().err
    assert main(["inspect", ""]) == 1
    assert "An artifact must be a path that is not empty (got '')." in capsys.readouterr().err
    assert main(["run", str(tide_artifact), "--readings-file", "~nobody-at-all/x", "--output", "~nobody-at-all/x"]) == 2
    assert UNKNOWN_HOME in capsys.readouterr().err


def test_no_place_for_the_cache(monkeypatch, capsys):
    """A user without a home directory, as a container may run as."""
    monkeypatch.delenv("NEURONKIT_CACHE")
    for variable in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)  # of nobody
    assert main(["cache", "list"]) == 2
    assert capsys.readouterr().err == (
        "error: The cache has no place: this user has no home directory.\nTry: NEURONKIT_CACHE=DIR, or HOME=DIR.\n"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "config.json is not valid JSON: maximum recursion depth exceeded"),
        ('{"model_type": "tide", "width": ' + "9" * 5000 + "}", "config.json is not valid JSON: Exceeds the limit"),
        (json.dumps({"model_type": ["tide"]}), r"has model_type \['tide'\] in its configuration, which is no text"),
        (json.dumps({"_class_name": 5}), "has _class_name 5 in its configuration"),
        (json.dumps({"model_type": "tide", "architectures": 5}), "has architectures 5 in"),
        (json.dumps({"model_type": "tide", "architectures": ["A", {}]}), "has architectures {} in"),
    ],
)
def test_odd_configurations(text, reason, tmp_path):
    """What cannot be read, or names an architecture by something else than text."""
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(SourceError, match=reason):
        neuronkit.compile(tmp_path, tmp_path / "out")


def test_a_configuration_that_is_no_file(tmp_path):
    """A pipe, which nobody writes into, is not waited for."""
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(SourceError, match=r"has neither config\.json nor model_index\.json"):
        neuronkit.compile(tmp_path, tmp_path / "out")
