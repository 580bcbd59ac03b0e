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

_LOCKS: dict[tuple[int, str], AbstractContextManager[Any]] = {}


@contextmanager
def in_turn(what: Literal["compile", "read"]) -> Iterator[None]:
    """
    Wait until no other thread does the same; a function that it decorates is called in turn.

    The thread whose turn it is may ask again. Whoever compiles may read, and nobody compiles while reading.

    Args:
        what: ``"compile"`` is from loading a checkpoint to the validated artifact, ``"read"`` reading one exported program.

    """
    process = os.getpid()
    for other in [key for key in tuple(_LOCKS) if key[0] != process]:  # of the process that this one was forked from
        _LOCKS.pop(other, None)
    lock = _LOCKS.setdefault((process, what), threading.RLock())
    with lock:
        yield
