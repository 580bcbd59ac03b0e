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
    written = []
    for relative in source.side_files():
        if relative.as_posix() in CONFIG_FILES:
            continue
        target = directory / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.path / relative, target)
        written.append(describe(target, directory))
    axes = {axis for graph in config.graphs for axis in graph.axes}
    static = {f"static_{name}": max(sizes) for name, sizes in shapes.items() if AXES_OF_SHAPES.get(name, name) in axes}
    name = "model_index.json" if "_class_name" in source.config else "config.json"
    section = {"neuronkit": __version__, **static}
    text = json.dumps({**source.config, "neuron": section}, indent=2, sort_keys=True) + "\n"
    (directory / name).write_text(text, encoding="utf-8")
    written.append(describe(directory / name, directory))
    return sorted(written, key=lambda file: file.file)
