"""Warnings that point at the code which asked, or errors where those are wanted."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable

from neuronkit_registry.environment import STRICT
from neuronkit_registry.errors import PluginWarning, StrictError

_OWN_PACKAGE = "neuronkit_registry"


def draw_attention(messages: Iterable[str], namespace: str, *, strict: bool) -> None:
    """
    Warn, or raise.

    Args:
        messages: What deserves attention; nothing happens when there is none.
        namespace: Package of the registry's owner, whose frames are not the ones to point at.
        strict: Whether to raise.

    Raises:
        StrictError: `strict`, and there is a message; it has all of them.
    """
    messages = list(messages)
    if strict and messages:
        number = "a warning" if len(messages) == 1 else f"{len(messages)} warnings"
        raise StrictError(
            f"{STRICT} turns {number} about plugins into an error",
            "\n".join(messages),
            f"unset {STRICT} to go on with {'a warning' if len(messages) == 1 else 'warnings'}",
        )
    for message in messages:
        warnings.warn(message, PluginWarning, stacklevel=_distance_of_caller(namespace))


def _distance_of_caller(namespace: str) -> int:
    """Return the `stacklevel` at which `draw_attention` reaches the first frame outside registry and owner."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in (_OWN_PACKAGE, namespace):
        level, frame = level + 1, frame.f_back
    return level
