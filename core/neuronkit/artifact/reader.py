"""Opening an artifact: trust, digests, versions."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import attrs

from neuronkit.artifact import manifest as manifests
from neuronkit.artifact import optimum
from neuronkit.artifact.manifest import File, Manifest
from neuronkit.artifact.store import file_digest
from neuronkit.environment import cache_directory
from neuronkit.errors import ArtifactCorruptError, ArtifactMismatchError, ArtifactNotFoundError
from neuronkit.paths import named_directory

TOKENIZER_FILES = frozenset(
    {"added_tokens.json", "chat_template.jinja", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"}
)
"""What saving a tokenizer writes in words of its own: how it was called last, and what the release of transformers adds."""


@attrs.frozen
class Artifact:
    """
    An artifact on disk.

    Args:
        path: Its directory.
        manifest: What is in it.
        exporter: Who wrote it, if not neuronkit: the manifest is then made up, and without digests.
    """

    path: Path
    manifest: Manifest
    exporter: str | None = None


def open_artifact(path: str | Path) -> Artifact:
    """
    Read an artifact's manifest, without verifying or loading anything; for one of optimum-neuron, make it up.

    Raises:
        ArtifactNotFoundError: There is no artifact.
        ArtifactCorruptError: The manifest cannot be read, or lacks what loading needs.
        ArtifactMismatchError: It is of optimum-neuron, and of a kind that neuronkit does not load.
        ArtifactSchemaError: A newer neuronkit wrote it.
    """
    directory = named_directory(path, "An artifact", ArtifactNotFoundError).absolute()
    if not (directory / manifests.MANIFEST).is_file() and (found := optimum.read(directory)) is not None:
        return Artifact(directory, found, optimum.EXPORTER)
    return Artifact(directory, manifests.read(directory))


def verify(artifact: Artifact, *, weights: bool = False) -> None:
    """
    Compare files with the manifest.

    Sizes of all files and digests of graphs and JSON are compared at every load. The digest of the weights is compared the
    first time that a file is seen (known by size, time of change and inode), or always with `weights`.

    A tokenizer may be saved over an artifact's own, as clients of transformers do after they saved a model: that is a note.

    Args:
        artifact: What to verify.
        weights: Read the weights' file even if it was verified before, and let no file be another than the one that was written.

    Raises:
        ArtifactCorruptError: A file is missing, truncated or edited.
        ArtifactMismatchError: With `weights`, whoever wrote it recorded no digests.
    """
    manifest = artifact.manifest
    if artifact.exporter is not None:
        if weights:
            raise ArtifactMismatchError(
                f"{artifact.path} was written by {artifact.exporter}, which records no digests: nothing can be compared."
            )
        return
    saved_over = []
    for file in manifest.files():
        what = _wrong_size(artifact, file) or _wrong_digest(artifact, file)
        if what and not weights and _is_whole_tokenizer_file(artifact.path / file.file):
            saved_over.append(file.file)
        elif what:
            raise _corrupt(artifact, file, what)
    if saved_over:
        print(f"note: {', '.join(saved_over)} of {artifact.path} was saved over since it was written", file=sys.stderr)  # noqa: T201
    if manifest.weights is not None:
        if what := _wrong_size(artifact, manifest.weights):
            raise _corrupt(artifact, manifest.weights, what)
        _verify_weights(artifact, manifest.weights, force=weights)


def _is_whole_tokenizer_file(path: Path) -> bool:
    """Tell whether a file is one of JSON that saving a tokenizer writes, and is not truncated."""
    if path.name not in TOKENIZER_FILES or path.suffix != ".json" or not path.is_file():
        return False
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except ValueError:
        return False


def _wrong_size(artifact: Artifact, file: File) -> str | None:
    path = artifact.path / file.file
    if not path.is_file():
        return "is missing"
    size = path.stat().st_size
    return None if size == file.size else f"has {size} bytes instead of {file.size}: it is truncated or was edited"


def _wrong_digest(artifact: Artifact, file: File) -> str | None:
    same = file_digest(artifact.path / file.file) == file.sha256
    return None if same else "was edited: its SHA-256 is not the manifest's"


def _verify_weights(artifact: Artifact, file: File, *, force: bool) -> None:
    path = artifact.path / file.file
    remembered = _remembered(path, file)
    if not force and remembered.exists():
        return
    if what := _wrong_digest(artifact, file):
        raise _corrupt(artifact, file, what)
    remember(path, file)


def remember(path: Path, file: File) -> None:
    """Note that a file's digest was verified, as long as its size, time of change and inode stay the same."""
    note = _remembered(path, file)
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(str(path)), encoding="utf-8")
    except OSError as error:
        print(f"note: cannot remember that {path} was verified: {error.strerror}", file=sys.stderr)  # noqa: T201


def _remembered(path: Path, file: File) -> Path:
    status = path.stat()
    name = f"{file.sha256[:32]}-{status.st_size}-{status.st_mtime_ns}-{status.st_dev}-{status.st_ino}"
    return cache_directory() / "validated" / name


def _corrupt(artifact: Artifact, file: File, what: str) -> ArtifactCorruptError:
    note = ""
    if file in artifact.manifest.side_files:
        note = " The configuration and the tokenizer's vocabulary are in an artifact already: nothing may be saved over them."
    return ArtifactCorruptError(
        f"{file.file} of the artifact {artifact.path} {what}.{note}\nTry: {artifact.manifest.rebuild}"
    )
