"""What lies beside the graphs: the checkpoint's configuration with a ``neuron`` section, its tokenizer."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import attrs

from neuronkit import __version__
from neuronkit.artifact import manifest as manifests
from neuronkit.artifact.manifest import File
from neuronkit.artifact.store import describe
from neuronkit.errors import ExportConfigError
from neuronkit.export.config import ExportConfig
from neuronkit.export.source import CONFIG_FILES, Source
from neuronkit.shape_names import axis_of


def write_side_files(
    source: Source, config: ExportConfig, shapes: Mapping[str, list[int]], directory: Path
) -> list[File]:
    """
    Copy a checkpoint's small files into an artifact and record the shapes in its configuration.

    ``config.json["neuron"]`` has a ``static_*`` entry per shape with the largest size, as optimum-neuron writes it.

    Raises:
        ExportConfigError: The plugin's `write_files` changed a graph, the weights or the manifest.
    """
    present = {path: path.stat() for path in _files(directory)}
    if config.write_files is not None:
        config.write_files(directory)
    else:
        for relative in source.side_files():
            placed = relative.relative_to(source.folder) if relative.is_relative_to(source.folder) else relative
            if placed.as_posix() not in CONFIG_FILES:
                target = directory / placed
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source.path / relative, target)
    _require_untouched(directory, present)
    axes = {axis for graph in config.graphs for axis in graph.axes}
    recorded = {name: sizes for name, sizes in shapes.items() if axis_of(name) in axes or name in config.shapes}
    section = {"neuronkit": __version__, **{f"static_{name}": max(sizes) for name, sizes in recorded.items()}}
    file = directory / ("model_index.json" if "_class_name" in source.config else "config.json")
    values = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else source.config
    text = json.dumps({**values, "neuron": section}, indent=2, sort_keys=True) + "\n"
    file.write_text(text, encoding="utf-8")
    return [describe(path, directory) for path in sorted(_files(directory) - present.keys())]


def _require_untouched(directory: Path, present: Mapping[Path, os.stat_result]) -> None:
    """
    Compare what was in the artifact with what is there now.

    Raises:
        ExportConfigError: A graph, the weights or the manifest is another file, or gone.
    """

    def same(path: Path, before: os.stat_result) -> bool:
        if not path.is_file():
            return False
        after = path.stat()
        return (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)

    touched = [path.relative_to(directory).as_posix() for path, before in present.items() if not same(path, before)]
    if (directory / manifests.MANIFEST).exists():
        touched.append(manifests.MANIFEST)
    if touched:
        raise ExportConfigError(
            "write_files of an ExportConfig must leave alone what the artifact has already, and changed "
            f"{', '.join(sorted(touched))}.\n"
            "Try: another name for the plugin's file."
        )


def record_again(directory: Path, written: Iterable[Path], is_replaced: Callable[[str], bool]) -> None:
    """
    Record side files that were written over those of an artifact.

    Args:
        directory: The artifact.
        written: The files that are there now.
        is_replaced: Whether a recorded file, by its name in the artifact, is one of those that were there.
    """
    before = manifests.read(directory)
    kept = [file for file in before.side_files if not is_replaced(file.file)]
    side_files = sorted([*kept, *(describe(path, directory) for path in written)], key=lambda file: file.file)
    manifests.dump(attrs.evolve(before, side_files=side_files), directory)


def _files(directory: Path) -> set[Path]:
    return {path for path in directory.rglob("*") if path.is_file()}
