"""
The other process of the conformance kit: what another interpreter, with another hash seed, makes of the same plugin.

It reads one JSON request a line from stdin and answers each with one JSON line; `neuronkit.testing.fresh` is the other side.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any


def main(modules_at_start: Set[str]) -> None:
    """
    Answer requests until stdin ends.

    Args:
        modules_at_start: What the interpreter itself had imported.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what plugins print is no answer
    listing = _list(modules_at_start)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = listing if request["do"] == "list" else _ANSWERS[request.pop("do")](**request)
        except Exception:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _list(modules_at_start: Set[str]) -> dict[str, Any]:
    import neuronkit

    started = time.process_time()
    records = [[record.key, record.package] for record in neuronkit.get_registry().records()]
    seconds = time.process_time() - started
    return {"records": records, "seconds": seconds, "modules": sorted(set(sys.modules) - modules_at_start)}


def _resolve(key: str) -> dict[str, Any]:
    import torch  # noqa: F401  # whose time is not the plugin's

    import neuronkit

    before = set(sys.modules)
    started = time.process_time()
    neuronkit.get_registry().resolve(key)
    seconds = time.process_time() - started
    return {"seconds": seconds, "modules": sorted(set(sys.modules) - before)}


def _export(key: str, checkpoint: str, given: dict[str, Any]) -> dict[str, Any]:
    from neuronkit.testing.exporting import Export, describe

    return {"config": describe(Export(key, Path(checkpoint), given).make_config())}


def _rebuild(key: str, checkpoint: str, given: dict[str, Any], backend: str, output: str, cache: str) -> dict[str, Any]:
    from neuronkit.testing.exporting import compile_into, graphs_in

    before = graphs_in(Path(cache))
    compile_into(Path(output), key, Path(checkpoint), {**given, "validate": False}, backend, Path(cache))
    return {"new": sorted(label for name, label in graphs_in(Path(cache)).items() if name not in before)}


def _run(artifact: str, calls: str, outputs: str, threads: int) -> dict[str, Any]:
    import torch

    from neuronkit.testing.calls import load_session, run_all

    torch.set_num_threads(threads)
    session = load_session(Path(artifact))
    torch.save(run_all(session, torch.load(calls, weights_only=True)), outputs)
    return {"process": os.getpid()}


_ANSWERS: dict[str, Callable[..., dict[str, Any]]] = {
    "resolve": _resolve,
    "export": _export,
    "rebuild": _rebuild,
    "run": _run,
}
