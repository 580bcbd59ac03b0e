"""The throw-away plugin manager: the core's defaults, one plugin, and the extensions around them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import pluggy

from neuronkit import defaults, environment, hooks
from neuronkit_registry import PluginContractError

_PLUGIN = "plugin"


def make_manager(plugin: object | None, extensions: Iterable[object] = ()) -> pluggy.PluginManager:
    """
    Return a manager for one compile or one load.

    The core's defaults come last, so that the plugin's own implementation of a core hook wins; extensions are wrappers and
    see every call of the core's four hooks.

    Args:
        plugin: The model plugin; None leaves the defaults alone.
        extensions: Extension plugins, their contract already checked.
    """
    manager = pluggy.PluginManager(hooks.PROJECT)
    manager.add_hookspecs(hooks)
    manager.register(defaults, name="core")
    if plugin is not None:
        manager.register(plugin, name=_PLUGIN)
    for extension in extensions:
        manager.register(extension)
    if environment.tracing():
        from neuronkit.tracing import trace

        trace(manager)
    return manager


def ask(hook: Any, name: str, **arguments: Any) -> Any:
    """
    Call one of the plugin's own hooks.

    Args:
        hook: The hooks of `make_manager`.
        name: ``options``, ``default_shapes``, ``export_config`` or ``preprocess``.
        **arguments: The hook's.

    Raises:
        PluginContractError: It returned what it must not; the message names plugin and hook.
    """
    caller = getattr(hook, name)
    result = caller(**arguments)
    fits, wanted = _RESULTS[name]
    if fits(result):
        return result
    from neuronkit.tracing import abbreviate
    from neuronkit_registry.targets import describe_target

    plugin = next((one.plugin for one in caller.get_hookimpls() if one.plugin_name == _PLUGIN), defaults)
    raise PluginContractError(
        f"{name} of {describe_target(plugin)} returned {abbreviate(result)}", hint=f"return {wanted}"
    )


def options_class(hook: Any) -> type:
    """
    Return the plugin's options class, or an empty one.

    Raises:
        PluginContractError: The plugin's is no attrs class.
    """
    from neuronkit.options import NoOptions

    return ask(hook, "options") or NoOptions


def _is_config(result: Any) -> bool:
    from neuronkit.export.config import ExportConfig

    return isinstance(result, ExportConfig)


def _are_shapes(result: Any) -> bool:
    return result is None or (
        isinstance(result, Mapping) and all(isinstance(sizes, (list, tuple)) for sizes in result.values())
    )


_RESULTS = {
    "options": (lambda result: result is None or (isinstance(result, type) and attrs.has(result)), "an attrs class"),
    "default_shapes": (_are_shapes, "a list of sizes for every shape, as in {'sequence_length': [128]}"),
    "export_config": (_is_config, "an ExportConfig"),
    "preprocess": (
        lambda result: isinstance(result, (tuple, list)) and len(result) == 2 and isinstance(result[0], Mapping),
        "the tensors by name and the context for postprocess: (tensors, context)",
    ),
}
"""What hooks may return, and what to return instead of anything else."""
