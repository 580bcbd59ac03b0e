"""What a compile has to do: one job for each graph and bucket, done anew or found in the cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import attrs
from torch import nn

from neuronkit import __version__, weights
from neuronkit.artifact.cache import CacheEntry, GraphCache, content_key, copy_into
from neuronkit.artifact.manifest import CompiledGraphRecord
from neuronkit.artifact.store import copy_files
from neuronkit.artifact.weights_file import require_storable
from neuronkit.backends.base import Backend, CompiledGraph
from neuronkit.buckets import Bucket
from neuronkit.compilation.precision import trace_module
from neuronkit.export.capture import TracedModule
from neuronkit.export.config import Graph
from neuronkit.export.identity import (
    canonical,
    config_identity,
    module_identity,
    module_structure,
    package_sources,
    plugin_identity,
)
from neuronkit.export.layout import channels_last
from neuronkit.export.source import Source
from neuronkit.manager import ask
from neuronkit.options import CompileOptions, as_json


@attrs.frozen
class GraphJob:
    """
    One graph for one bucket.

    Args:
        graph: The graph.
        bucket: The bucket.
        module: What the backend compiles.
        key: Of everything that the compiled graph depends on.
    """

    graph: Graph
    bucket: Bucket
    module: TracedModule
    key: str

    @property
    def label(self) -> str:
        """How progress and the cache name it."""
        return f"{self.graph.name} {self.bucket.label}"

    @property
    def inside_bytes(self) -> int:
        """The size of the weights that go inside; those apart need no memory while the graph is compiled."""
        if not self.graph.hints.inline_weights:
            return 0
        return sum(tensor.nbytes for tensor in weights.module_tensors(self.module).values())


def identity(
    source: Source, plugin: object, plugin_options: Any, backend: Backend, options: CompileOptions
) -> dict[str, Any]:
    """Return what all graphs of a model depend on, whatever their bucket: configuration, code, options, versions."""
    return {
        "model": config_identity(source.config),
        "plugin": plugin_identity(plugin, source),
        "plugin_options": as_json(plugin_options, "compile"),
        "backend": [backend.name, backend.fingerprint(options), package_sources(type(backend).__module__)],
        # The parts that backends share are beside these.
        "neuronkit": [__version__, package_sources("neuronkit.export"), package_sources("neuronkit.backends.base")],
    }


def make_job(
    graph: Graph,
    bucket: Bucket,
    wrapped: nn.Module,
    backend: Backend,
    options: CompileOptions,
    common: Mapping[str, Any],
) -> GraphJob:
    """
    Describe a graph by what it depends on.

    Args:
        graph: Its hints say where its weights go; see `settle_weights`.
        bucket: The bucket.
        wrapped: What the graph's `wrap` returned.
        backend: What compiles it.
        options: The core's.
        common: The model's `identity`.

    Raises:
        WeightsError: A weight that stays apart is of a dtype that no file of weights holds.
    """
    inline = graph.hints.inline_weights
    traced = trace_module(graph, wrapped, options, backend)
    with _layout(graph, traced, backend):
        tensors = weights.module_tensors(traced)
        if not inline:
            require_storable(tensors)
        described = weights.digest(tensors) if inline else weights.signature(tensors)
    parts = {
        **common,
        "graph": attrs.asdict(graph, filter=attrs.filters.exclude("wrap", "probe")),
        "bucket": [bucket.sizes, bucket.bounds],
        "module": module_identity(traced),
        "options": [options.optlevel, options.auto_cast, options.auto_cast_type, inline],
        "emulated": options.auto_cast != "none" and backend.emulates(options.auto_cast_type),
        "weights": described,
    }
    return GraphJob(graph, bucket, traced, content_key(canonical(parts)))


def settle_weights(graph: Graph, options: CompileOptions, backend: Backend) -> Graph:
    """Return a graph whose hints say whether its weights go inside: as the caller says, else the backend, else the plugin."""
    choices = (options.inline_weights, backend.capabilities.inline_weights, graph.hints.inline_weights)
    inline = next(choice for choice in choices if choice is not None)
    inline = inline or not backend.capabilities.weights_apart
    return attrs.evolve(graph, hints=attrs.evolve(graph.hints, inline_weights=inline))


def run_job(
    job: GraphJob,
    cache: GraphCache,
    hook: Any,
    backend: Backend,
    options: CompileOptions,
    use: Callable[[CacheEntry], None] = lambda _: None,
) -> CacheEntry:
    """
    Compile a graph, unless the cache has it.

    Args:
        job: The graph.
        cache: Where it is kept.
        hook: The plugin's hooks.
        backend: What compiles.
        options: The core's.
        use: Called with the entry while nobody can remove it.
    """
    options = attrs.evolve(options, inline_weights=job.graph.hints.inline_weights)

    def compile(directory: Path) -> CompiledGraph:
        with _layout(job.graph, job.module, backend):
            compiled: CompiledGraph = ask(
                hook,
                "compile",
                graph=job.graph,
                bucket=job.bucket,
                module=job.module,
                backend=backend,
                options=options,
                directory=directory,
            )
        if not compiled.directory.samefile(directory):
            copy_files(compiled.directory, directory)
        return attrs.evolve(compiled, directory=directory)

    return cache.get_or_compile(job.key, job.label, job.bucket, compile, use)


def keep(job: GraphJob, directory: Path, records: dict[str, CompiledGraphRecord], entry: CacheEntry) -> None:
    """
    Copy a compiled graph into an artifact.

    Args:
        job: What was compiled.
        directory: The artifact.
        records: Of its graphs by name; gets the graph's if it is the first of its buckets, and the bucket.
        entry: What it is in the cache.
    """
    graph = job.graph
    if graph.name not in records:
        records[graph.name] = CompiledGraphRecord(
            graph.name,
            graph.kind,
            list(graph.inputs),
            list(graph.outputs),
            [],
            graph.hints.inline_weights,
            content_key(module_structure(job.module.module)),
        )
    copied = copy_into(entry, directory, f"{graph.name}/{job.bucket.label}")
    records[graph.name].buckets.append(copied)


def fit_weights(jobs: Sequence[GraphJob], entries: Sequence[CacheEntry]) -> dict[str, weights.Fitted]:
    """Return the weights that compiled graphs want bound, in the form in which they want them."""
    tensors: dict[str, weights.Fitted] = {}
    for job, entry in zip(jobs, entries, strict=True):
        fitted = weights.fit(weights.module_tensors(job.module), entry.record.constants)
        tensors |= weights.scoped(job.graph.name, fitted)
    return tensors


def _layout(graph: Graph, module: nn.Module, backend: Backend) -> AbstractContextManager[None]:
    hints = graph.hints
    apart = backend.capabilities.channels_last and not hints.inline_weights
    return channels_last(module) if hints.channels_last and apart else nullcontext()
