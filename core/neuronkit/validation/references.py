"""References: what the unwrapped eager model gives for seeded inputs, which every compiled graph is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import attrs
import torch
from torch import nn

from neuronkit.buckets import Bucket
from neuronkit.errors import ExportConfigError, NeuronkitError, first_line
from neuronkit.export.capture import TracedModule, seeded_inputs
from neuronkit.export.config import Graph, Probe
from neuronkit.shape_names import BATCH, IMAGE_AXES

SEED = 20_240
"""Any seed but the one of the inputs that graphs are traced with."""

_ADVICE = (
    "table_size=N in an Input of numbers that are looked up among N, or where inputs depend on each other a Probe, which makes "
    "those that the model is made for."
)


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
        repeat: Runs the eager model on the inputs once more.
    """

    graph: Graph
    bucket: Bucket
    sizes: Mapping[str, int]
    inputs: Mapping[str, torch.Tensor]
    outputs: Mapping[str, torch.Tensor]
    repeat: Callable[[], Mapping[str, torch.Tensor]] | None = attrs.field(default=None, eq=False)


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
    one row of up to 128 positions. Where fixed axes may be padded, it is checked at shorter sizes too, unless the graph has
    states.

    Args:
        graph: What was or will be compiled.
        bucket: For which sizes.
        module: The eager model, wrapped only where the graph itself says so.
        config: The checkpoint's configuration.
        model: The eager model as it was loaded, for a graph that has a `Probe`; None takes `module`.
        empty_states: Begin with states of zeros, as a graph does whose states are on the device.

    Raises:
        ExportConfigError: The eager model, or the probe, fails on the inputs.
    """
    picker = TracedModule(module, graph)
    found = []
    for number, sizes in enumerate(_sizes(bucket, graph)):
        inputs = seeded_inputs(graph, sizes, config, seed=SEED + number)
        if empty_states:
            inputs |= {state.name: torch.zeros_like(inputs[state.name]) for state in graph.state}
        run = partial(_run_eager, graph, module, model or module, picker, inputs)
        with eager_failures(graph, sizes):
            if graph.probe is not None:
                inputs |= graph.probe.inputs(sizes, torch.Generator().manual_seed(SEED + number))
            found.append(Reference(graph, bucket, sizes, inputs, run(), run))
    return found


@contextmanager
def eager_failures(graph: Graph, sizes: Mapping[str, int]) -> Iterator[None]:
    """
    Say of what the eager model raises which inputs it was given: nobody but the plugin's author knows what these must be like.

    Raises:
        ExportConfigError: It raised something.
    """
    try:
        yield
    except (MemoryError, NeuronkitError):
        raise
    except Exception as error:
        raise ExportConfigError(
            f"Graph {graph.name!r} at {dict(sizes)}: the eager model fails on the inputs that it is to be compared on.\n"
            f"  {type(error).__name__}: {first_line(error)}\n"
            + ("Try: other inputs of its Probe." if graph.probe else f"Try: {_ADVICE}")
        ) from error


def _run_eager(
    graph: Graph, module: nn.Module, model: nn.Module, picker: TracedModule, inputs: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    copies = {name: tensor.clone() for name, tensor in inputs.items()}
    with torch.no_grad():
        result = graph.probe.expected(model, copies) if graph.probe else module(**copies)
    return dict(zip((output.name for output in graph.outputs), picker.pick(result), strict=True))


def shorter(sizes: Mapping[str, int], graph: Graph) -> dict[str, int]:
    """Return sizes of a call that a graph's bucket of `sizes` serves by padding, along every axis that may be padded."""
    least = graph.least_sizes()
    return {
        axis: size if axis in IMAGE_AXES else max(least[axis], size - 1 if axis == BATCH else size * 2 // 3)
        for axis, size in sizes.items()
    }


def _sizes(bucket: Bucket, graph: Graph) -> list[dict[str, int]]:
    found = _own_sizes(bucket, graph.probe)
    fixed = {axis: size for axis, size in bucket.sizes.items() if axis not in bucket.bounds}
    if (short := shorter(fixed, graph)) != fixed and not graph.state:
        found.append({**found[0], **short})
    return found


def _own_sizes(bucket: Bucket, probe: Probe | None) -> list[dict[str, int]]:
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


def scale(wanted: torch.Tensor) -> float:
    """Return the largest finite value of an output, and 1 at least: what a relative tolerance is multiplied by."""
    return max(1.0, _exact(wanted[wanted.isfinite()]).abs().max().item()) if wanted.isfinite().any() else 1.0


def difference(wanted: torch.Tensor, got: torch.Tensor) -> float:
    """Return the largest absolute difference of two tensors of one shape; equal infinities do not differ."""
    if not wanted.numel():
        return 0.0
    return (_exact(wanted) - _exact(got)).abs().masked_fill(wanted == got, 0).max().item()


def _exact(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor in a precision that tells its values apart: float32 has no place for large integers or complex numbers."""
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)
