"""The compile journey: model -> source -> key -> plugin -> export config -> compiled graphs -> validated artifact."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from neuronkit import __version__
from neuronkit.artifact import manifest as manifests
from neuronkit.artifact.cache import GraphCache, private_cache
from neuronkit.artifact.manifest import (
    SCHEMA,
    CompiledGraphRecord,
    Manifest,
    PluginRecord,
    SourceRecord,
    Validation,
)
from neuronkit.artifact.reader import Artifact, remember
from neuronkit.artifact.side_files import write_side_files
from neuronkit.artifact.store import atomic_directory, require_free
from neuronkit.backends.base import Backend
from neuronkit.buckets import Bucket
from neuronkit.callers import without_settings
from neuronkit.compilation.declaration import Request, choose_buckets, declare, read_request, refuse_shared_states
from neuronkit.compilation.jobs import fit_weights, identity, keep, make_job, run_job, settle_weights
from neuronkit.compilation.parallel import run_forked
from neuronkit.compilation.precision import in_precision, is_relative, tolerance
from neuronkit.compilation.rebuild import rebuild_command, task_word
from neuronkit.errors import OutputExistsError, SourceError, ValidationError
from neuronkit.export.config import ExportConfig, Graph
from neuronkit.export.identity import libraries
from neuronkit.export.source import MODULES_FILE, Source
from neuronkit.manager import blaming
from neuronkit.memory import expected_memory
from neuronkit.options import CompileOptions, Parsed, as_json
from neuronkit.paths import named_directory
from neuronkit.plugins import resolve_backend
from neuronkit.shape_names import axis_of
from neuronkit.tasks import SENTENCES
from neuronkit.turns import in_turn
from neuronkit.validation.declared import references_of
from neuronkit.validation.gate import write_and_validate
from neuronkit.validation.references import Reference

Progress = Callable[[str], None]


@in_turn("compile")
@without_settings()
def compile_model(
    model: str | Path,
    output: str | Path,
    *,
    task: str | None,
    backend_name: str,
    given: Mapping[str, Any],
    progress: Progress = lambda _: None,
) -> Artifact:
    """
    Compile a model into an artifact, one at a time in this process. See `neuronkit.compile`.

    Args:
        model: Directory or hub id.
        output: The artifact's directory.
        task: Task, alias, or ``task@package``; None infers it from the checkpoint.
        backend_name: Name of the backend.
        given: Shapes and options.
        progress: Called with a line of text at every step.
    """
    started = time.perf_counter()
    target = named_directory(output, "The output")
    request = read_request(model, task, given)
    source, loaded, parsed = request.source, request.loaded, request.parsed
    options = parsed.compile
    require_free(target, force=options.force)
    _spare_the_model(source, target)
    backend = resolve_backend(backend_name)
    backend.check_options(options)
    progress(f"{loaded.info.key} from {loaded.info.provider}, backend {backend_name}")
    if (source.path / MODULES_FILE).is_file() and loaded.info.task == "feature-extraction":
        progress(
            f"note: a sentence transformer, whose {MODULES_FILE} goes unused: --task {SENTENCES} gives its embeddings"
        )

    shapes, config, module = declare(request)
    progress("model loaded")
    if options.auto_cast != "none" and backend.emulates(options.auto_cast_type):
        progress(f"note: no {options.auto_cast_type} arithmetic here: products in fp32 on operands rounded to it")

    refuse_shared_states(config.graphs, backend.capabilities)
    planned = _plan(config, shapes, module, backend, request, progress)
    obstacle = backend.cannot_run()
    references: Iterator[Reference] = iter(())
    if options.validate and not obstacle:
        on_device = backend.capabilities.state_on_device
        references = references_of(planned, source.config, module, empty_states=on_device)
    if options.auto_cast == "all":  # which converts the eager model itself
        references = iter(list(references))
    common = identity(source, loaded.plugin, parsed.plugin, backend, options)
    jobs = [make_job(graph, bucket, wrapped, backend, options, common) for graph, bucket, wrapped in planned]

    with ExitStack() as stack:
        cache = GraphCache() if options.cache else stack.enter_context(private_cache())
        directory = stack.enter_context(atomic_directory(target, force=options.force))
        missing = [job for job in jobs if job.key not in cache]
        if options.jobs > 1 and len(missing) > 1:
            progress(f"{len(missing)} graphs, up to {options.jobs} at the same time")
            run_forked(
                [partial(run_job, job, cache, request.hook, backend, options) for job in missing],
                options.jobs,
                expected_memory(max(job.inside_bytes for job in missing)),
            )
        entries = []
        records: dict[str, CompiledGraphRecord] = {}
        for job in jobs:
            entry = run_job(job, cache, request.hook, backend, options, partial(keep, job, directory, records))
            entries.append(entry)
            how = "from the cache" if entry.hit else "compiled"
            progress(f"{entry.label} {how} ({time.perf_counter() - started:.1f} s)")
        graphs = list(records.values())
        gate = make_gate(config, options, obstacle)
        try:
            weights_file, report = write_and_validate(
                directory, graphs, fit_weights(jobs, entries), backend, references, gate
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
            backend=backend_name,
            fingerprint=backend.fingerprint(options),
            source=source_record(source),
            shapes=_recorded_shapes(config, shapes, parsed),
            options=as_json(options),
            plugin_options=as_json(parsed.plugin, "compile"),
            output_class=_qualified_name(config.output_class),
            graphs=graphs,
            weights=weights_file,
            side_files=write_side_files(source, config, shapes, directory),
            validation=report,
            rebuild=rebuild_command(source, task_word(source, request.key), backend_name, given, target),
            libraries=libraries(),
        )
        manifests.dump(manifest, directory)
    if manifest.weights is not None:
        remember(target / manifest.weights.file, manifest.weights)
    progress(f"{target} written ({time.perf_counter() - started:.1f} s)")
    return Artifact(target.absolute(), manifest)


def _plan(
    config: ExportConfig,
    shapes: Mapping[str, list[int]],
    module: nn.Module,
    backend: Backend,
    request: Request,
    progress: Progress,
) -> list[tuple[Graph, Bucket, nn.Module]]:
    """Return every graph with each of its buckets, and the module that the plugin makes of the model for it."""
    options = request.parsed.compile
    planned = []
    for declared in config.graphs:
        graph = in_precision(settle_weights(declared, options, backend), options, backend)
        with blaming(request.hook, "export_config", "wrap"):
            wrapped = graph.wrapped(module)
        buckets = choose_buckets(graph, shapes, backend.capabilities, static=options.static, optlevel=options.optlevel)
        if graph.state and backend.capabilities.state_on_device:
            progress(
                f"note: graph {graph.name!r} keeps its state on the device, and runs in pieces of {buckets[0].label}"
            )
        planned += [(graph, bucket, wrapped) for bucket in buckets]
    return planned


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
    for path in (source.path.resolve(), named_directory(source.model, "The model", SourceError).resolve()):
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
    return {name: list(sizes) for name, sizes in shapes.items() if name in kept or axis_of(name) in axes}


def source_record(source: Source) -> SourceRecord:
    """Return what the manifest says of the checkpoint."""
    return SourceRecord(source.model, source.options.revision, source.options.subfolder, source.trust_remote_code)


def _qualified_name(output_class: type | None) -> str | None:
    return None if output_class is None else f"{output_class.__module__}:{output_class.__qualname__}"
