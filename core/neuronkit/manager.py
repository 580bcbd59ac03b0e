"""The throw-away plugin manager: the core's defaults, one plugin, and the extensions around them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pluggy

from neuronkit import defaults, environment, hooks


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
        manager.register(plugin, name="plugin")
    for extension in extensions:
        manager.register(extension)
    if environment.tracing():
        from neuronkit.tracing import trace

        trace(manager)
    return manager


def options_class(hook: Any) -> type:
    """Return the plugin's options class, or an empty one."""
    from neuronkit.options import NoOptions

    return hook.options() or NoOptions
