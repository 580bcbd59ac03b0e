"""``neuronkit.json``: what an artifact is, as attrs classes that read and write themselves as JSON."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import attrs
import cattrs

from neuronkit.errors import ArtifactCorruptError, ArtifactNotFoundError, ArtifactSchemaError
from neuronkit.export.config import Axis, Input, Output
from neuronkit.weights import Constant

T = TypeVar("T")

SCHEMA = 1
MANIFEST = "neuronkit.json"


def _inside(instance: Any, attribute: attrs.Attribute[str], path: str) -> None:
    """Refuse the path of a file that would lie outside of the artifact."""
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or parts[0].startswith("/"):
        raise ArtifactCorruptError(
            f"{attribute.name} must be a path within the artifact, relative and without '..' (got {path!r})"
        )


@attrs.frozen
class File:
    """
    A file of the artifact.

    Args:
        file: Path relative to the artifact's directory.
        sha256: Of its contents, in hexadecimal.
        size: In bytes.
    """

    file: str = attrs.field(validator=_inside)
    sha256: str
    size: int


@attrs.frozen
class CompiledBucket:
    """
    One graph compiled for one bucket.

    Args:
        sizes: Size of every axis; the largest one where the axis is dynamic.
        bounds: Smallest and largest size of the axes that are dynamic.
        entry: The file that the backend opens.
        files: All of its files.
        constants: The tensors bound at load; empty when the weights are inside.
    """

    sizes: dict[str, int]
    bounds: dict[str, tuple[int, int]]
    entry: str = attrs.field(validator=_inside)
    files: list[File]
    constants: list[Constant]


@attrs.frozen
class CompiledGraphRecord:
    """
    A graph with its inputs and outputs as the plugin declared them, and one record per bucket.

    Where the options leave `inline_weights` open, it says what was decided. `structure` is a digest of the module's classes and
    attributes, which the libraries and the plugin that the manifest names give again for the same architecture. Artifacts of
    earlier versions say neither.
    """

    name: str
    kind: str | None
    inputs: list[Input]
    outputs: list[Output]
    buckets: list[CompiledBucket]
    inline_weights: bool | None = None
    structure: str | None = None


@attrs.frozen
class Check:
    """
    One comparison with the eager model.

    Args:
        graph: Name of the graph.
        bucket: Label of its bucket.
        sizes: Sizes of the inputs that were compared.
        max_abs_diff: Largest absolute difference, by output.
    """

    graph: str
    bucket: str
    sizes: dict[str, int]
    max_abs_diff: dict[str, float]


@attrs.frozen
class Validation:
    """
    The validation gate's report.

    Args:
        status: ``"passed"``, or why it was not run: ``"not run (disabled)"``, ``"not run (no device)"``.
        tolerance: Largest absolute difference that was allowed.
        checks: What was compared.
        relative: Whether the tolerance was multiplied by an output's largest value.
    """

    status: str
    tolerance: float
    checks: list[Check] = attrs.field(factory=list)
    relative: bool = False

    @property
    def max_abs_diff(self) -> float | None:
        """The largest difference over all checks, or None when nothing was compared."""
        return max((diff for check in self.checks for diff in check.max_abs_diff.values()), default=None)


@attrs.frozen
class PluginRecord:
    """The plugin that made the artifact: its package and that package's version; None where a program registered it itself."""

    package: str | None
    version: str | None


@attrs.frozen
class SourceRecord:
    """The checkpoint: what the caller named, the revision asked for, and whether its own code was allowed to run."""

    model: str
    revision: str | None = None
    subfolder: str | None = None
    trust_remote_code: bool = False


