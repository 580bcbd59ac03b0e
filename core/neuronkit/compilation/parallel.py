"""Compilation in processes of its own: several graphs at once, and memory that is free again after each."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkProcess

from neuronkit.errors import OptionError
from neuronkit.memory import available_memory

_POLL = 0.05


def run_forked(tasks: Sequence[Callable[[], object]], count: int, memory: int) -> None:
    """
    Run tasks in forked processes, for what they leave on disk.

    A task that fails says nothing here: whoever needs its result runs it again, and sees the error. All processes have ended
    when this returns, whatever the reason.

    Args:
        tasks: Each sees the memory of this process as it is now.
        count: How many run at the same time, at most.
        memory: Bytes that one is expected to need; no more run together than the free memory holds, and at least one does.

    Raises:
        OptionError: This process is a daemon, which may have no others.
    """
    if multiprocessing.current_process().daemon:
        raise OptionError(
            f"jobs: a worker of a pool may have no processes of its own (got {count}).\nTry: jobs=1, since the pool has several."
        )
    context = multiprocessing.get_context("fork")
    waiting = list(tasks)
    running: list[ForkProcess] = []
    count = min(count, max(1, available_memory() // memory))
    try:
        while waiting or running:
            running = [process for process in running if process.is_alive()]
            if waiting and len(running) < count:
                running.append(context.Process(target=_run, args=(waiting.pop(0),), daemon=True))
                running[-1].start()
            elif running:
                time.sleep(_POLL)
    finally:
        begun = [process for process in running if process.pid is not None]
        for process in begun:
            process.terminate()
        for process in begun:
            process.join()


def _run(task: Callable[[], object]) -> None:
    import torch

    torch.set_num_threads(1)  # the threads of the process that was forked are not here
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # until the process ends
    task()
