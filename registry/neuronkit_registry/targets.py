"""``module:attribute``, as the value of an entry point."""

from __future__ import annotations

import re

_DOTTED = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_TARGET = re.compile(rf"\s*({_DOTTED})\s*:\s*({_DOTTED})\s*(?:\[.*\])?\s*")


def split_target(target: str) -> tuple[str, str] | None:
    """Return module and attribute, or None when the value is not of that form. Extras in brackets are passed over."""
    found = _TARGET.fullmatch(target)
    return (found[1], found[2]) if found else None


def describe_target(plugin: object) -> str:
    """Return ``module:Class`` for an object, ``module:name`` for a class or function and the name for a module."""
    from types import ModuleType

    if isinstance(plugin, ModuleType):
        return plugin.__name__
    named = plugin if hasattr(plugin, "__qualname__") else type(plugin)
    return f"{named.__module__}:{named.__qualname__}"
