"""A small set of hooks, so that the registry is tested without the core."""

from __future__ import annotations

from typing import Any

import pluggy

hookspec = pluggy.HookspecMarker("neuronkit")
hookimpl = pluggy.HookimplMarker("neuronkit")


@hookspec(firstresult=True)
def export_config(source: Any, shapes: Any, options: Any) -> Any: ...


@hookspec(firstresult=True)
def postprocess(outputs: Any, context: Any, options: Any) -> Any: ...


@hookspec(firstresult=True)
def forward(session: Any, graph: str, inputs: Any) -> Any: ...


@hookspec(firstresult=True)
def options() -> type: ...


def helper() -> None:
    """No hook: it is not marked."""
