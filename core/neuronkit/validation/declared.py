"""What a declaration promises of the eager model: the axes of its outputs, and rows that do not depend on each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from neuronkit.buckets import Bucket
from neuronkit.errors import ExportConfigError
from neuronkit.export.axes import tensor_shape
from neuronkit.export.capture import TracedModule, seeded_inputs
from neuronkit.export.config import Graph
from neuronkit.shape_names import BATCH
from neuronkit.validation.references import SEED, Reference, difference, eager_failures, reference, scale

_ROUNDING = 1e-3
"""What calls of another number of rows may differ by, as a part of the largest value: far more than fp32 rounds."""


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
    other = seeded_inputs(graph, {**found.sizes, BATCH: rows}, config, seed=SEED - 1)
    among = {
        input.name: _beside(found.inputs[input.name], other[input.name], input.axes.index(BATCH))
        if BATCH in input.axes
        else found.inputs[input.name].clone()
        for input in graph.inputs
    }
    with torch.no_grad(), eager_failures(graph, {**found.sizes, BATCH: rows}):
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
    inputs = seeded_inputs(graph, {**bucket.sizes, BATCH: 2}, config, seed=SEED)
    axes = {input.name: input.axes for input in graph.inputs}
    alike = {
        name: tensor.index_select(axes[name].index(BATCH), torch.zeros(2, dtype=torch.int64))
        if BATCH in axes[name]
        else tensor
        for name, tensor in inputs.items()
    }
    with torch.no_grad(), eager_failures(graph, {**bucket.sizes, BATCH: 2}):
        first, second = (dict(zip(names, picker.pick(module(**given)), strict=True)) for given in (inputs, alike))
    for name in shared:
        if difference(first[name], second[name]):
            raise ExportConfigError(
                f"Graph {graph.name!r}: the output {name!r} has no axis {BATCH!r}, and depends on the rows of a call.\n"
                "A call is split, or filled up, to the batch that was compiled, so its value would depend on that.\n"
                "Try: an output with a value for each row, from which the caller computes the rest."
            )
