"""A loaded artifact: graphs on a device, together with the hooks that run them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import torch

from neuronkit.artifact.manifest import CompiledGraphRecord, Manifest
from neuronkit.artifact.reader import Artifact
from neuronkit.artifact.weights_file import read
from neuronkit.backends.base import Rebindable, replicas
from neuronkit.buckets import Bucket, BucketTable, chunks
from neuronkit.errors import ArtifactIncompatibleError, InputError, WeightsError
from neuronkit.export.config import Graph, Input
from neuronkit.padding import Trimmer, pad
from neuronkit.shape_names import BATCH
from neuronkit.state import make_state
from neuronkit.weights import SCOPE, check, fit, make_once, of_graph

if TYPE_CHECKING:
    from neuronkit.backends.base import Backend, Runner


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
        owners = {
            axis: input.name for input in reversed(self.graph.inputs) for axis in input.axes if isinstance(axis, str)
        }
        self.table = BucketTable(self.buckets, owners)
        self._many_rows = many_rows
        self._runners = dict(zip((bucket.label for bucket in self.buckets), runners, strict=True))
        self.inputs = tuple(input for input in self.graph.inputs if not input.state)
        self._inputs = [
            (input, getattr(torch, input.dtype), len(input.axes), tuple(enumerate(input.axes))) for input in self.inputs
        ]
        self._names = {input.name for input in self.inputs}
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
            InputError: An input is unknown, missing, empty, of a wrong kind, rank or dtype, or sizes disagree.
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
        if missing:
            self._fill(tensors, sizes)
        return tensors, sizes  # type: ignore[return-value]  # every None was filled

    def _fill(self, tensors: list[torch.Tensor | None], sizes: Mapping[str, int]) -> None:
        for index, (input, dtype, _, _) in enumerate(self._inputs):
            if tensors[index] is None:
                unknown = [axis for axis in input.axes if isinstance(axis, str) and axis not in sizes]
                if unknown:
                    raise InputError(f"{input.name} cannot be filled in: no other input has the axis {unknown[0]!r}.")
                shape = [axis if isinstance(axis, int) else sizes[axis] for axis in input.axes]
                tensors[index] = torch.full(shape, input.default, dtype=dtype)  # type: ignore[arg-type]

    def _unknown(self, inputs: Mapping[str, Any]) -> InputError:
        from difflib import get_close_matches

        name = sorted(set(inputs) - self._names)[0]
        if any(input.name == name for input in self.graph.state):
            return InputError(
                f"{name} is a state of graph {self.name!r}: the session keeps it, and a call cannot give it."
            )
        close = get_close_matches(name, self._names, 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
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


def _call_sizes(sizes: Mapping[str, int], runner: Runner) -> dict[str, int]:
    """Return the sizes of one call: a runner that splits its calls over several cores takes that many batches."""
    return {axis: size * replicas(runner) if axis == BATCH else size for axis, size in sizes.items()}


def _convert(input: Input, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if dtype.is_floating_point != tensor.is_floating_point() or tensor.is_complex():
        raise InputError(
            f"{input.name} must be of dtype {input.dtype} (got {str(tensor.dtype).removeprefix('torch.')})."
        )
    return tensor.to(dtype)


class Session:
    """
    A loaded artifact.

    Args:
        artifact: What was loaded.
        backend: What runs it.
        graphs: The opened graphs by name.

    Its `state` holds the tensors that the graphs keep between calls, by name.

    Raises:
        ExportConfigError: Two graphs declare a state of the same name and different sizes.
    """

    def __init__(self, artifact: Artifact, backend: Backend, graphs: Mapping[str, LoadedGraph]) -> None:
        self.artifact = artifact
        self.backend = backend
        self.graphs = dict(graphs)
        self.state = make_state(self.graphs.values())
        for loaded in self.graphs.values():
            loaded.bind(self.state)
        self._hook: Any = None

    @property
    def manifest(self) -> Manifest:
        """The artifact's manifest."""
        return self.artifact.manifest

    @property
    def limits(self) -> dict[str, int]:
        """The largest size of every axis, over all graphs and buckets."""
        limits: dict[str, int] = {}
        for graph in self.graphs.values():
            for axis, size in graph.limits.items():
                limits[axis] = max(size, limits.get(axis, 0))
        return limits

    @property
    def hook(self) -> Any:
        """The hooks of the plugin manager that loaded the session."""
        return self._hook

    def attach(self, hook: Any) -> None:
        """Keep the hooks that loaded the session; every later call goes through them."""
        self._hook = hook

    def reset(self) -> None:
        """Fill every state with zeros, as it was at first."""
        for tensor in self.state.values():
            tensor.zero_()

    def weights(self, graph: str) -> dict[str, torch.Tensor]:
        """
        Return the weights of a graph as the artifact has them, by name in the traced module.

        Raises:
            WeightsError: They are inside the graph.
        """
        manifest = self.manifest
        found = of_graph(graph, read(self.artifact.path / manifest.weights.file)) if manifest.weights else {}
        if not found:
            raise WeightsError(
                f"The weights of {graph} are inside the compiled graph of {self.artifact.path}, and cannot be replaced.\n"
                "Try: compile again with inline_weights=False (--no-inline-weights)."
            )
        return found

    def rebind(self, graph: str, tensors: Mapping[str, torch.Tensor]) -> None:
        """
        Replace weights of a graph until they are replaced again; the artifact stays as it is.

        Args:
            graph: Its name.
            tensors: By name in the traced module, each in any float dtype and strides.

        Raises:
            WeightsError: The weights are inside the graph, or a name or a shape is not one of the graph's.
        """
        known = self.weights(graph)
        if unknown := sorted(set(tensors) - set(known)):
            raise WeightsError(f"{graph} has no weights of these names: {', '.join(unknown[:8])}.")
        record = next(record for record in self.manifest.graphs if record.name == graph)
        made: dict[tuple[Any, ...], torch.Tensor] = {}
        bound: list[tuple[Rebindable, dict[str, torch.Tensor]]] = []
        for compiled, bucket in zip(record.buckets, self.graphs[graph].buckets, strict=True):
            wanted = [constant for constant in compiled.constants if constant.name in tensors]
            runner = self.graphs[graph].runner(bucket)
            if not isinstance(runner, Rebindable):
                raise WeightsError(f"The backend {self.backend.name!r} cannot replace the weights of a loaded graph.")
            bound.append((runner, make_once(fit(tensors, wanted), made)))
        for rebindable, fitted in bound:  # only when all fit
            rebindable.rebind(fitted)

    def forward(self, graph: str, inputs: Mapping[str, torch.Tensor], row: int = 0) -> dict[str, torch.Tensor]:
        """Run a graph through the hook of that name; see `neuronkit.hooks.forward`."""
        return self._hook.forward(session=self, graph=graph, inputs=inputs, row=row)

    def run(self, graph: str, inputs: Mapping[str, torch.Tensor], row: int = 0) -> dict[str, torch.Tensor]:
        """
        Run a graph: check, choose a bucket, pad, run, remove the padding. More rows than a call is to have are split over several.

        Raises:
            InputError: The inputs do not fit the graph.
        """
        loaded = self.graphs.get(graph)
        if loaded is None:
            raise InputError(f"There is no graph {graph!r}. The artifact's graphs: {', '.join(self.graphs)}.")
        tensors, sizes = loaded.prepare(inputs)
        bucket = loaded.table.choose(sizes)
        rows = sizes.get(BATCH, 0)
        if loaded.graph.state:
            return self._run_once(loaded, bucket, tensors, sizes, _state_rows(loaded, bucket, rows, row))
        capacity = loaded.capacity(bucket, sizes)
        if rows <= capacity:
            return self._run_once(loaded, bucket, tensors, sizes)
        parts = []
        for start, stop in chunks(rows, capacity):
            part = [
                tensor.narrow(input.axes.index(BATCH), start, stop - start) if BATCH in input.axes else tensor
                for input, tensor in zip(loaded.inputs, tensors, strict=True)
            ]
            parts.append(self._run_once(loaded, bucket, part, {**sizes, BATCH: stop - start}))
        return {
            output.name: torch.cat([part[output.name] for part in parts], output.axes.index(BATCH))
            if BATCH in output.axes
            else parts[0][output.name]
            for output in loaded.graph.outputs
        }

    def _run_once(
        self,
        loaded: LoadedGraph,
        bucket: Bucket,
        tensors: Sequence[torch.Tensor],
        sizes: Mapping[str, int],
        state_rows: tuple[int, int] | None = None,
    ) -> dict[str, torch.Tensor]:
        bounds = bucket.bounds
        full = {axis: sizes[axis] if axis in bounds else size for axis, size in bucket.sizes.items()}
        if full != sizes:
            tensors = [
                pad(tensor, input.axes, full, input.pad_value)
                for input, tensor in zip(loaded.inputs, tensors, strict=True)
            ]
        outputs = loaded.run(bucket, tensors, state_rows)
        return loaded.trimmer.trim(outputs, sizes, full, self._hook.remove_padding)


