"""The command that makes an artifact again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from neuronkit.export.source import Source

_LEFT_OUT = {"force", "token"}
"""Options that do not belong into a command that is written down: one is always added, the other is a secret."""


def task_word(source: Source, key: str) -> str:
    """
    Return the task that means a plugin: its own, or the whole key where the checkpoint is of another architecture.

    Args:
        source: The checkpoint.
        key: The plugin's, possibly with ``@package``.

    Raises:
        SourceError: The checkpoint does not say of which architecture it is.
    """
    architecture, task = key.split(".", 1)
    return task if architecture == source.architecture else key


def rebuild_command(source: Source, task: str, backend: str, given: Mapping[str, Any], output: Path) -> str:
    """
    Return the command that makes an artifact again, replacing the one at `output`.

    Args:
        source: The checkpoint.
        task: As ``--task`` takes it; see `task_word`.
        backend: Its name.
        given: Shapes and options by name.
        output: The artifact's directory.
    """
    words = ["neuronkit", "compile", "--model", source.model, "--task", task, "--backend", backend]
    for name, value in sorted(given.items()):
        flag = f"--{name.replace('_', '-')}"
        if value is True and name not in _LEFT_OUT:
            words.append(flag)
        elif value is not None and name not in _LEFT_OUT:
            words.append(f"{flag}={_spell(value)}")  # one word, since a value may begin with dashes
    return shlex.join([*words, "--force", str(output)])


def _spell(value: Any) -> str:
    if value is False:
        return "false"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, (list, tuple)) and value and not any("," in item for item in map(_spell, value)):
        return ",".join(map(_spell, value))
    return json.dumps(value, default=_spell) if isinstance(value, (dict, list, tuple)) else str(value)
