"""
What threads of this process do one after another, because torch keeps its state there in globals.

A fork has turns of its own, whatever the process that it was made from was doing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal


class ForkedLock:
    """
    A lock that the thread which has it may take again, and that is free in a fork.

    An ordinary one stays locked there for ever if another thread had it: of the threads, only the one that forks goes on.
    """

    def __init__(self) -> None:
        self._locks: dict[int, AbstractContextManager[Any]] = {}

    @property
    def own(self) -> AbstractContextManager[Any]:
        """The lock of this process."""
        process = os.getpid()
        lock = self._locks.get(process)
        if lock is None:
            for other in set(self._locks) - {process}:  # what this process was forked from
                self._locks.pop(other, None)
            lock = self._locks.setdefault(process, threading.RLock())
        return lock


_LOCKS = {"compile": ForkedLock(), "read": ForkedLock()}


@contextmanager
def in_turn(what: Literal["compile", "read"]) -> Iterator[None]:
    """
    Wait until no other thread does the same; a function that it decorates is called in turn.

    The thread whose turn it is may ask again. Whoever compiles may read, and nobody compiles while reading.

    Args:
        what: ``"compile"`` is from loading a checkpoint to the validated artifact, ``"read"`` reading one exported program.

    """
    with _LOCKS[what].own:
        yield