def _state_rows(loaded: LoadedGraph, bucket: Bucket, rows: int, first: int) -> tuple[int, int] | None:
    """Return which rows of its states a call uses; a graph with a fixed batch uses all of them, and None says so."""
    capacity = bucket.sizes.get(BATCH, rows)
    if first + rows > capacity or first < 0:
        raise InputError(
            f"Graph {loaded.name!r} keeps a state for each of its {capacity} rows; the call has {rows}, from row {first} on.\n"
            f"Try: fewer rows a call, or compile with a larger batch_size."
        )
    if BATCH in bucket.bounds:
        return None if rows == capacity else (first, rows)
    if first:
        raise InputError(
            f"Graph {loaded.name!r} was compiled for all {capacity} rows at once: a call begins with row 0."
        )
    return None


def open_session(artifact: Artifact, backend: Backend, placement: str | None = None) -> Session:
    """
    Open every graph of an artifact and bind one copy of its weights to all of them.

    Raises:
        ArtifactIncompatibleError: It was compiled for another machine or other versions.
        WeightsError: The weights do not fit a graph.
    """
    manifest = artifact.manifest
    if reason := backend.incompatibility(manifest.fingerprint):
        raise ArtifactIncompatibleError(f"{artifact.path} cannot run here: {reason}.\nTry: {manifest.rebuild}")
    backend = backend.place(manifest, placement)
    weights: dict[str, torch.Tensor] = {}
    if manifest.weights:
        file = artifact.path / manifest.weights.file
        weights = read(file)
        if packed := _packed(manifest.graphs, weights):
            # Mapped once more, so that these pages can go when everything is packed.
            weights |= {name: tensor for name, tensor in read(file).items() if name in packed}
    return Session(artifact, backend, open_graphs(artifact.path, manifest.graphs, backend, weights))


