"""The built-in keys that one plugin object serves."""

from __future__ import annotations

import neuronkit
from neuronkit_registry import Origin


def builtin_keys(first: str) -> list[str]:
    """
    Return a key, and after it every other built-in key of the same object, sorted.

    Args:
        first: The one that is compiled.
    """
    records = [record for record in neuronkit.get_registry().records() if record.origin is Origin.BUILTIN]
    (target,) = {record.target for record in records if record.key == first}
    others = sorted(record.key for record in records if record.target == target and record.key != first)
    return [first, *others]


def builtin_targets() -> set[str]:
    """Return the targets of all built-in plugins."""
    return {record.target for record in neuronkit.get_registry().records() if record.origin is Origin.BUILTIN}
