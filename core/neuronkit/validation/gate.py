"""The validation gate: every compiled graph against the eager model, before the artifact exists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import torch

from neuronkit.artifact.manifest import Check, CompiledGraphRecord, File, Validation
from neuronkit.artifact.store import describe
from neuronkit.artifact.weights_file import WEIGHTS, read, write
from neuronkit.backends.base import Backend, Runner
from neuronkit.errors import ValidationError
from neuronkit.padding import Trimmer, pad
from neuronkit.session import open_graphs
from neuronkit.validation.references import Reference, difference, scale
from neuronkit.weights import Fitted


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
    differences: dict[str, float] = {}
    results = _run_padded(expected, runner)
    for name, wanted in expected.outputs.items():
        got = results[name]
        if wanted.shape != got.shape:
            raise ValidationError(
                f"{where}: {name} has shape {tuple(got.shape)}, the eager model gives {tuple(wanted.shape)}."
            )
        found = difference(wanted, got)
        allowed = atol * scale(wanted) if relative else atol
        if not found <= allowed:
            raise ValidationError(
                f"{where}: {name} differs from the eager model by {found:.3g}, and the tolerance is {allowed:.3g}.\n"
                + _explain(expected, name, allowed)
            )
        differences[name] = found
    return Check(expected.graph.name, expected.bucket.label, dict(expected.sizes), differences)


def _explain(expected: Reference, name: str, allowed: float) -> str:
    """Return why an output may differ, as far as can be seen, and what to try."""
    wanted = expected.outputs[name]
    if wanted.isnan().any():
        return (
            "The eager model itself gives NaN.\nNothing was written. Try: a Probe, whose inputs the model is made for."
        )
    if expected.repeat and not difference(wanted, expected.repeat()[name]) <= allowed:
        return (
            "The eager model itself gives another result for the same inputs each time.\n"
            "Nothing was written. Try: look for dropout that eval() does not switch off, for random numbers, and for what the "
            "module counts or keeps between calls."
        )
    padded = _padded_sizes(expected) != expected.sizes
    return ("The call was padded to the bucket: what is padded must not count.\n" if padded else "") + (
        "Nothing was written. Try: --atol to accept a larger difference, another --auto-cast, or --optlevel 1 to see "
        "whether the compiler is the cause."
    )


def _padded_sizes(expected: Reference) -> dict[str, int]:
    """Return the sizes in which the bucket takes the reference's inputs."""
    bucket = expected.bucket
    return {axis: size if axis in bucket.bounds else bucket.sizes[axis] for axis, size in expected.sizes.items()}


def _run_padded(expected: Reference, runner: Runner) -> dict[str, torch.Tensor]:
    graph = expected.graph
    full = _padded_sizes(expected)
    inputs = [pad(expected.inputs[input.name], input.axes, full, input.pad_value) for input in graph.inputs]
    outputs = zip((output.name for output in graph.outputs), runner(inputs), strict=True)
    return Trimmer(graph.outputs).trim(dict(outputs), expected.sizes, full)


def write_and_validate(
    directory: Path,
    graphs: Sequence[CompiledGraphRecord],
    tensors: Mapping[str, Fitted],
    backend: Backend,
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
        backend: The backend that compiled the graphs.
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
                opened = open_graphs(directory, graphs, backend, held)
            runner = opened[expected.graph.name].runner(expected.bucket)
            checks.append(compare(expected, runner, gate.tolerance, relative=gate.relative))
        return writing.result() if writing else None, attrs.evolve(gate, checks=checks)


def _write_weights(directory: Path, tensors: Mapping[str, Fitted]) -> File:
    file = directory / WEIGHTS
    write(file, tensors)
    return describe(file, directory)
