"""One graph of a loaded artifact: its compiled buckets, and what a call of it must look like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil, prod
from typing import TYPE_CHECKING, Any

import torch

from neuronkit.artifact.manifest import CompiledGraphRecord
from neuronkit.backends.base import replicas
from neuronkit.buckets import Bucket, BucketTable
from neuronkit.errors import InputError
from neuronkit.export.axes import axis_size, base_axis, tensor_shape
from neuronkit.export.config import Axis, Graph, Input
from neuronkit.padding import Trimmer
from neuronkit.shape_names import BATCH
from neuronkit_registry.names import closest

if TYPE_CHECKING:
    from neuronkit.backends.base import Runner


class LoadedGraph:
    """
    One graph with its compiled buckets.

    Args:
        record: What the manifest says of it.
        runners: One per bucket, in the record's order.
        many_rows: How many rows (a dynamic batch times the other axes) one call is not to exceed; None for any number.
    """

    def __init__(self, record: CompiledGraphRecord, runners: Sequence[Runner], many_rows: int | None = None) -> None:
        self.name = record.name
        self.graph = Graph(name=record.name, inputs=record.inputs, outputs=record.outputs, kind=record.kind)
        self.buckets = tuple(
            Bucket(_call_sizes(bucket.sizes, runner), bucket.bounds)
            for bucket, runner in zip(record.buckets, runners, strict=True)
        )
        self.table = BucketTable(self.buckets, _owners(self.graph))
        self._many_rows = many_rows
        self._runners = dict(zip((bucket.label for bucket in self.buckets), runners, strict=True))
        self.inputs = tuple(input for input in self.graph.inputs if not input.state)
        self._inputs = [
            (input, getattr(torch, input.dtype), len(input.axes), tuple(_plain(input.axes))) for input in self.inputs
        ]
        self._tables = [
            (index, size) for index, input in enumerate(self.inputs) if (size := input.table_size) is not None
        ]
        self._following = [
            (index, axes) for index, input in enumerate(self.inputs) if (axes := tuple(_following(input.axes)))
        ]
        self._names = {input.name for input in self.inputs}
        self.keeps_state = bool(self.graph.state)
        self._state: list[tuple[int, torch.Tensor, bool]] = []
        self._output_names = [output.name for output in self.graph.outputs]
        self.trimmer = Trimmer(self.graph.outputs)
        self.limits = {axis: max(bucket.sizes[axis] for bucket in self.buckets) for axis in self.graph.axes}

    def capacity(self, bucket: Bucket, sizes: Mapping[str, int]) -> int:
        """Return the largest batch of a call, where a request of these sizes is served by this bucket."""
        batch = sizes.get(BATCH, 0)
        capacity = bucket.sizes.get(BATCH, batch)
        if self._many_rows is None or BATCH not in bucket.bounds:
            return capacity
        calls = ceil(batch / max(1, self._many_rows * batch // prod(sizes.values())))
        return min(capacity, ceil(batch / calls))

    def bind(self, state: Mapping[str, torch.Tensor]) -> None:
        """Feed these tensors to the graph, by the names of its states, in every later call."""
        self._state = [
            (index, state[input.name], input.axes[:1] == (BATCH,))
            for index, input in enumerate(self.graph.inputs)
            if input.state
        ]

    def prepare(self, inputs: Mapping[str, Any]) -> tuple[list[torch.Tensor], dict[str, int]]:
        """
        Check a call's inputs and put them in order.

        Returns:
            The tensors in the graph's order, missing ones filled with their default, and the size of every axis.

        Raises:
            InputError: An input is unknown, missing, empty, of a wrong kind, rank, dtype or device, sizes disagree, or a number is
                in none of the places of its table.
        """
        if not self._names.issuperset(inputs):
            raise self._unknown(inputs)
        sizes: dict[str, int] = {}
        tensors: list[torch.Tensor | None] = []
        missing = False
        for input, dtype, rank, axes in self._inputs:
            tensor = inputs.get(input.name)
            if tensor is None:
                if input.default is None:
                    raise InputError(
                        f"Graph {self.name!r} needs the input {input.name!r}; the call gave {sorted(inputs)}."
                    )
                missing = True
                tensors.append(None)
                continue
            if tensor.__class__ is not torch.Tensor and not isinstance(tensor, torch.Tensor):
                raise InputError(f"{input.name} must be a torch.Tensor (got {type(tensor).__name__}).")
            if not tensor.is_cpu:
                raise InputError(
                    f"{input.name} must be on the CPU (got a tensor on {tensor.device}).\nTry: {input.name}.cpu()"
                )
            shape = tensor.shape
            if len(shape) != rank:
                raise InputError(f"{input.name} must have {rank} dimensions {list(input.axes)} (got {tuple(shape)}).")
            if tensor.dtype is not dtype:
                tensor = _convert(input, tensor, dtype)
            for position, axis in axes:
                size = shape[position]
                expected = sizes.setdefault(axis, size) if isinstance(axis, str) else axis
                if size != expected or size == 0:
                    raise self._bad_size(input, axis, size, expected)
            tensors.append(tensor.detach() if tensor.requires_grad else tensor)
        if self._following:
            self._check_following(tensors, sizes)
        if self._tables:
            self._check_tables(tensors)
        if missing:
            self._fill(tensors, sizes)
        return tensors, sizes  # type: ignore[return-value]  # every None was filled

    def _check_tables(self, tensors: Sequence[torch.Tensor | None]) -> None:
        """Refuse numbers that no table holds: compiled code that meets one may end the process."""
        for index, size in self._tables:
            if (tensor := tensors[index]) is not None:
                low, high = (bound.item() for bound in tensor.aminmax())
                if low < 0 or high >= size:
                    name, wrong = self.inputs[index].name, tensor[(tensor < 0) | (tensor >= size)]
                    raise InputError(f"{name} holds {wrong[0].item()}, and must hold numbers from 0 to {size - 1}.")

    def _check_following(self, tensors: Sequence[torch.Tensor | None], sizes: Mapping[str, int]) -> None:
        """Check the axes that follow from others, when the sizes of these are known."""
        for index, axes in self._following:
            if (tensor := tensors[index]) is not None:
                input = self.inputs[index]
                for position, axis in axes:
                    self._require_known(input, axis, sizes)
                    if (size := tensor.shape[position]) != (expected := axis_size(axis, sizes)):
                        raise InputError(f"{input.name} has {size} along {axis!r}, which is {expected} in this call.")

    def _require_known(self, input: Input, axis: str, sizes: Mapping[str, int]) -> None:
        if (name := base_axis(axis)) not in sizes:
            raise InputError(f"{input.name} needs {name!r} to be known, and the call has no input with that axis.")

    def _fill(self, tensors: list[torch.Tensor | None], sizes: Mapping[str, int]) -> None:
        for index, (input, dtype, _, _) in enumerate(self._inputs):
            if tensors[index] is None:
                for axis in input.axes:
                    if isinstance(axis, str) and (name := base_axis(axis)) not in sizes:
                        raise InputError(f"{input.name} cannot be filled in: no other input has the axis {name!r}.")
                shape = tensor_shape(input.axes, sizes)
                tensors[index] = torch.full(shape, input.default, dtype=dtype)  # type: ignore[arg-type]

    def _unknown(self, inputs: Mapping[str, Any]) -> InputError:
        name = sorted(set(inputs) - self._names)[0]
        if any(input.name == name for input in self.graph.state):
            return InputError(
                f"{name} is a state of graph {self.name!r}: the session keeps it, and a call cannot give it."
            )
        close = closest(name, self._names)
        hint = f" Did you mean {close!r}?" if close else ""
        return InputError(
            f"Graph {self.name!r} has no input {name!r}.{hint} Its inputs: {', '.join(sorted(self._names))}."
        )

    def _bad_size(self, input: Input, axis: str | int, size: int, expected: int) -> InputError:
        if size == 0:
            return InputError(f"{input.name} is empty along {axis!r}.")
        if isinstance(axis, int):
            return InputError(f"{input.name} must have the fixed size {expected} where it has {size}.")
        return InputError(f"{input.name} has {size} along {axis!r}, and another input has {expected}.")

    def run(
        self, bucket: Bucket, tensors: Sequence[torch.Tensor], rows: tuple[int, int] | None = None
    ) -> dict[str, torch.Tensor]:
        """
        Run a call's tensors, which have exactly a bucket's sizes.

        Args:
            bucket: Which.
            tensors: In the order of `inputs`.
            rows: The first row of the states to use and their number; None uses them whole.

        Returns:
            Tensors by output name.
        """
        if self._state:
            tensors = list(tensors)
            for index, tensor, has_rows in self._state:  # in ascending order, so that each lands in its declared place
                tensors.insert(index, tensor if rows is None or not has_rows else tensor.narrow(0, *rows))
        return dict(zip(self._output_names, self._runners[bucket.label](tensors), strict=True))

    def runner(self, bucket: Bucket) -> Runner:
        """Return what runs a bucket."""
        return self._runners[bucket.label]


def _plain(axes: Sequence[Axis]) -> Iterator[tuple[int, Axis]]:
    """Return position and axis of those that are a name or a size."""
    return ((position, axis) for position, axis in enumerate(axes) if isinstance(axis, int) or axis.isidentifier())


def _following(axes: Sequence[Axis]) -> Iterator[tuple[int, str]]:
    """Return position and axis of those that follow from another one."""
    return ((position, axis) for position, axis in enumerate(axes) if isinstance(axis, str) and not axis.isidentifier())


def _owners(graph: Graph) -> dict[str, str]:
    """Return the first input that has each axis."""
    return {axis: input.name for input in reversed(graph.inputs) for axis in input.axes if isinstance(axis, str)}


def _call_sizes(sizes: Mapping[str, int], runner: Runner) -> dict[str, int]:
    """Return the sizes of one call: a runner that splits its calls over several cores takes that many batches."""
    return {axis: size * replicas(runner) if axis == BATCH else size for axis, size in sizes.items()}


def _convert(input: Input, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if dtype.is_floating_point != tensor.is_floating_point() or tensor.is_complex():
        raise InputError(
            f"{input.name} must be of dtype {input.dtype} (got {str(tensor.dtype).removeprefix('torch.')})."
        )
    return tensor.to(dtype)
