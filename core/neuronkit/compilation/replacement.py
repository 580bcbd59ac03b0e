"""Another checkpoint's weights under the graphs of an artifact that exists, without compiling."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from neuronkit import weights
from neuronkit.artifact import manifest as manifests
from neuronkit.artifact.cache import content_key
from neuronkit.artifact.manifest import Manifest, PluginRecord
from neuronkit.artifact.reader import Artifact, remember
from neuronkit.artifact.side_files import write_side_files
from neuronkit.artifact.store import atomic_directory
from neuronkit.buckets import Bucket
from neuronkit.callers import without_settings
from neuronkit.compilation.declaration import load_eager
from neuronkit.compilation.journey import make_gate, source_record
from neuronkit.compilation.precision import in_precision, trace_module
from neuronkit.compilation.rebuild import rebuild_command, task_word
from neuronkit.errors import WeightsError
from neuronkit.export.capture import TracedModule
from neuronkit.export.config import ExportConfig
from neuronkit.export.identity import config_identity, libraries, module_structure
from neuronkit.export.source import resolve_source
from neuronkit.loading import resolve_plugin
from neuronkit.manager import ask, make_manager, options_class
from neuronkit.options import CompileOptions, SourceOptions, as_chosen, build
from neuronkit.plugins import active_extensions, resolve_backend
from neuronkit.processors import read_config
from neuronkit.turns import in_turn
from neuronkit.validation.declared import references_of
from neuronkit.validation.gate import write_and_validate


@in_turn("compile")
@without_settings()
def bind_checkpoint(artifact: Artifact, checkpoint: str | Path, given: Mapping[str, Any], output: Path) -> Artifact:
    """
    Write an artifact of the same graphs with the weights, configuration and tokenizer of another checkpoint, validated.

    Args:
        artifact: Compiled with its weights apart.
        checkpoint: Directory or hub id.
        given: Fields of `SourceOptions`.
        output: Directory to write.

    Raises:
        WeightsError: The weights are inside the graphs; or the checkpoint's architecture, its number of labels, or the shape
            of a weight, differs.
        ValidationError: A graph differs from the checkpoint's eager model.
    """
    manifest = artifact.manifest
    if any(not bucket.constants for graph in manifest.graphs for bucket in graph.buckets):
        raise WeightsError(
            f"{artifact.path} was compiled with inline_weights=True: its weights are inside the graphs.\n"
            f"Try: compile with inline_weights=False, or compile the other checkpoint."
        )
    source = resolve_source(checkpoint, build(SourceOptions, given, "call"))
    _require_same_architecture(artifact, source.config, str(checkpoint))
    hook = make_manager(resolve_plugin(artifact).plugin, active_extensions()).hook
    plugin_options = build(options_class(hook), manifest.plugin_options, "compile")
    options = build(CompileOptions, manifest.options, "compile")
    config: ExportConfig = ask(hook, "export_config", source=source, shapes=manifest.shapes, options=plugin_options)
    _require_same_labels(artifact, source.config, config, str(checkpoint))
    module = load_eager(config)
    records = {record.name: record for record in manifest.graphs}

    backend = resolve_backend(manifest.backend)
    graphs = [in_precision(graph, options, backend) for graph in config.graphs]
    wrapped = {graph.name: graph.wrapped(module) for graph in graphs}
    works = [
        (graph, Bucket(compiled.sizes, compiled.bounds), wrapped[graph.name])
        for graph in graphs
        for compiled in records[graph.name].buckets
    ]
    obstacle = backend.cannot_run()
    checked = options.validate and not obstacle
    on_device = backend.capabilities.state_on_device
    references = list(references_of(works, source.config, module, empty_states=on_device)) if checked else []
    tensors: dict[str, weights.Fitted] = {}
    traced = {graph.name: trace_module(graph, wrapped[graph.name], options, backend) for graph in graphs}
    _require_same_modules(artifact, traced, str(checkpoint))
    for name, record in records.items():
        own = weights.module_tensors(traced[name])
        for compiled in record.buckets:
            tensors |= weights.scoped(name, weights.fit(own, compiled.constants))

    as_given = {
        **manifest.shapes,
        **as_chosen(CompileOptions, manifest.options),
        **as_chosen(options_class(hook), manifest.plugin_options),
    }
    with atomic_directory(output) as directory:
        for file in (file for record in manifest.graphs for bucket in record.buckets for file in bucket.files):
            target = directory / file.file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(artifact.path / file.file, target)
        weights_file, report = write_and_validate(
            directory, manifest.graphs, tensors, backend, references, make_gate(config, options, obstacle)
        )
        bound: Manifest = attrs.evolve(
            manifest,
            source=source_record(source),
            weights=weights_file,
            side_files=write_side_files(source, config, manifest.shapes, directory),
            validation=report,
            rebuild=rebuild_command(
                source, task_word(source, manifest.key), manifest.backend, as_given | dict(given), output
            ),
        )
        manifests.dump(bound, directory)
    if bound.weights is not None:
        remember(output / bound.weights.file, bound.weights)
    return Artifact(output, bound)


def _require_same_labels(
    artifact: Artifact, config: Mapping[str, Any], export_config: ExportConfig, checkpoint: str
) -> None:
    """Compare how many labels there are, where an output has their number: no field of a configuration that is compared says it."""
    compiled = [[output.axes for output in record.outputs] for record in artifact.manifest.graphs]
    if compiled == [[output.axes for output in graph.outputs] for graph in export_config.graphs]:
        return
    ours, theirs = _count_labels(read_config(artifact.path)), _count_labels(config)
    if ours != theirs:
        raise WeightsError(
            f"{checkpoint} has another number of labels than {artifact.path} was compiled for: {theirs}, and not {ours}.\n"
            "Try: neuronkit compile for this checkpoint."
        )


def _count_labels(config: Mapping[str, Any]) -> int:
    """Return how many labels transformers takes a configuration to have."""
    return len(config.get("id2label") or ()) or int(config.get("num_labels") or 2)


def _require_same_modules(artifact: Artifact, traced: Mapping[str, TracedModule], checkpoint: str) -> None:
    """Compare what no configuration says, where the same code made both: a sentence transformer's pooling, say."""
    manifest = artifact.manifest
    plugin = resolve_plugin(artifact).info
    if manifest.libraries != libraries() or manifest.plugin != PluginRecord(plugin.package, plugin.version):
        return
    for record in manifest.graphs:
        if record.structure not in (None, content_key(module_structure(traced[record.name].module))):
            raise WeightsError(
                f"{checkpoint} is another architecture than {artifact.path} was compiled for: the configuration is the same, and "
                f"graph {record.name!r} has other modules, or modules with other settings (the pooling of a sentence "
                "transformer, an activation).\nTry: neuronkit compile for this checkpoint."
            )


def _require_same_architecture(artifact: Artifact, config: Mapping[str, Any], checkpoint: str) -> None:
    ours = config_identity(read_config(artifact.path))
    theirs = config_identity(config)
    different = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    if different:
        shown = ", ".join(f"{name} ({ours.get(name)!r}, now {theirs.get(name)!r})" for name in different[:5])
        raise WeightsError(
            f"{checkpoint} is another architecture than {artifact.path} was compiled for: {shown}.\n"
            "Try: neuronkit compile for this checkpoint."
        )
