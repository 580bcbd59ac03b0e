"""A directory that is there whole or not at all, beside others of similar names and other processes."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import re
import stat
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
    lock.release()
    with pytest.raises(RuntimeError), atomic_directory(output):
        raise RuntimeError
    assert (output / "file").read_text() == "old"


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EBADF, errno.ENOLCK])
def test_a_file_system_without_locks(tmp_path, monkeypatch, code):
    """It is written to all the same; what others began there stays, for nobody can tell whether they go on."""
    before = sorted(os.listdir("/proc/self/fd"))
    left = tmp_path / ".out.writing-abcdefgh"
    left.mkdir()

    def flock(descriptor, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    write(tmp_path / "out", "old")
    write(tmp_path / "out", "new", force=True)
    assert (tmp_path / "out" / "file").read_text() == "new"
    assert sorted(tmp_path.iterdir()) == [left, tmp_path / "out"]
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_directory_that_cannot_be_locked_leaves_nothing(tmp_path, monkeypatch):
    """No more files may be open."""

    def full(path, flags):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(ArtifactWriteError, match=r"^Cannot write beside .*: Too many open files"):
        write(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mask", [0o002, 0o022, 0o077])
def test_a_directory_is_open_to_those_that_the_umask_says(tmp_path, mask):
    """To a team, to all who read, to nobody."""
    before = os.umask(mask)
    try:
        write(tmp_path / "out")
        (tmp_path / "usual").mkdir()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o777 & ~mask
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "usual").stat().st_mode


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


def make_artifact(directory):
    """Write something with a large file, and a small one in a folder."""
    (directory / "scheduler").mkdir(parents=True)
    (directory / "weights").write_text("large")
    (directory / "scheduler" / "config.json").write_text("old")
    return directory


def contents(directory):
    """Return the text of every file by its name."""
    return {path.relative_to(directory).as_posix(): path.read_text() for path in directory.rglob("*") if path.is_file()}


def test_an_artifact_takes_its_own_place(tmp_path):
    """What is large is neither copied nor touched, and a session that has it open goes on with it."""
    artifact = make_artifact(tmp_path / "out")
    before = {name: (artifact / name).stat().st_ino for name in contents(artifact)}
    with (artifact / "weights").open() as opened:
        copy_artifact(
            artifact,
            artifact,
            change=lambda copy: (copy / "scheduler/config.json").write_text("new"),
            fixed={"weights"},
        )
        assert opened.read() == "large"
    assert contents(artifact) == {"weights": "large", "scheduler/config.json": "new"}
    assert (artifact / "weights").stat().st_ino == before["weights"]
    assert (artifact / "weights").stat().st_nlink == 1
    assert (artifact / "scheduler/config.json").stat().st_ino != before["scheduler/config.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_artifact_that_cannot_be_changed_stays_as_it_was(tmp_path):
    """Whatever was written of the change."""
    artifact = make_artifact(tmp_path / "out")

    def change(copy):
        (copy / "scheduler" / "config.json").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ArtifactWriteError, match=r"Could not write .*out: No space left on device .*Nothing was left"):
        copy_artifact(artifact, artifact, change=change, fixed={"weights"})
    assert contents(artifact) == {"weights": "large", "scheduler/config.json": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_without_hard_links_files_are_copied(tmp_path, monkeypatch):
    """As on a file system that has none."""
    artifact = make_artifact(tmp_path / "out")

    def refuse(path, target):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    copy_artifact(artifact, artifact, fixed={"weights"})
    assert contents(artifact) == {"weights": "large", "scheduler/config.json": "old"}


def test_a_folder_that_cannot_be_read_ends_the_copy(tmp_path, monkeypatch):
    """It would be missing from it."""
    artifact = make_artifact(tmp_path / "out")
    scandir = os.scandir

    def refuse(path):
        if path == str(artifact / "scheduler"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="scheduler"):
        copy_artifact(artifact, tmp_path / "copy")
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_full_disk_while_copying(tmp_path, monkeypatch):
    """It is told as such, although several files could not be written."""
    artifact = make_artifact(tmp_path / "out")

    def refuse(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store.shutil, "copy2", refuse)
    with pytest.raises(ArtifactWriteError, match=r"Could not write .*copy: No space left on device"):
        copy_artifact(artifact, tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
