"""The throw-away plugin manager: the core's defaults, one plugin, and the extensions around them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs
import pluggy

from neuronkit import defaults, environment, hooks
from neuronkit_registry import NeuronkitError, PluginContractError

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
    Call a hook that a plugin may implement.

    Args:
        hook: The hooks of `make_manager`.
        name: Of the hook.
        **arguments: The hook's.

    Raises:
        PluginContractError: It returned what it must not; the message names plugin and hook, and so does a note at any other
            error that the plugin's implementation raises.
    """
    try:
        result = getattr(hook, name)(**arguments)
    except Exception as error:
        _blame(error, hook, name, name)
        raise
    fits, wanted = _RESULTS.get(name, _ANY)
    if fits(result):
        return result
    from neuronkit.tracing import abbreviate

    described = _describe(hook, name) or "the extensions around it"
    raise PluginContractError(f"{name} of {described} returned {abbreviate(result)}", hint=f"return {wanted}")


@contextmanager
def blaming(hook: Any, name: str, part: str) -> Iterator[None]:
    """
    Note at an unforeseen error which plugin it happened in.

    Args:
        hook: The hooks of `make_manager`.
        name: Of the hook that gave the function which runs.
        part: What that function is.
    """
    try:
        yield
    except Exception as error:
        _blame(error, hook, name, part)
        raise


def _blame(error: Exception, hook: Any, name: str, part: str) -> None:
    """Add the note, unless neuronkit itself raised the error, or the plugin does not implement the hook."""
    if not isinstance(error, NeuronkitError) and (described := _describe(hook, name)):
        error.add_note(f"It happened in {part} of {described}.")


def _describe(hook: Any, name: str) -> str | None:
    """Return what the plugin that implements a hook is called, if it does."""
    from neuronkit_registry.targets import describe_target

    found = (one.plugin for one in getattr(hook, name).get_hookimpls() if one.plugin_name == _PLUGIN)
    return next((describe_target(plugin) for plugin in found), None)


def options_class(hook: Any) -> type:
    """
    Return the plugin's options class, or an empty one.

    Raises:
        PluginContractError: The plugin's is no attrs class, or has an option that nobody could give.
    """
    from neuronkit.options import NoOptions, find_mistakes

    found: type = ask(hook, "options") or NoOptions
    if mistakes := find_mistakes(found):
        raise PluginContractError(f"options of {_describe(hook, 'options')} returned {found.__name__}: {mistakes[0]}")
    return found


def _is_config(result: Any) -> bool:
    from neuronkit.export.config import ExportConfig

    return isinstance(result, ExportConfig)


def _is_compiled(result: Any) -> bool:
    from neuronkit.backends.base import CompiledGraph

    return isinstance(result, CompiledGraph)


def _is_session(result: Any) -> bool:
    from neuronkit.session import Session

    return isinstance(result, Session)


def _are_shapes(result: Any) -> bool:
    return result is None or (isinstance(result, Mapping) and all(map(_are_sizes, result.values())))


def _are_sizes(sizes: Any) -> bool:
    return isinstance(sizes, (list, tuple)) and bool(sizes) and all(type(size) is int and size > 0 for size in sizes)


_ANY = (lambda result: True, "anything")
_RESULTS = {
    "compile": (_is_compiled, "the CompiledGraph that the backend, or the yield of a wrapper, gave"),
    "load": (_is_session, "the Session that the default, or the yield of a wrapper, gave"),
    "forward": (lambda result: isinstance(result, Mapping), "the outputs by name, which the yield of a wrapper gives"),
    "options": (lambda result: result is None or (isinstance(result, type) and attrs.has(result)), "an attrs class"),
    "default_shapes": (_are_shapes, "a list of sizes for every shape, as in {'sequence_length': [128]}"),
    "export_config": (_is_config, "an ExportConfig"),
    "preprocess": (
        lambda result: isinstance(result, (tuple, list)) and len(result) == 2 and isinstance(result[0], Mapping),
        "the tensors by name and the context for postprocess: (tensors, context)",
    ),
    "shell": (
        lambda result: hasattr(result, "session"),
        "an object around the session, such as a NeuronBaseModel(session)",
    ),
    "postprocess": (lambda result: result is not None, "what the caller asked for"),
}
"""What hooks may return, and what to return instead of anything else."""
