"""References: what the unwrapped eager model gives for seeded inputs, which every compiled graph is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import attrs
import torch
from torch import nn

from neuronkit.buckets import Bucket
from neuronkit.errors import ExportConfigError
from neuronkit.export.axes import tensor_shape
from neuronkit.export.capture import TracedModule, seeded_inputs
from neuronkit.export.config import Graph, Probe
from neuronkit.shape_names import BATCH, IMAGE_AXES

_SEED = 20_240
"""Any seed but the one of the inputs that graphs are traced with."""

_ROUNDING = 1e-3
"""What calls of another number of rows may differ by, as a part of the largest value: far more than fp32 rounds."""


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


def references_of(
    works: Iterable[tuple[Graph, Bucket, nn.Module]],
    config: Mapping[str, Any],
    model: nn.Module,
    *,
    empty_states: bool = False,
) -> Iterator[Reference]:
    """
    Run the eager model for graph after graph and bucket after bucket, each when it is asked for; see `reference`.

    Raises:
        ExportConfigError: An output has another shape than its axes say, or a row of it depends on the other rows of the call.
    """
    seen: set[str] = set()
    for graph, bucket, module in works:
        _require_rows_apart(graph, bucket, module, config)
        for found in reference(graph, bucket, module, config, model, empty_states=empty_states):
            _require_declared(found)
            if graph.name not in seen and found.sizes.get(BATCH, 1) > 1:
                seen.add(graph.name)
                _require_own_rows(found, module, config)
            yield found


def _require_declared(found: Reference) -> None:
    for output in found.graph.outputs:
        shape = tuple(found.outputs[output.name].shape)
        declared = tensor_shape(output.axes, found.sizes)
        if shape != declared:
            raise ExportConfigError(
                f"Graph {found.graph.name!r} at {dict(found.sizes)}: the output {output.name!r} has shape {shape}, and its axes "
                f"{list(output.axes)} say {declared}.\n"
                "Try: the axes that it has, in their order, and the outputs in the order in which the module returns them."
            )


def _require_own_rows(found: Reference, module: nn.Module, config: Mapping[str, Any]) -> None:
    """Refuse an output whose rows depend on each other: a call is split, and filled up with copies of row 0."""
    graph = found.graph
    if graph.probe or graph.state:
        return
    rows = 2 if BATCH in found.bucket.bounds else found.sizes[BATCH]
    other = seeded_inputs(graph, {**found.sizes, BATCH: rows}, config, seed=_SEED - 1)
    among = {
        input.name: _beside(found.inputs[input.name], other[input.name], input.axes.index(BATCH))
        if BATCH in input.axes
        else found.inputs[input.name].clone()
        for input in graph.inputs
    }
    with torch.no_grad():
        outputs = TracedModule(module, graph).pick(module(**among))
    for output, changed in zip(graph.outputs, outputs, strict=True):
        if BATCH not in output.axes:
            continue
        dim, wanted = output.axes.index(BATCH), found.outputs[output.name]
        apart = difference(wanted.narrow(dim, 0, 1), changed.narrow(dim, 0, 1)) <= _ROUNDING * scale(wanted)
        if not apart and not _is_random(found, output.name):
            raise ExportConfigError(
                f"Graph {graph.name!r}: row 0 of the output {output.name!r} depends on the other rows of a call.\n"
                "A call is split, or filled up, to the batch that was compiled, so its value would depend on that.\n"
                f"Try: a module that treats every row by itself, or inputs without the axis {BATCH!r} where there is only one "
                "row."
            )


def _beside(tensor: torch.Tensor, other: torch.Tensor, dim: int) -> torch.Tensor:
    """Return row 0 of a tensor before other rows, which are large, so that a largest value of all would be theirs."""
    rest = other.narrow(dim, 1, other.shape[dim] - 1)
    return torch.cat([tensor.narrow(dim, 0, 1), rest * 8 if rest.is_floating_point() else rest], dim)


def _is_random(found: Reference, output: str) -> bool:
    """Tell whether the eager model gives another result for the same inputs, which the comparison will say."""
    wanted = found.outputs[output]
    return found.repeat is not None and not difference(wanted, found.repeat()[output]) <= _ROUNDING * scale(wanted)


def _require_rows_apart(graph: Graph, bucket: Bucket, module: nn.Module, config: Mapping[str, Any]) -> None:
    """Refuse an output that belongs to no row and yet depends on them: calls are split and filled up along the batch."""
    shared = [output.name for output in graph.outputs if BATCH not in output.axes]
    if not shared or BATCH not in bucket.sizes or graph.probe or graph.state:
        return
    picker = TracedModule(module, graph)
    names = [output.name for output in graph.outputs]
    inputs = seeded_inputs(graph, {**bucket.sizes, BATCH: 2}, config, seed=_SEED)
    axes = {input.name: input.axes for input in graph.inputs}
    alike = {
        name: tensor.index_select(axes[name].index(BATCH), torch.zeros(2, dtype=torch.int64))
        if BATCH in axes[name]
        else tensor
        for name, tensor in inputs.items()
    }
    with torch.no_grad():
        first, second = (dict(zip(names, picker.pick(module(**given)), strict=True)) for given in (inputs, alike))
    for name in shared:
        if difference(first[name], second[name]):
            raise ExportConfigError(
                f"Graph {graph.name!r}: the output {name!r} has no axis {BATCH!r}, and depends on the rows of a call.\n"
                "A call is split, or filled up, to the batch that was compiled, so its value would depend on that.\n"
                "Try: an output with a value for each row, from which the caller computes the rest."
            )


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
    """
    picker = TracedModule(module, graph)
    found = []
    for number, sizes in enumerate(_sizes(bucket, graph)):
        inputs = seeded_inputs(graph, sizes, config, seed=_SEED + number)
        if empty_states:
            inputs |= {state.name: torch.zeros_like(inputs[state.name]) for state in graph.state}
        if graph.probe is not None:
            inputs |= graph.probe.inputs(sizes, torch.Generator().manual_seed(_SEED + number))
        run = partial(_run_eager, graph, module, model or module, picker, inputs)
        found.append(Reference(graph, bucket, sizes, inputs, run(), run))
    return found


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
    return max(1.0, wanted[wanted.isfinite()].float().abs().max().item()) if wanted.isfinite().any() else 1.0


def difference(wanted: torch.Tensor, got: torch.Tensor) -> float:
    """Return the largest absolute difference of two tensors of one shape; equal infinities do not differ."""
    if not wanted.numel():
        return 0.0
    return (wanted.float() - got.float()).abs().masked_fill(wanted == got, 0).max().item()
