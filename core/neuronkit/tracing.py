"""
``NEURONKIT_TRACE``: every hook call on stderr, as it begins and as it ends.

A call that never ends, because the process does, has its first line all the same.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import pluggy

PREFIX = "[neuronkit]"
_ITEMS, _LETTERS = 6, 40


class _Running(threading.local):
    """The calls that this thread is in: when each began."""

    def __init__(self) -> None:
        self.since: list[float] = []


_running = _Running()


def trace(manager: pluggy.PluginManager) -> None:
    """Print every later hook call of a manager."""
    manager.add_hookcall_monitoring(_begin, _end)


def _begin(name: str, implementations: Sequence[pluggy.HookImpl], arguments: Mapping[str, Any]) -> None:
    shown = ", ".join(f"{argument}={abbreviate(value)}" for argument, value in arguments.items())
    _say(f"{name}({shown}) by {_describe(implementations)}")
    _running.since.append(time.perf_counter())


def _end(
    outcome: pluggy.Result[Any],
    name: str,
    implementations: Sequence[pluggy.HookImpl],
    arguments: Mapping[str, Any],
) -> None:
    milliseconds = (time.perf_counter() - _running.since.pop()) * 1000
    error = outcome.exception
    result = f"raised {type(error).__name__}" if error is not None else f"-> {abbreviate(outcome.get_result())}"
    _say(f"{name} {result} in {milliseconds:.2f} ms")


def _say(text: str) -> None:
    print(f"{PREFIX} {'  ' * len(_running.since)}{text}", file=sys.stderr)  # noqa: T201


def _describe(implementations: Sequence[pluggy.HookImpl]) -> str:
    """Return who is asked, in this order: wrappers go around all that follow them, and the first other to answer ends it."""
    return " > ".join(_name(implementation) for implementation in reversed(implementations)) or "nobody"


def _name(implementation: pluggy.HookImpl) -> str:
    if implementation.plugin_name == "core":
        return "core"
    plugin = implementation.plugin
    kind = plugin if isinstance(plugin, type) else type(plugin)
    name = plugin.__name__ if isinstance(plugin, ModuleType) else f"{kind.__module__}:{kind.__qualname__}"
    return f"{name} (wrapper)" if implementation.wrapper or implementation.hookwrapper else name


def abbreviate(value: Any, depth: int = 2) -> str:
    """Return a value in a few words: tensors by dtype and shape, objects by their class and their name, if they have one."""
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    if isinstance(value, (str, bytes)):
        return repr(value) if len(value) <= _LETTERS else f"{value[:_LETTERS]!r}..."
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is not None and dtype is not None:
        return f"{str(dtype).removeprefix('torch.')}{list(shape)}"
    if isinstance(value, Mapping):
        return _inside(
            "{", [f"{key}: {abbreviate(item, depth - 1)}" for key, item in _first(value.items())], value, "}"
        )
    if isinstance(value, (list, tuple)):
        if depth < 1:
            return f"{type(value).__name__} of {len(value)}"
        return _inside("[", [abbreviate(item, depth - 1) for item in _first(value)], value, "]")
    if isinstance(value, type):
        return value.__qualname__
    for attribute in ("name", "label"):
        if isinstance(text := getattr(value, attribute, None), str):
            return f"<{type(value).__name__} {text}>"
    return f"<{type(value).__name__}>"


def _first(items: Any) -> list[Any]:
    return [item for item, _ in zip(items, range(_ITEMS), strict=False)]


def _inside(opening: str, shown: list[str], value: Any, closing: str) -> str:
    rest = [f"{len(value) - len(shown)} more"] if len(value) > len(shown) else []
    return f"{opening}{', '.join([*shown, *rest])}{closing}"
