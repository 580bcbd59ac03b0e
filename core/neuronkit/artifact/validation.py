"""The validation gate: every compiled graph against the unwrapped eager model, before the artifact exists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import nn

from neuronkit.artifact.manifest import Check, CompiledGraphRecord, File, Validation
from neuronkit.artifact.store import describe
from neuronkit.artifact.weights_file import WEIGHTS, read, write
from neuronkit.backends.base import Backend, Runner
from neuronkit.buckets import Bucket
from neuronkit.errors import ValidationError
from neuronkit.export.capture import TracedModule, seeded_inputs
from neuronkit.export.config import Graph, Probe
from neuronkit.session import open_graphs
from neuronkit.weights import Fitted

_SEED = 20_240
"""Any seed but the one of the inputs that graphs are traced with."""


@attrs.frozen
class Reference:
    """
    What the eager model gives for some inputs.

    Args:
        graph: The graph.
        bucket: The bucket that will run them.
        sizes: Size of every axis.
        inputs: Tensors by input name.
        outputs: The eager model's tensors by output name.
    """

    graph: Graph
    bucket: Bucket
    sizes: Mapping[str, int]
    inputs: Mapping[str, torch.Tensor]
    outputs: Mapping[str, torch.Tensor]


def references_of(
    works: Iterable[tuple[Graph, Bucket, nn.Module]],
    config: Mapping[str, Any],
    model: nn.Module,
    *,
    empty_states: bool = False,
) -> Iterator[Reference]:
    """Run the eager model for graph after graph and bucket after bucket, each when it is asked for; see `reference`."""
    for graph, bucket, module in works:
        yield from reference(graph, bucket, module, config, model, empty_states=empty_states)


def reference(
    graph: Graph,
    bucket: Bucket,
    module: nn.Module,
    config: Mapping[str, Any],
    model: nn.Module | None = None,
    *,
    empty_states: bool = False,
) -> list[Reference]:
    """
    Run the eager model on seeded inputs.

    A fixed bucket is checked at its own sizes. One with dynamic axes is checked twice: at two small, uneven sizes, and with
    one row of up to 128 positions.

    Args:
        graph: What was or will be compiled.
        bucket: For which sizes.
        module: The eager model, wrapped only where the graph itself says so.
        config: The checkpoint's configuration.
        model: The eager model as it was loaded, for a graph that has a `Probe`; None takes `module`.
        empty_states: Begin with states of zeros, as a graph does whose states are on the device.
    """
    picker = TracedModule(module, graph)
    found = []
    for number, sizes in enumerate(_sizes(bucket, graph.probe)):
        inputs = seeded_inputs(graph, sizes, config, seed=_SEED + number)
        if empty_states:
            inputs |= {state.name: torch.zeros_like(inputs[state.name]) for state in graph.state}
        with torch.no_grad():
            if graph.probe is None:
                result = module(**{name: tensor.clone() for name, tensor in inputs.items()})
            else:
                inputs |= graph.probe.inputs(sizes, torch.Generator().manual_seed(_SEED + number))
                result = graph.probe.expected(
                    model or module, {name: tensor.clone() for name, tensor in inputs.items()}
                )
        outputs = picker.pick(result)
        names = [output.name for output in graph.outputs]
        found.append(Reference(graph, bucket, sizes, inputs, dict(zip(names, outputs, strict=True))))
    return found


def _sizes(bucket: Bucket, probe: Probe | None) -> list[dict[str, int]]:
    if not bucket.bounds:
        return [dict(bucket.sizes)]
    uneven = dict(bucket.sizes)
    row = dict(bucket.sizes)
    for axis, (low, high) in bucket.bounds.items():
        uneven[axis] = max(low, min(high, 3 if axis == "batch" else 29))
        row[axis] = max(low, 1 if axis == "batch" else min(high, 128))
    found = [uneven, row]
    for wanted in probe.sizes if probe else ():
        clamped = {
            axis: min(max(size, bucket.bounds[axis][0]), bucket.bounds[axis][1])
            for axis, size in wanted.items()
            if axis in bucket.bounds
        }
        found.append({**bucket.sizes, **clamped})
    return found


def compare(expected: Reference, runner: Runner, atol: float, *, relative: bool = False) -> Check:
    """
    Run a compiled graph on the reference's inputs.

    Args:
        expected: Inputs, and what the eager model gives for them.
        runner: The compiled graph.
        atol: Largest absolute difference.
        relative: Multiply `atol` by the largest value of an output, where that is more than 1: the rounding of a lower
            precision grows with the values.

    Raises:
        ValidationError: An output has another shape, or differs by more than it may.
    """
    where = f"Graph {expected.graph.name!r} ({expected.bucket.label}) at {dict(expected.sizes)}"
    results: Sequence[torch.Tensor] = runner(list(expected.inputs.values()))
    differences: dict[str, float] = {}
    for (name, wanted), got in zip(expected.outputs.items(), results, strict=True):
        if wanted.shape != got.shape:
            raise ValidationError(
                f"{where}: {name} has shape {tuple(got.shape)}, the eager model gives {tuple(wanted.shape)}."
            )
        difference = (wanted.float() - got.float()).abs().max().item() if wanted.numel() else 0.0
        allowed = atol * max(1.0, wanted.float().abs().max().item()) if relative and wanted.numel() else atol
        if not difference <= allowed:
            raise ValidationError(
                f"{where}: {name} differs from the eager model by {difference:.3g}, and the tolerance is {allowed:.3g}.\n"
                "Nothing was written. Try: --atol to accept a larger difference, another --auto-cast, or --optlevel 1 to see "
                "whether the compiler is the cause."
            )
        differences[name] = difference
    return Check(expected.graph.name, expected.bucket.label, dict(expected.sizes), differences)


def write_and_validate(
    directory: Path,
    graphs: Sequence[CompiledGraphRecord],
    tensors: Mapping[str, Fitted],
    engine: Backend,
    references: Iterable[Reference],
    gate: Validation,
) -> tuple[File | None, Validation]:
    """
    Write the weights of an artifact, and run its graphs over them.

    Weights as the model has them are used while they are written; where some are converted, the file's are, once it is
    there, so that no converted copy of all of them is ever in memory.

    Args:
        directory: Holds the files of the graphs already.
        graphs: The manifest's records.
        tensors: The weights that are apart, each under its graph's name; none when all are inside.
        engine: The backend that compiled the graphs.
        references: What eager gives; made one by one, so that they need not all be in memory. Empty skips the gate.
        gate: The report without its checks.

    Returns:
        The record of the weights' file, if there is one, and the report.

    Raises:
        ValidationError: A graph differs from the eager model by more than the tolerance.
        ArtifactWriteError: The weights could not be written.
    """
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(_write_weights, directory, tensors) if tensors else None
        checks: list[Check] = []
        opened = None
        for expected in references:
            if opened is None:
                if writing and any(tensor.is_converted for tensor in tensors.values()):
                    held = read(directory / writing.result().file)
                else:
                    held = {name: tensor.source for name, tensor in tensors.items()}
                opened = open_graphs(directory, graphs, engine, held)
            runner = opened[expected.graph.name].runner(expected.bucket)
            checks.append(compare(expected, runner, gate.tolerance, relative=gate.relative))
        return writing.result() if writing else None, attrs.evolve(gate, checks=checks)


def _write_weights(directory: Path, tensors: Mapping[str, Fitted]) -> File:
    file = directory / WEIGHTS
    write(file, tensors)
    return describe(file, directory)
