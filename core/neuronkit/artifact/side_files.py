"""What lies beside the graphs: the checkpoint's configuration with a ``neuron`` section, its tokenizer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from neuronkit import __version__
from neuronkit.artifact.manifest import File
from neuronkit.artifact.store import describe
from neuronkit.export.config import ExportConfig
from neuronkit.export.source import CONFIG_FILES, Source
from neuronkit.shape_names import AXES_OF_SHAPES


def write_side_files(
    source: Source, config: ExportConfig, shapes: Mapping[str, list[int]], directory: Path
) -> list[File]:
    """
    Copy a checkpoint's small files into an artifact and record the shapes in its configuration.

    ``config.json["neuron"]`` has a ``static_*`` entry per shape with the largest size, as optimum-neuron writes it.
    """
    present = _files(directory)
    if config.write_files is not None:
        config.write_files(directory)
    else:
        for relative in source.side_files():
            placed = relative.relative_to(source.folder) if relative.is_relative_to(source.folder) else relative
            if placed.as_posix() not in CONFIG_FILES:
                target = directory / placed
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source.path / relative, target)
    axes = {axis for graph in config.graphs for axis in graph.axes}
    recorded = {
        name: sizes for name, sizes in shapes.items() if AXES_OF_SHAPES.get(name, name) in axes or name in config.shapes
    }
    section = {"neuronkit": __version__, **{f"static_{name}": max(sizes) for name, sizes in recorded.items()}}
    file = directory / ("model_index.json" if "_class_name" in source.config else "config.json")
    values = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else source.config
    text = json.dumps({**values, "neuron": section}, indent=2, sort_keys=True) + "\n"
    file.write_text(text, encoding="utf-8")
    return [describe(path, directory) for path in sorted(_files(directory) - present)]


def _files(directory: Path) -> set[Path]:
    return {path for path in directory.rglob("*") if path.is_file()}
