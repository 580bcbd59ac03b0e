"""The compile journey: model -> source -> key -> plugin -> export config -> compiled graphs -> validated artifact."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import attrs
from torch import nn

from neuronkit import __version__, weights
from neuronkit.artifact import manifest as manifests
from neuronkit.artifact.cache import CacheEntry, GraphCache, content_key, copy_into, private_cache
from neuronkit.artifact.manifest import (
    SCHEMA,
    CompiledGraphRecord,
    Manifest,
    PluginRecord,
    SourceRecord,
    Validation,
)
from neuronkit.artifact.reader import Artifact, remember
from neuronkit.artifact.references import Reference, references_of
from neuronkit.artifact.side_files import write_side_files
from neuronkit.artifact.store import atomic_directory, copy_files, require_free
from neuronkit.artifact.validation import write_and_validate
from neuronkit.backends.base import Backend, CompiledGraph
from neuronkit.buckets import Bucket
from neuronkit.declaration import choose_buckets, declare, read_request, refuse_shared_states
from neuronkit.errors import OutputExistsError, ValidationError
from neuronkit.export.capture import TracedModule
from neuronkit.export.config import ExportConfig, Graph
from neuronkit.export.identity import (
    canonical,
    config_identity,
    libraries,
    module_identity,
    module_structure,
    package_sources,
    plugin_identity,
)
from neuronkit.export.layout import channels_last
from neuronkit.export.source import MODULES_FILE, Source
from neuronkit.memory import expected_memory
from neuronkit.options import CompileOptions, Parsed, as_json
from neuronkit.parallel import run_forked
from neuronkit.plugins import resolve_backend
from neuronkit.precision import in_precision, is_relative, tolerance, trace_module
from neuronkit.rebuild import rebuild_command
from neuronkit.shape_names import AXES_OF_SHAPES
from neuronkit.tasks import SENTENCES

Progress = Callable[[str], None]


@attrs.frozen
class Work:
    """
    One graph for one bucket, ready to be compiled or found in the cache.

    Args:
        graph: The graph.
        bucket: The bucket.
        module: What the backend compiles.
        key: Of its content.
    """

    graph: Graph
    bucket: Bucket
    module: TracedModule
    key: str


def compile_model(
    model: str | Path,
    output: str | Path,
    *,
    task: str | None,
    backend: str,
    given: Mapping[str, Any],
    progress: Progress = lambda _: None,
) -> Artifact:
    """
    Compile a model into an artifact. See `neuronkit.compile`.

    Args:
        model: Directory or hub id.
        output: The artifact's directory.
        task: Task, alias, or ``task@package``; None infers it from the checkpoint.
        backend: Name of the backend.
        given: Shapes and options.
        progress: Called with a line of text at every step.
    """
    started = time.perf_counter()
    target = Path(output).expanduser()
    request = read_request(model, task, given)
    source, loaded, parsed = request.source, request.loaded, request.parsed
    options = parsed.compile
    require_free(target, force=options.force)
    _spare_the_model(source, target)
    engine = resolve_backend(backend)
    engine.check_options(options)
    progress(f"{loaded.info.key} from {loaded.info.provider}, backend {backend}")
    if (source.path / MODULES_FILE).is_file() and loaded.info.key.split(".", 1)[1] == "feature-extraction":
        progress(
            f"note: a sentence transformer, whose {MODULES_FILE} goes unused: --task {SENTENCES} gives its embeddings"
        )

    shapes, config, module = declare(request)
    progress("model loaded")
    if options.auto_cast != "none" and engine.emulates(options.auto_cast_type):
        progress(f"note: no {options.auto_cast_type} arithmetic here: products in fp32 on operands rounded to it")

    refuse_shared_states(config.graphs, engine.capabilities)
    works = []
    for declared in config.graphs:
        graph = in_precision(settle_weights(declared, options, engine), options, engine)
        wrapped = (graph.wrap(module) if graph.wrap else module).eval()
        buckets = choose_buckets(graph, shapes, engine.capabilities, static=options.static, optlevel=options.optlevel)
        if graph.state and engine.capabilities.state_on_device:
            progress(
                f"note: graph {graph.name!r} keeps its state on the device, and runs in pieces of {buckets[0].label}"
            )
        works += [(graph, bucket, wrapped) for bucket in buckets]
    obstacle = engine.cannot_run()
    references: Iterator[Reference] = iter(())
    if options.validate and not obstacle:
        references = references_of(works, source.config, module, empty_states=engine.capabilities.state_on_device)
    if options.auto_cast == "all":  # which converts the eager model itself
        references = iter(list(references))
    jobs = _prepare(works, source, loaded.plugin, engine, options, parsed)

    with ExitStack() as stack:
        cache = GraphCache() if options.cache else stack.enter_context(private_cache())
        directory = stack.enter_context(atomic_directory(target, force=options.force))
        missing = [job for job in jobs if job.key not in cache]
        if options.jobs > 1 and len(missing) > 1:
            progress(f"{len(missing)} graphs, up to {options.jobs} at the same time")
            run_forked(
                [partial(_compile_one, job, cache, request.hook, engine, options) for job in missing],
                options.jobs,
                expected_memory(max(map(_inside_bytes, missing))),
            )
        entries = []
        records: dict[str, CompiledGraphRecord] = {}
        for job in jobs:
            entry = _compile_one(job, cache, request.hook, engine, options, partial(_copy, job, directory, records))
            entries.append(entry)
            how = "from the cache" if entry.hit else "compiled"
            progress(f"{entry.label} {how} ({time.perf_counter() - started:.1f} s)")
        graphs = list(records.values())
        gate = make_gate(config, options, obstacle)
        try:
            weights_file, report = write_and_validate(
                directory, graphs, _fit_weights(jobs, entries), engine, references, gate
            )
        except ValidationError as error:
            if not any(entry.hit for entry in entries):
                raise
            raise ValidationError(
                f"{error}\nGraphs came from the cache. If code that they depend on has changed, try: --no-cache."
            ) from error
        progress(_describe(report, obstacle))
        manifest = Manifest(
            schema=SCHEMA,
            neuronkit=__version__,
            key=loaded.info.key,
            plugin=PluginRecord(loaded.info.package, loaded.info.version),
            backend=backend,
            fingerprint=engine.fingerprint(options),
            source=source_record(source),
            shapes=_recorded_shapes(config, shapes, parsed),
            options=as_json(options),
            plugin_options=as_json(parsed.plugin, "compile"),
            output_class=_qualified_name(config.output_class),
            graphs=graphs,
            weights=weights_file,
            side_files=write_side_files(source, config, shapes, directory),
            validation=report,
            rebuild=rebuild_command(source, request.key, backend, given, target),
            libraries=libraries(),
        )
        manifests.dump(manifest, directory)
    if manifest.weights is not None:
        remember(target / manifest.weights.file, manifest.weights)
    progress(f"{target} written ({time.perf_counter() - started:.1f} s)")
    return Artifact(target.absolute(), manifest)


def make_gate(config: ExportConfig, options: CompileOptions, obstacle: str | None) -> Validation:
    """
    Return the gate's report before it was run.

    Args:
        config: What is compiled.
        options: The core's.
        obstacle: Why this machine cannot run the graphs, or None.
    """
    status = "passed"
    if not options.validate:
        status = "not run (disabled)"
    elif obstacle:
        status = "not run (no device)"
    return Validation(status, tolerance(config, options), relative=is_relative(config, options))


def _spare_the_model(source: Source, target: Path) -> None:
    """
    Refuse to replace what is compiled.

    Raises:
        OutputExistsError: The output is the model's directory, or holds it.
    """
    output = target.resolve()
    for path in (source.path.resolve(), Path(source.model).expanduser().resolve()):
        if path.exists() and (path == output or output in path.parents):
            raise OutputExistsError(f"{target} holds the model that is compiled. Try: another directory.")


def _describe(report: Validation, obstacle: str | None) -> str:
    if report.max_abs_diff is not None:
        return f"validated: max abs difference {report.max_abs_diff:.2g}"
    return f"validation {report.status}" + (f": {obstacle}" if obstacle else "")


def _recorded_shapes(config: ExportConfig, shapes: Mapping[str, list[int]], parsed: Parsed) -> dict[str, list[int]]:
    """Return the shapes that were given or that feed an axis; defaults that mean nothing to the model are left out."""
    axes = {axis for graph in config.graphs for axis in graph.axes}
    kept = {*parsed.shapes, *config.shapes}
    return {
        name: list(sizes) for name, sizes in shapes.items() if name in kept or AXES_OF_SHAPES.get(name, name) in axes
    }


def _prepare(
    works: list[tuple[Graph, Bucket, nn.Module]],
    source: Source,
    plugin: object,
    engine: Backend,
    options: CompileOptions,
    parsed: Parsed,
) -> list[Work]:
    jobs = []
    common = {
        "model": config_identity(source.config),
        "plugin": plugin_identity(plugin, source),
        "plugin_options": as_json(parsed.plugin, "compile"),
        "backend": [engine.name, engine.fingerprint(options), package_sources(type(engine).__module__)],
        # Backends take parts of each other's packages.
        "neuronkit": [__version__, package_sources("neuronkit.export"), package_sources("neuronkit.backends.base")],
    }
    for graph, bucket, wrapped in works:
        inline = graph.hints.inline_weights
        traced = trace_module(graph, wrapped, options, engine)
        with _layout(graph, traced, engine):
            tensors = weights.module_tensors(traced)
            described = weights.digest(tensors) if inline else weights.signature(tensors)
        parts = common | {
            "graph": attrs.asdict(graph, filter=attrs.filters.exclude("wrap", "probe")),
            "bucket": [bucket.sizes, bucket.bounds],
            "module": module_identity(traced),
            "options": [options.optlevel, options.auto_cast, options.auto_cast_type, inline],
            "emulated": options.auto_cast != "none" and engine.emulates(options.auto_cast_type),
            "weights": described,
        }
        jobs.append(Work(graph, bucket, traced, content_key(canonical(parts))))
    return jobs


def settle_weights(graph: Graph, options: CompileOptions, engine: Backend) -> Graph:
    """Return a graph whose hints say whether its weights go inside: as the caller says, else the backend, else the plugin."""
    choices = (options.inline_weights, engine.capabilities.inline_weights, graph.hints.inline_weights)
    inline = next(choice for choice in choices if choice is not None)
    inline = inline or not engine.capabilities.weights_apart
    return attrs.evolve(graph, hints=attrs.evolve(graph.hints, inline_weights=inline))


def _inside_bytes(job: Work) -> int:
    """Return the size of the weights that go inside a graph; those apart need no memory while it is compiled."""
    inline = job.graph.hints.inline_weights
    return sum(tensor.nbytes for tensor in weights.module_tensors(job.module).values()) if inline else 0


def _layout(graph: Graph, module: nn.Module, engine: Backend) -> AbstractContextManager[None]:
    hints = graph.hints
    apart = engine.capabilities.channels_last and not hints.inline_weights
    return channels_last(module) if hints.channels_last and apart else nullcontext()


def _compile_one(
    job: Work,
    cache: GraphCache,
    hook: Any,
    engine: Backend,
    options: CompileOptions,
    use: Callable[[CacheEntry], None] = lambda _: None,
) -> CacheEntry:
    options = attrs.evolve(options, inline_weights=job.graph.hints.inline_weights)

    def compile(directory: Path) -> CompiledGraph:
        with _layout(job.graph, job.module, engine):
            compiled: CompiledGraph = hook.compile(
                graph=job.graph,
                bucket=job.bucket,
                module=job.module,
                backend=engine,
                options=options,
                directory=directory,
            )
        if not compiled.directory.samefile(directory):
            copy_files(compiled.directory, directory)
        return attrs.evolve(compiled, directory=directory)

    label = f"{job.graph.name} {job.bucket.label}"
    return cache.get_or_compile(job.key, label, job.bucket, compile, use)


def _copy(job: Work, directory: Path, records: dict[str, CompiledGraphRecord], entry: CacheEntry) -> None:
    """Copy an entry's files into an artifact, and add its bucket to the record of its graph."""
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


def _fit_weights(jobs: list[Work], entries: list[CacheEntry]) -> dict[str, weights.Fitted]:
    tensors: dict[str, weights.Fitted] = {}
    for job, entry in zip(jobs, entries, strict=True):
        fitted = weights.fit(weights.module_tensors(job.module), entry.record.constants)
        tensors |= weights.scoped(job.graph.name, fitted)
    return tensors


def source_record(source: Source) -> SourceRecord:
    """Return what the manifest says of the checkpoint."""
    return SourceRecord(source.model, source.options.revision, source.options.subfolder, source.trust_remote_code)


def _qualified_name(output_class: type | None) -> str | None:
    return None if output_class is None else f"{output_class.__module__}:{output_class.__qualname__}"
