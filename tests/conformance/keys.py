"""The built-in keys, by the plugin object or the family that serves them."""

from __future__ import annotations

from collections.abc import Sequence

import neuronkit
from neuronkit_registry import Origin, PluginInfo


def builtin_records() -> list[PluginInfo]:
    """Return the records of all built-in model plugins, sorted by key."""
    return [record for record in neuronkit.get_registry().records() if record.origin is Origin.BUILTIN]


def keys_of_object(first: str) -> list[str]:
    """
    Return a key, and after it every other built-in key of the same object, sorted.

    Args:
        first: The one that is compiled.
    """
    (target,) = {record.target for record in builtin_records() if record.key == first}
    return [first, *(one.key for one in builtin_records() if one.target == target and one.key != first)]


def keys_of_tasks(first: str, tasks: Sequence[str]) -> list[str]:
    """
    Return a key, and after it every other built-in key of some tasks, sorted.

    Args:
        first: The one that is compiled.
        tasks: Which.
    """
    return [first, *(one.key for one in builtin_records() if one.task in tasks and one.key != first)]
