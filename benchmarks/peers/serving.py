"""
A side's half of the conversation: answer each line of JSON on stdin with a line of JSON on stdout.

Imported by workers inside the peers' environments, so it uses the standard library alone.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any


def serve(functions: dict[str, Callable[..., Any]]) -> None:
    """Answer ``{"call": name, ...arguments}`` with ``{"result": ...}`` until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print to stdout while they export
    for line in sys.stdin:
        request = json.loads(line)
        result = functions[request.pop("call")](**request)
        print(json.dumps({"result": result}), file=answers, flush=True)


def timed(function: Callable[[], Any], count: int) -> list[float]:
    """Return how long each of `count` calls took, in seconds."""
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return times


def resident() -> dict[str, int]:
    """Return this process's resident memory and its highest, in bytes."""
    with open("/proc/self/status") as lines:
        fields = dict(line.split(":", 1) for line in lines)
    return {"now": int(fields["VmRSS"].split()[0]) * 1024, "peak": int(fields["VmHWM"].split()[0]) * 1024}
