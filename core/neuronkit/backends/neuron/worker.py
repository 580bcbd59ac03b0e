"""
The process that compiles one graph: ``python -m neuronkit.backends.neuron.worker DIRECTORY``.

It traces without a device (``cpu_backend=True`` with the target in the flags) even where there is one, so that it never
takes a core away from a process that serves. Its group ends when its parent does.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from neuronkit.backends.neuron.job import MODEL, PROGRAM, RESULT, Job, read_job


def main(directory: Path) -> int:
    """Compile what lies in `directory`; the model or the error is written there too."""
    job = read_job(directory)
    _end_with(job.parent)
    try:
        compile_job(job, directory)
    except Exception as error:
        traceback.print_exc()
        result = {"type": type(error).__name__, "message": str(error)}
        (directory / RESULT).write_text(json.dumps(result), encoding="utf-8")
        return 1
    return 0


def compile_job(job: Job, directory: Path) -> None:
    """Trace a program and save what came out."""
    import torch
    import torch_neuronx

    from neuronkit.backends.exporting import runnable
    from neuronkit.backends.neuron.state import StatefulModule, without_states

    program = torch.export.load(directory / PROGRAM)
    module = runnable(program)
    if program.example_inputs is None:
        raise ValueError(f"{PROGRAM} holds no example inputs.")
    examples = tuple(program.example_inputs[0])
    aliases = {}
    if job.states:
        module = StatefulModule(module, examples, job.states, job.outputs)
        aliases = module.aliases
        examples = tuple(without_states(examples, job.states))
    with torch.no_grad():
        traced = torch_neuronx.trace(
            module,
            examples,
            compiler_workdir=str(directory / "compiler"),
            compiler_args=job.flags,
            inline_weights_to_neff=job.inline_weights,
            input_output_aliases=aliases,
            cpu_backend=True,
        )
    if job.dynamic_batch:
        traced = torch_neuronx.dynamic_batch(traced)
    if job.lazy_load:
        torch_neuronx.lazy_load(traced)
    if job.async_load:
        torch_neuronx.async_load(traced)
    torch.jit.save(traced, str(directory / MODEL))


def _end_with(parent: int) -> None:
    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
