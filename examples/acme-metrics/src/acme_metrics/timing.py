"""
The extension `call-timing`: one line of JSON for every compile, load and forward.

Lines go to the logger ``acme_metrics.timing`` at level INFO, and to the file that ``ACME_TIMING_FILE`` names, if it does.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Generator, Mapping
from typing import Any

from neuronkit import hookimpl

_log = logging.getLogger(__name__)


class CallTiming:
    """Wraps the hooks; what they return or raise passes through untouched."""

    @hookimpl(wrapper=True)
    def compile(self, graph: Any, bucket: Any, backend: Any) -> Generator[None, Any, Any]:
        """Time the compiling of one graph for one bucket; what the cache has is not compiled."""
        with Call("compile", graph=graph.name, bucket=bucket.label, backend=backend.name):
            return (yield)

    @hookimpl(wrapper=True)
    def load(self, artifact: Any, backend: Any) -> Generator[None, Any, Any]:
        """Time the loading of an artifact."""
        with Call("load", key=artifact.manifest.key, backend=backend.name):
            return (yield)

    @hookimpl(wrapper=True)
    def forward(self, session: Any, graph: str, inputs: Mapping[str, Any]) -> Generator[None, Any, Any]:
        """Time one run of a graph, its padding included."""
        shapes = {name: list(tensor.shape) for name, tensor in inputs.items() if hasattr(tensor, "shape")}
        with Call("forward", key=session.manifest.key, graph=graph, shapes=shapes):
            return (yield)


class Call:
    """
    The time of one call, written when it ends.

    Args:
        hook: Its name.
        **about: What it was called with.
    """

    def __init__(self, hook: str, **about: Any) -> None:
        self.record = {"hook": hook, **about}

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.record["seconds"] = round(time.perf_counter() - self._started, 6)
        self.record["error"] = kind.__name__ if kind else None
        line = json.dumps(self.record)
        _log.info(line)
        if file := os.environ.get("ACME_TIMING_FILE"):
            with open(file, "a", encoding="utf-8") as opened:
                opened.write(line + "\n")


extension = CallTiming()
