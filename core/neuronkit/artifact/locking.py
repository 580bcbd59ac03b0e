"""
Locks of directories, which end with the process that has them.

Some file systems have none. There a directory is used without a lock, and what needs to know that nobody else uses it is left
alone.
"""

from __future__ import annotations

import fcntl
import os
from enum import IntEnum
from pathlib import Path

import attrs


class Sharing(IntEnum):
    """How a directory is locked."""

    SHARED = fcntl.LOCK_SH
    """By several at a time; whoever asks waits for one that has it alone."""
    ALONE = fcntl.LOCK_EX | fcntl.LOCK_NB
    """By nobody else; whoever asks does not wait."""


@attrs.frozen
class DirectoryLock:
    """
    A directory that nobody else has locked.

    Args:
        descriptor: Holds the lock, in this process and its forks.
        held: False where the file system has no locks, so that nobody can tell who uses the directory.
    """

    descriptor: int
    held: bool

    def release(self) -> None:
        """Let others have it."""
        os.close(self.descriptor)


def lock_directory(directory: Path, sharing: Sharing) -> DirectoryLock | None:
    """
    Lock a directory until the lock is released; return None where somebody else has it, or has removed the directory.

    Args:
        directory: The directory.
        sharing: With whom.

    Raises:
        OSError: The directory cannot be opened.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, sharing)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:  # ENOSYS, ENOTSUP, ENOLCK; EBADF of NFS, where only what is open for writing can be locked alone
        return DirectoryLock(descriptor, held=False)
    if directory.is_dir():
        return DirectoryLock(descriptor, held=True)
    os.close(descriptor)
    return None
