"""``neuronkit bench``: how fast an artifact runs here, and what neuronkit adds to it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from itertools import product
from typing import TYPE_CHECKING, Any

from neuronkit.cli.flags import add_options, add_shapes, given
from neuronkit.cli.parser import CommandParser, UsageError, closest_hint
from neuronkit.cli.printing import format_table, print_report
from neuronkit.conversion import as_sizes
from neuronkit.options import SourceOptions
from neuronkit.shape_names import AXES_OF_SHAPES, BATCH, axis_of

if TYPE_CHECKING:
    from neuronkit.loaded_graph import LoadedGraph
    from neuronkit.session import Session

SUMMARY = "Measure an artifact: latency per graph and size, tokens per second, what neuronkit adds."

_ABOUT = """
Runs every graph on random inputs, in turns with the bare compiled function on tensors that are padded already, and
prints medians. The difference of the two is what neuronkit adds: checks, choice of a bucket, padding, hooks. Without
sizes each fixed bucket is measured at its own, a graph with dynamic axes at the shapes that it was compiled with.

JSON: {"schema": 1, "artifact", "key", "backend", "threads", "results": [{"graph", "sizes", "bucket", "runs",
"median_ms", "p10_ms", "p90_ms", "compiled_ms", "overhead_us", "tokens_per_second"}]}; the last is null for a graph
without a sequence axis.
"""
_EXAMPLES = """
neuronkit bench ./my-artifact
neuronkit bench ./my-artifact --batch-size 1,8 --sequence-length 128 --json
"""


def configure(parser: CommandParser) -> None:
    """Add the arguments."""
    parser.describe(_ABOUT, usage="ARTIFACT [options]", commands=_EXAMPLES)
    parser.add_argument("artifact", metavar="ARTIFACT", help="Directory or hub id of the artifact.")
    parser.add_argument("--json", action="store_true", help="Print JSON.")
    parser.add_argument("--repeats", type=int, default=50, metavar="N", help="Runs that are timed. Default: 50.")
    parser.add_argument(
        "--seconds",
        type=float,
        default=20.0,
        metavar="N",
        help="Time for each size, after which fewer runs must do. Default: 20.",
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="Threads that torch computes with. By default its own choice."
    )
    parser.add_argument("--placement", help="Where to put it, in the backend's words. By default the backend chooses.")
    parser.add_argument(
        "--trust-artifact", action="store_true", help="Load an artifact from the hub, although it holds native code."
    )
    shapes = parser.add_argument_group(
        "sizes",
        "A size, or several with commas between: every combination is measured. Axes of a plugin's own, such as samples, are "
        "given by their names.",
    )
    add_shapes(shapes, type=_sizes)
    add_options(
        parser.add_argument_group("where the artifact is found"),
        SourceOptions,
        leave_out=("config", "trust_remote_code"),
    )
    parser.take_undeclared()


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print."""
    if arguments.repeats < 1:
        raise UsageError("--repeats must be at least 1")
    if arguments.threads is not None and arguments.threads < 1:
        raise UsageError("--threads must be at least 1")
    import torch

    from neuronkit import load
    from neuronkit.cli.progress import reporting

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    asked = {AXES_OF_SHAPES[name]: sizes for name in AXES_OF_SHAPES if (sizes := getattr(arguments, name))}
    with redirect_stdout(sys.stderr), reporting("measuring") as progress:
        shell = load(
            arguments.artifact,
            trust_artifact=arguments.trust_artifact,
            placement=arguments.placement,
            **given(arguments, SourceOptions),
        )
        session: Session = shell.session
        asked |= _own_sizes(arguments.undeclared, session)
        results = []
        for graph in session.graphs.values():
            for sizes in sizes_of(graph, session.manifest.shapes, asked):
                progress(f"{graph.name} {_describe(sizes)}")
                results.append(measure(session, graph, sizes, arguments.repeats, arguments.seconds))
    manifest = session.manifest
    threads = torch.get_num_threads()
    if arguments.json:
        head = {"artifact": session.artifact.path, "key": manifest.key, "backend": manifest.backend, "threads": threads}
        print_report({**head, "results": results})
    else:
        print(_table(results))
        print(f"{manifest.key} on {manifest.backend}, {threads} threads, medians", file=sys.stderr)
    return 0


def _own_sizes(typed: Mapping[str, Any], session: Session) -> dict[str, list[int]]:
    """
    Return the sizes that were typed for axes of the plugin's own, by axis.

    Raises:
        UsageError: No graph has such an axis, or it is no size.

    """
    axes = {axis for graph in session.graphs.values() for axis in graph.graph.axes}
    found = {}
    for name, value in typed.items():
        if name not in axes:
            hint = closest_hint(name, axes) or f" The graphs have the axes {', '.join(sorted(axes))}."
            raise UsageError(f"there is no option --{name.replace('_', '-')}, and no axis {name!r}.{hint}")
        try:
            found[name] = as_sizes(value)
        except ValueError as error:
            raise UsageError(f"--{name.replace('_', '-')}: {error}") from error
    return found


