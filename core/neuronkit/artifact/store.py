"""Writing a directory so that it is there whole or not at all, and the digests of what is in it."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shlex
import shutil
import stat
import tempfile
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from neuronkit.artifact import manifest as manifests
from neuronkit.artifact.locking import DirectoryLock, Sharing, lock_directory
from neuronkit.artifact.manifest import File
from neuronkit.errors import ArtifactWriteError, OutputExistsError

_SPACE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_WRITING, _REPLACED = "writing-", "replaced-"
"""Temporary directories beside an output are called ``.<output>.<one of these><eight characters>``."""
_OLD = "old"


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's contents, in hexadecimal."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def describe(path: Path, root: Path) -> File:
    """Return the manifest's record of a file."""
    return File(path.relative_to(root).as_posix(), file_digest(path), path.stat().st_size)


def require_free(output: Path, *, force: bool) -> None:
    """
    Refuse an output directory that would be overwritten.

    Raises:
        OutputExistsError: It exists and is not empty, and `force` is False; or it is no directory, or the one that this process
            works in.
    """
    if output.is_symlink() and not output.exists():
        raise OutputExistsError(f"{output} is a symbolic link that leads nowhere; the output is a directory.")
    if output.is_file():
        raise OutputExistsError(f"{output} is a file; the output is a directory.")
    if output.is_dir() and output.samefile(os.curdir):  # its place would be taken, and the process left in what is gone
        raise OutputExistsError(f"{output} is the directory that this process works in. Try: another directory.")
    if output.is_dir() and any(output.iterdir()) and not force:
        raise OutputExistsError(f"{output} is not empty. Try: --force to replace it, or another directory.")


@contextmanager
def atomic_directory(output: Path, *, force: bool = False) -> Iterator[Path]:
    """
    Yield an empty directory beside `output`, and rename it to `output` when the block ends well.

    Whatever else happens, `output` stays as it was and the temporary directory is removed.

    Raises:
        OutputExistsError: See `require_free`; before the block or, where something else was written there meanwhile, behind it.
        ArtifactWriteError: The disk is full, or the directory cannot be written.
    """
    output = output.absolute()
    require_free(output, force=force)
    output = output.resolve()
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        clear_up(output)
        temporary, lock = _begin(output, _WRITING)
    except OSError as error:
        raise ArtifactWriteError(f"Cannot write beside {output}: {error.strerror}.") from error
    try:
        _open_to_others(temporary)
        yield temporary
        require_free(output, force=force)
        _replace(temporary, output)
    except OSError as error:
        if error.errno not in _SPACE_ERRORS:
            raise
        own = Path(tempfile.gettempdir())
        free, free_of_own = (shutil.disk_usage(place).free // 2**20 for place in (output.parent, own))
        raise ArtifactWriteError(
            f"Could not write {output}: {error.strerror or error} ({free} MB free there, {free_of_own} MB in {own}, where "
            "temporary files go). Nothing was left behind.\n"
            "Try: another directory, TMPDIR=DIR for those, or free some space (`neuronkit cache clear` empties the cache)."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        lock.release()


def _begin(output: Path, kind: str) -> tuple[Path, DirectoryLock]:
    """Make a directory beside the output, and lock it against `clear_up` of other processes."""
    while True:
        made = Path(tempfile.mkdtemp(prefix=f".{output.name}.{kind}", dir=output.parent))
        try:
            lock = lock_directory(made, Sharing.ALONE)
        except OSError:
            made.rmdir()
            raise
        if lock is not None:
            return made, lock


def _open_to_others(made: Path) -> None:
    """Give a directory of `mkdtemp`, which is for its owner alone, the mode of one that is made as any other."""
    usual = made / "usual"
    usual.mkdir()
    made.chmod(stat.S_IMODE(usual.stat().st_mode))
    usual.rmdir()


def copy_artifact(
    source: Path,
    target: Path,
    *,
    force: bool = False,
    change: Callable[[Path], None] = lambda _: None,
    fixed: Container[str] = (),
) -> None:
    """
    Copy an artifact, whole or not at all.

    Args:
        source: The artifact.
        target: The directory to write; where it is the artifact itself, the copy takes its place.
        force: Replace what is there.
        change: Gets the copy before anybody else sees it.
        fixed: Files, by their names in the artifact, that `change` leaves alone. Where the copy takes the artifact's place they
            are hard links, if the file system has them, so that nothing large is copied; nobody may write into them.

    Raises:
        OutputExistsError: The target is not empty, and not the artifact itself, and `force` is False.
        ArtifactWriteError: The disk is full, or the directory cannot be written, or it lies inside of the artifact.
    """
    if source.resolve() in target.resolve().parents:
        raise ArtifactWriteError(f"{target} lies inside of {source}, which would be copied into itself.")
    itself = target.is_dir() and target.resolve() == source.resolve()
    with atomic_directory(target, force=force or itself) as temporary:
        copy_files(source, temporary, fixed if itself else ())
        if (temporary / manifests.MANIFEST).is_file():
            manifest = manifests.read(temporary)
            rebuild = shlex.join([*shlex.split(manifest.rebuild)[:-1], str(target)])  # its last word is where
            manifests.dump(attrs.evolve(manifest, rebuild=rebuild), temporary)
        change(temporary)


def copy_files(source: Path, target: Path, linked: Container[str] = ()) -> None:
    """Copy a directory; the files of these names become hard links, if that can be."""

    def fail(error: OSError) -> None:
        raise error

    for folder, _, names in os.walk(source, onerror=fail, followlinks=True):
        placed = target / Path(folder).relative_to(source)
        placed.mkdir(exist_ok=True)
        for name in names:
            file = Path(folder) / name
            if file.relative_to(source).as_posix() not in linked or not _link(file, placed / name):
                shutil.copy2(file, placed / name)


def _link(file: Path, target: Path) -> bool:
    """Make a hard link, and tell whether there is one; what a symbolic link leads to belongs to somebody else."""
    if file.is_symlink():
        return False
    try:
        target.hardlink_to(file)
    except OSError:
        return False
    return True


def _replace(temporary: Path, output: Path) -> None:
    if not output.is_dir():
        temporary.rename(output)
        return
    aside, lock = _begin(output, _REPLACED)
    try:
        output.rename(aside / _OLD)
        temporary.rename(output)
    finally:
        _settle(aside, output)
        lock.release()


def _settle(aside: Path, output: Path) -> None:
    """Remove what was replaced, or put it back where nothing came in its place."""
    if (aside / _OLD).is_dir() and not output.exists():
        (aside / _OLD).rename(output)
    shutil.rmtree(aside, ignore_errors=True)


def clear_up(output: Path) -> None:
    """Remove what processes left that were killed while they wrote: nobody has a lock on it, where there are locks."""
    made = re.compile(rf"\.{re.escape(output.name)}\.({_WRITING}|{_REPLACED})[a-z0-9_]{{8}}")
    for left in output.parent.iterdir():
        found = made.fullmatch(left.name)
        if found is None or not left.is_dir():
            continue
        lock = lock_directory(left, Sharing.ALONE)
        if lock is None:
            continue
        if lock.held and found[1] == _REPLACED:
            _settle(left, output)
        elif lock.held:
            shutil.rmtree(left, ignore_errors=True)
        lock.release()