def open_graphs(
    directory: Path, records: Iterable[CompiledGraphRecord], backend: Backend, weights: Mapping[str, torch.Tensor]
) -> dict[str, LoadedGraph]:
    """Open the graphs in a directory over the given weights, after checking that they fit."""
    declared = list(records)
    first = backend.capabilities.opened_first
    packed = _packed(declared, weights)
    graphs = {}
    for record in sorted(declared, key=lambda record: record.kind not in first):
        own = of_graph(record.name, weights)
        runners = []
        for bucket in record.buckets:
            check(own, bucket.constants)
            constants = [
                attrs.evolve(constant, packed=f"{record.name}{SCOPE}{constant.name}" in packed)
                for constant in bucket.constants
            ]
            runners.append(backend.load(directory, attrs.evolve(bucket, constants=constants), own))
        graphs[record.name] = LoadedGraph(record, runners, backend.capabilities.many_rows.get(record.kind or ""))
    return {record.name: graphs[record.name] for record in declared}


def _packed(records: Iterable[CompiledGraphRecord], weights: Mapping[str, torch.Tensor]) -> set[str]:
    """Return the names of the weights that all graphs take packed: another copy of one that some graph reads is not worth it."""
    takers: dict[int, list[tuple[str, bool]]] = {}
    for record in records:
        for constant in (constant for bucket in record.buckets for constant in bucket.constants):
            name = f"{record.name}{SCOPE}{constant.name}"
            if name in weights:
                takers.setdefault(id(weights[name]), []).append((name, constant.packed))
    return {name for taken in takers.values() if all(packed for _, packed in taken) for name, _ in taken}
