"""The parts of a pipeline that are not compiled, written over those that an artifact has."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuronkit.artifact.side_files import record_again

_INDEX = "model_index.json"


def replace_parts(directory: Path, parts: Mapping[str, Any], index: Mapping[str, Any]) -> None:
    """
    Write parts and entries of ``model_index.json`` into an artifact, and record the files in its manifest.

    Args:
        directory: The artifact.
        parts: What has ``save_pretrained``, by the name of its folder; None takes the folder away.
        index: The entries, by name; where it has them all already and there are no parts, nothing is written.

    """
    recorded = json.loads((directory / _INDEX).read_text(encoding="utf-8"))
    if not parts and recorded.items() >= index.items():
        return
    for name, part in parts.items():
        shutil.rmtree(directory / name, ignore_errors=True)
        if part is not None:
            part.save_pretrained(directory / name)
    text = json.dumps({**recorded, **index}, indent=2)
    (directory / _INDEX).write_text(text + "\n", encoding="utf-8")
    written = [
        directory / _INDEX,
        *(file for name in parts for file in (directory / name).rglob("*") if file.is_file()),
    ]
    record_again(directory, written, lambda file: file == _INDEX or Path(file).parts[0] in parts)
