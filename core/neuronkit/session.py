"""A loaded artifact: graphs on a device, together with the hooks that run them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import torch

from neuronkit.artifact.manifest import CompiledGraphRecord, Manifest
from neuronkit.artifact.reader import Artifact
from neuronkit.artifact.weights_file import read
from neuronkit.backends.base import Rebindable
from neuronkit.buckets import Bucket, chunks
from neuronkit.callers import without_settings
from neuronkit.errors import ArtifactIncompatibleError, InputError, WeightsError
from neuronkit.loaded_graph import LoadedGraph
from neuronkit.manager import ask
from neuronkit.padding import pad
from neuronkit.processors import require_there
from neuronkit.shape_names import BATCH
from neuronkit.state import Turns, make_state
from neuronkit.weights import SCOPE, check, fit, make_once, of_graph

if TYPE_CHECKING:
    from neuronkit.backends.base import Backend

__all__ = ["LoadedGraph", "Session", "open_graphs", "open_session"]


class Session:
    """
    A loaded artifact.

    Args:
        artifact: What was loaded.
        backend: What runs it.
        graphs: The opened graphs by name.

    Its `state` holds the tensors that the graphs keep between calls, by name, and `turns` says who uses them. In `extras` is
    what a public class keeps with it, by names of its own; a copy begins with none.

    Raises:
        ExportConfigError: Two graphs declare a state of the same name and different sizes.
    """

    def __init__(self, artifact: Artifact, backend: Backend, graphs: Mapping[str, LoadedGraph]) -> None:
        self.artifact = artifact
        self.backend = backend
        self.graphs = dict(graphs)
        self.state = make_state(self.graphs.values())
        self.turns = Turns()
        for loaded in self.graphs.values():
            loaded.bind(self.state)
        self.extras: dict[str, Any] = {}
        self._hook: Any = None
        self._opened_with: tuple[str | None, str | None] = (None, None)
        self._replaced: set[str] = set()

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

    def attach(self, hook: Any, *, task: str | None = None, placement: str | None = None) -> None:
        """
        Keep the hooks that loaded the session; every later call goes through them.

        Args:
            hook: The hooks.
            task: The task that was asked for at loading, for copies.
            placement: The placement that was asked for, for copies.
        """
        self._hook = hook
        self._opened_with = (task, placement)

    def __reduce__(self) -> tuple[Any, ...]:
        """
        Be copied and pickled as the artifact's path: the copy opens it anew, and its states begin empty.

        Raises:
            WeightsError: Weights were replaced since: the copy would have the artifact's.
        """
        from neuronkit.loading import reopen

        if self._replaced:
            raise WeightsError(
                f"Weights of {', '.join(sorted(self._replaced))} were replaced after {self.artifact.path} was loaded, and a copy "
                "would not have them.\nTry: load the artifact where the copy is needed, and replace them there."
            )
        return reopen, (str(self.artifact.path), *self._opened_with)

    def reset(self) -> None:
        """Fill every state with zeros, as it was at first."""
        for tensor in self.state.values():
            tensor.zero_()

    def weights(self, graph: str) -> dict[str, torch.Tensor]:
        """
        Return the weights of a graph as the artifact has them, by name in the traced module.

        Raises:
            ArtifactNotFoundError: The artifact's directory is gone.
            WeightsError: They are inside the graph.
        """
        manifest = self.manifest
        require_there(self.artifact.path)
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
        self._replaced.add(graph)

    def forward(self, graph: str, inputs: Mapping[str, torch.Tensor], row: int = 0) -> dict[str, torch.Tensor]:
        """Run a graph through the hook of that name; see `neuronkit.hooks.forward`."""
        outputs: dict[str, torch.Tensor] = ask(self._hook, "forward", session=self, graph=graph, inputs=inputs, row=row)
        return outputs

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
        if loaded.keeps_state:
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


@without_settings()
def open_session(artifact: Artifact, backend: Backend, placement: str | None = None) -> Session:
    """
    Open every graph of an artifact and bind one copy of its weights to all of them.

    Raises:
        ArtifactIncompatibleError: It was compiled for another machine or other versions.
        WeightsError: The weights do not fit a graph.
    """
    manifest = artifact.manifest
    if reason := backend.cannot_run():
        raise ArtifactIncompatibleError(
            f"{artifact.path} cannot run here: {reason}.\nTry: a machine that can run it, or neuronkit doctor."
        )
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
    try:
        graphs = open_graphs(artifact.path, manifest.graphs, backend, weights)
    except ArtifactIncompatibleError as error:
        raise ArtifactIncompatibleError(
            f"{artifact.path} cannot run here: {error}.\nTry: {manifest.rebuild}"
        ) from error.__cause__
    return Session(artifact, backend, graphs)


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
