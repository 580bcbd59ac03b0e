"""Compilation in processes of its own: several graphs at once, and memory that is free again after each."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkProcess

from neuronkit.environment import available_memory

_POLL = 0.05


def run_forked(tasks: Sequence[Callable[[], object]], count: int, memory: int) -> None:
    """
    Run tasks in forked processes, for what they leave on disk.

    A task that fails says nothing here: whoever needs its result runs it again, and sees the error. All processes have ended
    when this returns, whatever the reason.

    Args:
        tasks: Each sees the memory of this process as it is now.
        count: How many run at the same time, at most.
        memory: Bytes that one is expected to need; while others run, none begins without them.
    """
    context = multiprocessing.get_context("fork")
    waiting = list(tasks)
    running: list[ForkProcess] = []
    try:
        while waiting or running:
            running = [process for process in running if process.is_alive()]
            if waiting and len(running) < count and (not running or available_memory() >= memory):
                process = context.Process(target=_run, args=(waiting.pop(0),))
                process.start()
                running.append(process)
            elif running:
                time.sleep(_POLL)
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.join()


def _run(task: Callable[[], object]) -> None:
    import torch

    torch.set_num_threads(1)  # the threads of the process that was forked are not here
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # until the process ends
    task()