def sizes_of(
    graph: LoadedGraph, shapes: Mapping[str, Sequence[int]], asked: Mapping[str, Sequence[int]]
) -> list[dict[str, int]]:
    """
    Return the sizes to measure a graph at.

    Args:
        graph: The graph.
        shapes: What the artifact was compiled with, by shape name.
        asked: What the caller wants, by axis; axes that the graph lacks are passed over.

    Raises:
        InputError: A size is larger than the largest bucket.

    """
    compiled = {axis_of(name): sizes for name, sizes in shapes.items()}
    found: dict[tuple[int, ...], dict[str, int]] = {}
    for bucket in graph.buckets:
        choices = [
            asked.get(axis) or (compiled.get(axis, [size]) if axis in bucket.bounds else [size])
            for axis, size in bucket.sizes.items()
        ]
        for combination in product(*choices):
            found.setdefault(combination, dict(zip(bucket.sizes, combination, strict=True)))
    for sizes in found.values():
        graph.table.choose(sizes)
    return list(found.values())


def measure(
    session: Session, graph: LoadedGraph, sizes: Mapping[str, int], repeats: int, seconds: float
) -> dict[str, Any]:
    """Time a graph at one size; see the help of the command for what is returned."""
    import torch

    from neuronkit.cli.timing import time_in_turns
    from neuronkit.export.capture import seeded_inputs
    from neuronkit.padding import pad
    from neuronkit.processors import Processors

    config = Processors(session.artifact.path, session.limits).config
    seeded = seeded_inputs(graph.graph, sizes, config, seed=0)
    inputs = {input.name: seeded[input.name] for input in graph.inputs}
    bucket = graph.table.choose(sizes)
    full = {axis: sizes[axis] if axis in bucket.bounds else size for axis, size in bucket.sizes.items()}
    calls = -(-sizes.get(BATCH, 1) // full.get(BATCH, 1))
    part = {
        input.name: inputs[input.name].narrow(input.axes.index(BATCH), 0, min(full[BATCH], sizes[BATCH]))
        if BATCH in input.axes
        else inputs[input.name]
        for input in graph.inputs
    }
    padded = [pad(part[input.name], input.axes, full, input.pad_value) for input in graph.inputs]
    rows = (0, full[BATCH]) if graph.graph.state else None

    def bare() -> None:
        for _ in range(calls):
            graph.run(bucket, padded, rows)

    with torch.no_grad():
        latencies = time_in_turns(
            {"neuronkit": lambda: session.forward(graph.name, inputs), "compiled": bare},
            repeats=repeats,
            budget=seconds,
        )
    ours, theirs = latencies["neuronkit"], latencies["compiled"]
    tokens = sizes["sequence"] * sizes.get(BATCH, 1) if "sequence" in sizes else None
    low, high = ours.spread
    return {
        "graph": graph.name,
        "sizes": dict(sizes),
        "bucket": bucket.label,
        "runs": len(ours.seconds),
        "median_ms": round(ours.median * 1e3, 4),
        "p10_ms": round(low * 1e3, 4),
        "p90_ms": round(high * 1e3, 4),
        "compiled_ms": round(theirs.median * 1e3, 4),
        "overhead_us": round((ours.median - theirs.median) * 1e6, 1),
        "tokens_per_second": None if tokens is None else round(tokens / ours.median, 1),
    }


def _table(results: Sequence[Mapping[str, Any]]) -> str:
    headers = ["GRAPH", "SIZES", "MS", "P10", "P90", "COMPILED", "ADDED US", "TOKENS/S"]
    rows = [
        [
            result["graph"],
            _describe(result["sizes"]),
            *(f"{result[name]:.2f}" for name in ("median_ms", "p10_ms", "p90_ms", "compiled_ms")),
            f"{result['overhead_us']:.0f}",
            "-" if result["tokens_per_second"] is None else f"{result['tokens_per_second']:.0f}",
        ]
        for result in results
    ]
    return format_table(headers, rows)


def _describe(sizes: Mapping[str, int]) -> str:
    return " ".join(f"{axis}={size}" for axis, size in sizes.items())


def _sizes(text: str) -> list[int]:
    sizes = [int(part) for part in text.split(",")]
    if min(sizes) < 1:
        raise ValueError(text)
    return sizes


_sizes.__name__ = "size"  # argparse names it in its message
