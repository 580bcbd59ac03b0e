"""The tasks that packages can be written for, and the sketch of each: found among the installed packages."""

from __future__ import annotations

from neuronkit.errors import OptionError
from neuronkit.plugins import SKETCHES, registry_of
from neuronkit.scaffold.sketch import Sketch
from neuronkit.tasks import canonical_task
from neuronkit_registry import ENABLED, Origin, PluginContractError, PluginInfo
from neuronkit_registry.loading import ignoring
from neuronkit_registry.names import closest, split_qualified


def sketched_tasks() -> list[str]:
    """Return every task that has a sketch, without importing one."""
    registry = registry_of(SKETCHES)
    return [task for task in registry if registry[task].status in ENABLED]


def find_sketch(task: str) -> tuple[Sketch, PluginInfo]:
    """
    Return what is written for a task, and where it comes from. No sketch but this one is imported.

    Args:
        task: A task or an alias of one, possibly with ``@package``.

    Raises:
        OptionError: There is no template for it.
        neuronkit_registry.PluginError: There is, and it cannot be used.
    """
    name, package = split_qualified(task)
    name, registry = canonical_task(name), registry_of(SKETCHES)
    if name not in registry:
        tasks = sketched_tasks()
        near = closest(name, tasks)
        hint = f" Did you mean {near!r}?" if near else ""
        raise OptionError(
            f"task: there is no template for {task!r}.{hint} There are: {', '.join(tasks)}.\n"
            f"Try: the one whose model is most like yours. A plugin may be for any task: it is in the key in pyproject.toml, which "
            f'becomes "<architecture>.{name}".'
        )
    found = registry.resolve(name, package)
    if not isinstance(found.plugin, Sketch):
        raise unusable(found.info, f"it is {type(found.plugin).__name__}, and has to be a neuronkit.scaffold.Sketch")
    return found.plugin, found.info


def unusable(info: PluginInfo, reason: str) -> PluginContractError:
    """Return the error for a sketch that was imported, and from which nothing can be written."""
    hint = None if info.origin is Origin.RUNTIME else f"pip install --upgrade {info.package}{ignoring(info)}"
    return PluginContractError(f"Sketch {info.label} cannot be used", reason, hint)
