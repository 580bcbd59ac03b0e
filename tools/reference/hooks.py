"""The page of the hooks, from their specifications."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from neuronkit import defaults, hooks
from tools.reference.text import docstring, page, prose, signature, table

INTRO = """
A plugin is an object whose methods are marked with `@neuronkit.hookimpl`. The core calls them, one after the other,
on the two journeys: `neuronkit compile` and `neuronkit run`.
The [tutorial](../plugins/tutorial.md) writes one; this page is the contract.
"""
RULES = """
## Rules for implementations

- An implementation takes the parameters that it needs, by the names below, and may leave out the others. So a
  parameter that is added later breaks nothing.
- Names and parameters are checked when the plugin is loaded: a hook that does not exist, a parameter that the hook
  does not have, a default value, `*args` or `**kwargs` are errors, and all are listed at once.
- Every hook is `firstresult`: a plugin that returns `None` leaves the call to the core's default, where there is one.
- An extension (`neuronkit.extensions.v1`) may only wrap, with `@hookimpl(wrapper=True)`, and only `compile`, `load`,
  `forward` and `remove_padding`.
- `NEURONKIT_TRACE=1` prints every call; see [tracing](../plugins/tracing.md).
"""
ORDER = """
## When they are called

| journey | hooks, in this order |
|---|---|
| `neuronkit compile` | `options`, `default_shapes`, `export_config`, then `compile` for each graph and bucket |
| `neuronkit.load` | `load`, `shell`; for a pipeline `options` |
| a call of `neuronkit.pipeline` or `neuronkit run` | `preprocess`, `call`, in it `forward` and `remove_padding`, `postprocess` |
"""


def specifications() -> dict[str, Callable[..., Any]]:
    """Return every hook's specification by name, in the order of the module."""
    marker = f"{hooks.PROJECT}_spec"
    return {name: item for name, item in vars(hooks).items() if inspect.isfunction(item) and hasattr(item, marker)}


def render() -> str:
    """Return the page."""
    major, minor = hooks.API
    rows = []
    parts = []
    for name, item in specifications().items():
        rows.append([f"[`{name}`](#{name})", _whose(name), "yes" if name in hooks.CORE_HOOKS else ""])
        default = getattr(defaults, name, None) if name in hooks.CORE_HOOKS else None
        by_default = f"By default: {_uncapitalised(prose(default.__doc__ or ''))}" if default else ""
        parts.append(
            "\n\n".join(part for part in (f"## {name}", signature(item, name), docstring(item), by_default) if part)
        )
    return page(
        "Hooks",
        INTRO,
        f"This is hook API {major}.{minor}. What may change in which version is in [versions](../versions.md).",
        table(["hook", "who implements it", "extensions may wrap it"], rows),
        ORDER,
        RULES,
        *parts,
    )


def _whose(name: str) -> str:
    if name in hooks.REQUIRED_HOOKS:
        return "every plugin"
    if hasattr(defaults, name):
        return "the core; a plugin may"
    return "a plugin may"


def _uncapitalised(text: str) -> str:
    return text[:1].lower() + text[1:]
