"""A directory that is there whole or not at all, beside others of similar names and other processes."""

from __future__ import annotations

import multiprocessing
import re
from pathlib import Path

import pytest

from neuronkit.artifact import store
from neuronkit.artifact.store import atomic_directory, copy_artifact
from neuronkit.errors import ArtifactWriteError, OutputExistsError


def write(output, text="new", **options):
    """Write a directory of one file."""
    with atomic_directory(output, **options) as directory:
        (directory / "file").write_text(text)


def die_while_writing(output: Path) -> None:
    """Begin to write, and be killed."""
    import os
    import signal

    with atomic_directory(output) as directory:
        (directory / "file").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_process_left_is_removed(tmp_path):
    """Whatever characters its name has."""
    output = tmp_path / "m[1] ü"
    process = multiprocessing.get_context("fork").Process(target=die_while_writing, args=(output,))
    process.start()
    process.join()
    assert len(list(tmp_path.iterdir())) == 1
    write(output)
    assert [path.name for path in tmp_path.iterdir()] == [output.name]


def test_neighbours_are_left_alone(tmp_path):
    """A directory that is being written beside, and hidden ones of the user's."""
    (tmp_path / ".model.2024.backup").mkdir()
    (tmp_path / ".model.original").mkdir()
    with atomic_directory(tmp_path / "model.99999999") as first:
        (first / "file").write_text("first")
        with atomic_directory(tmp_path / "model") as second:
            (second / "file").write_text("second")
            write(tmp_path / "model")  # a third one, of the same name
            assert (first / "file").exists()
            assert (second / "file").exists()
            (tmp_path / "model" / "file").unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".model.2024.backup",
        ".model.original",
        "model",
        "model.99999999",
    ]


def test_what_appeared_meanwhile_is_not_replaced(tmp_path):
    """Unless force says so."""
    output = tmp_path / "out"

    def write_slowly(**options):
        with atomic_directory(output, **options) as directory:
            (directory / "file").write_text("slow")
            output.mkdir(exist_ok=True)
            (output / "file").write_text("quick")

    with pytest.raises(OutputExistsError, match=f"^{re.escape(str(output))} is not empty. Try: --force to replace it"):
        write_slowly()
    assert (output / "file").read_text() == "quick"
    write_slowly(force=True)
    assert (output / "file").read_text() == "slow"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("ended_by", [KeyboardInterrupt, OSError])
def test_an_interrupt_between_the_renames_keeps_the_old_one(tmp_path, monkeypatch, ended_by):
    """The old one is aside for a moment, and comes back."""
    output = tmp_path / "out"
    write(output, "old")
    rename = Path.rename

    def fail_at_the_second(path, target):
        if target == output and path.name != store._OLD:
            raise ended_by
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_at_the_second)
    with pytest.raises(ended_by):
        write(output, force=True)
    assert (output / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_process_killed_between_the_renames_loses_nothing(tmp_path):
    """The next one that writes there puts the old one back first."""
    output = tmp_path / "out"
    write(output, "old")
    aside, lock = store._begin(output, store._REPLACED)
    output.rename(aside / store._OLD)
    store.os.close(lock)
    with pytest.raises(RuntimeError), atomic_directory(output):
        raise RuntimeError
    assert (output / "file").read_text() == "old"


def test_links(tmp_path):
    """One to a directory is followed; one that leads nowhere is refused at once."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "file").read_text() == "new"
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    with pytest.raises(
        OutputExistsError, match="broken is a symbolic link that leads nowhere; the output is a directory"
    ):
        write(tmp_path / "broken")


def test_an_artifact_is_not_copied_into_itself(tmp_path):
    """It would hold a part of the copy."""
    write(tmp_path / "out")
    with pytest.raises(ArtifactWriteError, match="which would be copied into itself"):
        copy_artifact(tmp_path / "out", tmp_path / "out" / "copy")
