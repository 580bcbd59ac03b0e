"""
The extension `prometheus`: counters and histograms of compiles, loads and forwards in prometheus_client's own registry.

A server exposes them as it exposes its others (``prometheus_client.start_http_server(9100)``). A process that ends on its own,
such as ``neuronkit run``, leaves them in the file that ``ACME_METRICS_FILE`` names, for the node exporter's textfile collector.
"""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from prometheus_client import REGISTRY, Counter, Histogram, write_to_textfile

from neuronkit import hookimpl

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SLOW = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600)

COMPILE = Histogram("neuronkit_compile_seconds", "Compiling a graph for a bucket.", ["backend", "graph"], buckets=_SLOW)
LOAD = Histogram("neuronkit_load_seconds", "Loading an artifact.", ["backend", "key"], buckets=_SLOW)
FORWARD = Histogram("neuronkit_forward_seconds", "Running a graph.", ["key", "graph"], buckets=_FAST)
ROWS = Counter("neuronkit_forward_rows", "Rows (texts, images) that went through a graph.", ["key", "graph"])
ERRORS = Counter("neuronkit_errors", "Calls that ended with an error.", ["hook", "error"])


class Prometheus:
    """Wraps the hooks; what they return or raise passes through untouched."""

    @hookimpl(wrapper=True)
    def compile(self, graph: Any, backend: Any) -> Generator[None, Any, Any]:
        """Observe the compiling of one graph; what the cache has is not compiled."""
        with measured("compile", COMPILE.labels(backend.name, graph.name)):
            return (yield)

    @hookimpl(wrapper=True)
    def load(self, artifact: Any, backend: Any) -> Generator[None, Any, Any]:
        """Observe the loading of an artifact."""
        with measured("load", LOAD.labels(backend.name, artifact.manifest.key)):
            return (yield)

    @hookimpl(wrapper=True)
    def forward(self, session: Any, graph: str, inputs: Mapping[str, Any]) -> Generator[None, Any, Any]:
        """Observe one run of a graph, and count its rows once it went well."""
        labels = (session.manifest.key, graph)
        with measured("forward", FORWARD.labels(*labels)):
            outputs = yield
        taken = session.graphs[graph].inputs
        rows = (len(inputs[input.name]) for input in taken if input.axes[:1] == ("batch",) and input.name in inputs)
        ROWS.labels(*labels).inc(next(rows, 0))
        return outputs


@contextmanager
def measured(hook: str, histogram: Any) -> Iterator[None]:
    """Observe the time of what is done inside; an error is counted instead, and raised again."""
    started = time.perf_counter()
    try:
        yield
    except BaseException as error:
        ERRORS.labels(hook, type(error).__name__).inc()
        raise
    histogram.observe(time.perf_counter() - started)


def write_file() -> None:
    """Write all metrics of the process to the file that the environment names, if it does."""
    if file := os.environ.get("ACME_METRICS_FILE"):
        write_to_textfile(file, REGISTRY)


atexit.register(write_file)
extension = Prometheus()
