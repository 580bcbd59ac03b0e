"""Files and directories that a caller names."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from neuronkit.errors import OptionError

_NOT_NAMES = {errno.ENAMETOOLONG: "has a part that is too long for a file's name", errno.ELOOP: "leads back to itself"}


def named_path(name: str | Path, what: str, kind: type[Exception] = OptionError) -> Path:
    """
    Return a path as a caller wrote it, with the home directory that ``~`` stands for.

    Args:
        name: What the caller gave.
        what: What it names, for the message.
        kind: Class of the error.

    Raises:
        OptionError: It is empty or no path, its home directory is not known, or no file can have the name.
    """
    if not isinstance(name, (str, os.PathLike)) or not str(name):
        raise kind(f"{what} must be a path that is not empty (got {name!r}).\nTry: ./NAME for what lies here.")
    try:
        path = Path(name).expanduser()
    except RuntimeError as error:
        raise kind(
            f"{what} begins with a home directory that is not known (got {str(name)!r}).\n"
            "Try: the whole path, or ./ before a name that begins with ~."
        ) from error
    try:
        path.stat()
    except ValueError as error:
        raise kind(f"{what} cannot be a path: {error} (got {str(name)!r}).") from error
    except OSError as error:
        if reason := _NOT_NAMES.get(error.errno or 0):
            raise kind(f"{what} {reason} (got {str(name)!r}).\nTry: another name.") from error
    return path


def named_directory(name: str | Path, what: str, kind: type[Exception] = OptionError) -> Path:
    """
    Return the path of a checkpoint or an artifact as a caller wrote it. See `named_path`.

    Raises:
        OptionError: As `named_path`; or the working directory that it lies in is gone; or it is not UTF-8, which what reads
            weights and tokenizers asks of a path.
    """
    path = named_path(name, what, kind)
    try:
        str(path.absolute()).encode("utf-8")
    except FileNotFoundError as error:
        raise kind(
            f"{what} {str(name)!r} lies in the directory that this process works in, which is gone.\n"
            "Try: the whole path, or another working directory."
        ) from error
    except UnicodeEncodeError as error:
        raise kind(
            f"{what} lies in a path that is not UTF-8 (got {str(path.absolute())!r}), and safetensors opens no such.\n"
            "Try: another name, or a symbolic link to it."
        ) from error
    return path