@attrs.frozen
class Manifest:
    """
    All that is known about an artifact without opening its graphs.

    Args:
        schema: Version of this format.
        neuronkit: Version that wrote it.
        key: ``<architecture>.<task>``.
        plugin: Which package's plugin made it.
        backend: Name of the backend.
        fingerprint: What the graphs depend on beside the model, in the backend's words.
        source: The checkpoint it was made from.
        shapes: The shapes that were asked for, or their defaults.
        options: The core's options.
        plugin_options: The plugin's own.
        output_class: ``module:qualname`` of the class of the shell's outputs; None for the core's own.
        graphs: The compiled graphs.
        weights: The file of the weights that are apart, or None.
        side_files: Configuration and tokenizer.
        validation: The gate's report.
        rebuild: The command that makes it again.
        libraries: Versions of the libraries that the model's code is from; empty in artifacts of earlier versions.
    """

    schema: int
    neuronkit: str
    key: str
    plugin: PluginRecord
    backend: str
    fingerprint: dict[str, Any]
    source: SourceRecord
    shapes: dict[str, list[int]]
    options: dict[str, Any]
    plugin_options: dict[str, Any]
    output_class: str | None
    graphs: list[CompiledGraphRecord]
    weights: File | None
    side_files: list[File]
    validation: Validation
    rebuild: str
    libraries: dict[str, str | None] = attrs.field(factory=dict)

    @property
    def architecture(self) -> str:
        """The part of the key before the dot."""
        return self.key.split(".", 1)[0]

    @property
    def task(self) -> str:
        """The part of the key after the dot."""
        return self.key.split(".", 1)[1]

    def files(self) -> list[File]:
        """Return every file but the manifest and the weights."""
        return self.graph_files() + self.side_files

    def graph_files(self) -> list[File]:
        """Return the files of all graphs."""
        return [file for graph in self.graphs for bucket in graph.buckets for file in bucket.files]


def structure(record: Any, kind: type[T]) -> T:
    """Make an attrs instance of parsed JSON."""
    return _converter().structure(record, kind)


def unstructure(instance: Any) -> Any:
    """Make JSON-like data of an attrs instance."""
    return _converter().unstructure(instance)


@cache
def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=False)
    scalars = int | float | bool | None
    converter.register_structure_hook(Axis, lambda value, _: value)
    converter.register_structure_hook(int | float | bool, lambda value, _: value)
    converter.register_structure_hook(scalars, lambda value, _: value)
    return converter


def dump(manifest: Manifest, directory: Path) -> None:
    """Write the manifest into an artifact's directory."""
    text = json.dumps(unstructure(manifest), indent=1, sort_keys=True)
    (directory / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read(directory: Path) -> Manifest:
    """
    Read the manifest of an artifact.

    Raises:
        ArtifactNotFoundError: The directory has none.
        ArtifactSchemaError: It was written by a newer neuronkit.
        ArtifactCorruptError: It is not valid JSON, lacks a field, or names a file outside of the artifact.
    """
    file = directory / MANIFEST
    if not file.is_file():
        hint = (
            f"\nIt holds a checkpoint. Try: neuronkit compile --model {directory} OUTPUT, or from_pretrained(..., export=True)."
            if any((directory / name).is_file() for name in ("config.json", "model_index.json"))
            else ""
        )
        raise ArtifactNotFoundError(f"{directory} is not an artifact: there is no {MANIFEST} in it.{hint}")
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        schema = record["schema"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactCorruptError(
            f"{file} is truncated or not a manifest: {error}\nTry: compile the model again."
        ) from error
    if not isinstance(schema, int) or schema > SCHEMA:
        raise ArtifactSchemaError(
            f"{file} has schema {schema}, written by neuronkit {record.get('neuronkit')}; this version reads up to {SCHEMA}.\n"
            "Try: pip install --upgrade neuronkit"
        )
    try:
        return structure(record, Manifest)
    except cattrs.BaseValidationError as error:
        problems = "; ".join(cattrs.transform_error(error, format_exception=_describe)[:3])
        raise ArtifactCorruptError(
            f"{file} is not a valid manifest: {problems}.\nTry: compile the model again."
        ) from error


def _describe(error: BaseException, kind: type | None) -> str:
    return str(error) if isinstance(error, ArtifactCorruptError) else cattrs.v.format_exception(error, kind)
