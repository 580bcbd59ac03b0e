"""``neuronkit inspect``: what an artifact is, without loading it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from neuronkit.cli.parser import CommandParser
from neuronkit.cli.printing import format_size, format_table, print_json

if TYPE_CHECKING:
    from neuronkit.artifact.manifest import CompiledBucket, Manifest
    from neuronkit.artifact.reader import Artifact

SUMMARY = "Describe an artifact: key, plugin, backend, shapes, graphs, validation."

_ABOUT = """
Reads the manifest only: nothing is loaded, no plugin is imported, and the artifact may be for another machine.

JSON: everything in the manifest ("schema", "key", "plugin", "backend", "fingerprint", "source", "shapes", "options",
"plugin_options", "graphs", "weights", "side_files", "validation", "rebuild", ...), and "path", "size" in bytes,
"exporter" ("neuronkit", or "optimum-neuron", whose artifacts are described in the same words) and "verified", which is
true after --verify and else null.

Exit status: 1 if there is no artifact, or --verify found a file that is missing, truncated or edited, or no digests.
"""
_EXAMPLES = """
neuronkit inspect ./my-artifact
neuronkit inspect ./my-artifact --verify --json
"""


def configure(parser: CommandParser) -> None:
    """Add the arguments."""
    parser.describe(_ABOUT, usage="ARTIFACT [--json] [--verify]", commands=_EXAMPLES)
    parser.add_argument("artifact", metavar="ARTIFACT", help="Directory of the artifact.")
    parser.add_argument("--json", action="store_true", help="Print JSON.")
    parser.add_argument(
        "--verify", action="store_true", help="Compare the digest of every file with the manifest, weights included."
    )


def run(arguments: argparse.Namespace) -> int:
    """Describe the artifact."""
    from neuronkit.artifact.reader import open_artifact, verify

    artifact = open_artifact(arguments.artifact)
    if arguments.verify:
        verify(artifact, weights=True)
    if arguments.json:
        print_json(_as_json(artifact, verified=arguments.verify))
    else:
        print(describe(artifact, verified=arguments.verify))
    return 0


def describe(artifact: Artifact, *, verified: bool = False) -> str:
    """Return what `run` prints for people."""
    manifest = artifact.manifest
    facts = [
        ("artifact", str(artifact.path)),
        ("key", manifest.key),
        ("plugin", "chosen at load" if artifact.exporter else _provider(manifest)),
        ("backend", manifest.backend),
        (
            "source",
            _join(manifest.source.model, revision=manifest.source.revision, subfolder=manifest.source.subfolder),
        ),
        ("shapes", _join(**{name: ",".join(map(str, sizes)) for name, sizes in manifest.shapes.items()})),
        ("options", _join(**manifest.options, **manifest.plugin_options)),
        ("weights", _weights(manifest)),
        ("validation", _validation(manifest)),
        ("size", format_size(_size(manifest))),
        ("files", _files(artifact, verified=verified)),
        (artifact.exporter or "neuronkit", manifest.neuronkit or f"neuronx-cc {manifest.fingerprint['neuronx_cc']}"),
        ("rebuild", manifest.rebuild),
    ]
    width = max(len(name) for name, _ in facts) + 2
    lines = [f"{name:<{width}}{text}" for name, text in facts]
    rows = [
        [graph.name, graph.kind or "-", _sizes(bucket), format_size(sum(file.size for file in bucket.files))]
        for graph in manifest.graphs
        for bucket in graph.buckets
    ]
    lines += ["", format_table(["GRAPH", "KIND", "SIZES", "SIZE"], rows)]
    for graph in manifest.graphs:
        lines.append("")
        lines += [f"{graph.name} takes   {input.name} {_axes(input.axes)} {input.dtype}" for input in graph.inputs]
        lines += [f"{graph.name} returns {output.name} {_axes(output.axes)}" for output in graph.outputs]
    return "\n".join(lines)


def _as_json(artifact: Artifact, *, verified: bool) -> dict[str, Any]:
    from neuronkit.artifact.manifest import unstructure

    manifest = artifact.manifest
    return {
        "path": artifact.path,
        "size": _size(manifest),
        "verified": verified or None,
        "exporter": artifact.exporter or "neuronkit",
        **unstructure(manifest),
    }


def _files(artifact: Artifact, *, verified: bool) -> str:
    if artifact.exporter:
        return f"not verified: {artifact.exporter} records no digests"
    return "verified" if verified else "not verified (--verify)"


def _provider(manifest: Manifest) -> str:
    made_by = manifest.plugin
    return f"{made_by.package} {made_by.version}" if made_by.package else "registered by a program"


def _size(manifest: Manifest) -> int:
    return sum(file.size for file in manifest.files()) + (manifest.weights.size if manifest.weights else 0)


def _validation(manifest: Manifest) -> str:
    validation = manifest.validation
    if validation.max_abs_diff is None:
        return validation.status
    return (
        f"{validation.status}: max abs difference from eager {validation.max_abs_diff:.2g}, "
        f"allowed {validation.tolerance:g}, {len(validation.checks)} comparisons"
    )


def _weights(manifest: Manifest) -> str:
    if manifest.weights is None:
        return "inside the graphs"
    inside = [graph.name for graph in manifest.graphs if graph.inline_weights]
    return f"apart, {format_size(manifest.weights.size)}" + (f"; inside: {', '.join(inside)}" if inside else "")


def _sizes(bucket: CompiledBucket) -> str:
    return _join(
        **{
            axis: f"{bucket.bounds[axis][0]}..{size}" if axis in bucket.bounds else size
            for axis, size in bucket.sizes.items()
        }
    )


def _axes(axes: Any) -> str:
    return f"[{', '.join(map(str, axes))}]"


def _join(*words: str, **facts: Any) -> str:
    return " ".join([*words, *(f"{name}={value}" for name, value in facts.items() if value is not None)])
