"""Writing a directory so that it is there whole or not at all, and the digests of what is in it."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neuronkit.artifact.manifest import File
from neuronkit.errors import ArtifactWriteError, OutputExistsError

_SPACE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


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
        OutputExistsError: It exists and is not empty, and `force` is False; or it is a file.
    """
    if output.is_file():
        raise OutputExistsError(f"{output} is a file; the output is a directory.")
    if output.is_dir() and any(output.iterdir()) and not force:
        raise OutputExistsError(f"{output} is not empty. Try: --force to replace it, or another directory.")


@contextmanager
def atomic_directory(output: Path, *, force: bool = False) -> Iterator[Path]:
    """
    Yield an empty directory beside `output`, and rename it to `output` when the block ends well.

    Whatever else happens, `output` stays as it was and the temporary directory is removed.

    Raises:
        OutputExistsError: See `require_free`.
        ArtifactWriteError: The disk is full, or the directory cannot be written.
    """
    output = output.absolute()
    require_free(output, force=force)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(output)
        temporary = Path(tempfile.mkdtemp(prefix=f".{output.name}.{os.getpid()}.", dir=output.parent))
    except OSError as error:
        raise ArtifactWriteError(f"Cannot write beside {output}: {error.strerror}.") from error
    try:
        temporary.chmod(0o755)
        yield temporary
        _replace(temporary, output)
    except OSError as error:
        if error.errno not in _SPACE_ERRORS:
            raise
        free = shutil.disk_usage(output.parent).free // 2**20
        raise ArtifactWriteError(
            f"Could not write {output}: {error.strerror or error} ({free} MB free there). Nothing was left behind.\n"
            "Try: another directory, or free some space (`neuronkit cache clear` empties the cache)."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def copy_artifact(source: Path, target: Path) -> None:
    """
    Copy an artifact, whole or not at all.

    Raises:
        OutputExistsError: The target is not empty, and not the artifact itself.
        ArtifactWriteError: The disk is full, or the directory cannot be written.
    """
    if target.is_dir() and target.resolve() == source.resolve():
        return
    with atomic_directory(target) as temporary:
        shutil.copytree(source, temporary, dirs_exist_ok=True)


def _replace(temporary: Path, output: Path) -> None:
    if output.is_dir():
        aside = Path(tempfile.mkdtemp(prefix=f".{output.name}.{os.getpid()}.", dir=output.parent))
        output.rename(aside / "old")
        try:
            temporary.rename(output)
        except OSError:
            (aside / "old").rename(output)
            raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    else:
        temporary.rename(output)


def _remove_abandoned(output: Path) -> None:
    """Remove what a killed process left; its number is in the name."""
    for left in output.parent.glob(f".{output.name}.*.*"):
        number = left.name.removeprefix(f".{output.name}.").split(".")[0]
        if number.isdigit() and not Path("/proc", number).exists() and left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
