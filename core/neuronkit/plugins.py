"""The registries of this process: model plugins, extensions, backends, public classes and sketches."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from neuronkit import __version__, hooks
from neuronkit_registry import CLASS_KEYS, PLAIN_KEYS, Contract, Family, PluginContractError, Registry
from neuronkit_registry.targets import describe_target

if TYPE_CHECKING:
    from neuronkit.backends.base import Backend
    from neuronkit.export.config import ExportConfig
    from neuronkit.export.source import Source

_SPECS = "neuronkit.hooks"

MODELS = Family(
    group="neuronkit.models",
    api=hooks.API,
    builtin="neuronkit",
    version=__version__,
    contract=Contract(specs=_SPECS, project=hooks.PROJECT, required=hooks.REQUIRED_HOOKS),
)
EXTENSIONS = Family(
    group="neuronkit.extensions",
    api=hooks.API,
    builtin="neuronkit",
    version=__version__,
    keys=PLAIN_KEYS,
    contract=Contract(specs=_SPECS, project=hooks.PROJECT, allowed=hooks.CORE_HOOKS, wrappers_only=True),
)
BACKENDS = Family(
    group="neuronkit.backends",
    api=hooks.API,
    builtin="neuronkit",
    version=__version__,
    keys=PLAIN_KEYS,
    builtins_always_allowed=True,
)
CLASSES = Family(
    group="neuronkit.classes",
    api=hooks.API,
    builtin="neuronkit",
    version=__version__,
    keys=CLASS_KEYS,
    builtins_always_allowed=True,
)
SKETCHES = Family(
    group="neuronkit.sketches",
    api=hooks.API,
    builtin="neuronkit",
    version=__version__,
    keys=PLAIN_KEYS,
    builtins_always_allowed=True,
)


@runtime_checkable
class ModelPlugin(Protocol):
    """
    What a model plugin has at least: two methods marked with `neuronkit.hookimpl`.

    A plugin is any object with them; nothing has to be inherited. `neuronkit.hooks` describes these and the optional ones.
    """

    def export_config(self, source: Source, shapes: Mapping[str, list[int]], options: Any) -> ExportConfig:
        """Say what to export."""
        ...

    def postprocess(self, outputs: Any, context: Any) -> Any:
        """Turn the model's outputs into the result."""
        ...


@cache
def registry_of(family: Family) -> Registry:
    """Return this process's registry of a family."""
    return Registry(family)


def get_registry() -> Registry:
    """
    Return the registry of model plugins: what ``neuronkit list-plugins`` shows, and where a program adds its own.

    Nothing is imported until a key is resolved.
    """
    return registry_of(MODELS)


def active_extensions() -> tuple[object, ...]:
    """
    Return every enabled extension, in the order of their names.

    An extension that cannot be imported is left out with a warning: it wraps calls, and no result depends on it.
    """
    return tuple(loaded.plugin for loaded in registry_of(EXTENSIONS).load_all())


def resolve_backend(name: str) -> Backend:
    """
    Return a backend by name.

    Raises:
        BackendNotFoundError: No backend has that name.
        neuronkit_registry.PluginError: It has, and cannot be used.
    """
    from neuronkit.backends.base import Backend
    from neuronkit.errors import BackendNotFoundError

    registry = registry_of(BACKENDS)
    if name not in registry:
        known = ", ".join(registry)
        raise BackendNotFoundError(f"There is no backend {name!r}. Installed: {known}.")
    loaded = registry.resolve(name)
    found = loaded.plugin
    if isinstance(found, type) or not isinstance(found, Backend):
        needed = [*sorted(name for name in dir(Backend) if not name.startswith("_")), "capabilities", "name"]
        missing = [name for name in needed if not hasattr(found, name)]
        raise PluginContractError(
            f"the backend {name!r} ({loaded.info.target}) is {describe_target(found)}"
            + (f", without {', '.join(missing)}" if missing else ""),
            hint="name an object with every member of neuronkit.backends.base.Backend"
            + (f": backend = {found.__name__}()" if isinstance(found, type) else ""),
        )
    return found


def class_names() -> list[str]:
    """Return the names of the public classes that installed plugins bring, without importing them."""
    return list(registry_of(CLASSES))


def load_class(name: str) -> Any:
    """
    Import a public class by name.

    Raises:
        AttributeError: No installed package brings it.
    """
    registry = registry_of(CLASSES)
    if name not in registry:
        raise AttributeError(f"module 'neuronkit' has no attribute {name!r}, and no installed plugin brings it")
    return registry.resolve(name).plugin
