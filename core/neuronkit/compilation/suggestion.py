"""What to type where no plugin names an architecture, although one of the same task could run it."""

from __future__ import annotations

import inspect
from typing import Any

from neuronkit.export.source import Source
from neuronkit.plugins import get_registry
from neuronkit.tasks import AUTO_MAPPINGS
from neuronkit_registry import LoadedPlugin, UnknownPluginError

_STANDARD = ("input_ids", "attention_mask")
_TEXT = "text"
_BOXES = "bbox"
"""Where words lie on a page: an encoder that is told nothing of it takes all words for one place."""
_MAPPINGS = {task: mapping for mapping, task in AUTO_MAPPINGS.items() if task != "text-generation"}
_MAPPINGS["sentence-similarity"] = _MAPPINGS["feature-extraction"]


def resolve_for(source: Source, key: str) -> LoadedPlugin:
    """
    Return the plugin of a key.

    Raises:
        UnknownPluginError: Nobody offers it. Where transformers has a class for the task that takes the inputs of every
            encoder, the message shows the short plugin that serves it.
        neuronkit_registry.PluginError: It cannot be used.
    """
    registry = get_registry()
    try:
        return registry.resolve(key)
    except UnknownPluginError as error:
        architecture, _, task = key.partition(".")
        name = class_name(source, task)
        twin = next((record for record in registry.records() if record.key.partition(".")[2] == task), None)
        if name is None or twin is None or not twin.target:
            raise
        module, _, attribute = twin.target.partition(":")
        raise UnknownPluginError(
            f"No plugin is installed for {key!r}, although {name} takes the inputs of every encoder",
            error.reason,
            (
                f"the plugin of {twin.key!r} may serve it. In a program:\n"
                f"    from neuronkit import get_registry\n"
                f"    from {module} import {attribute}\n"
                f'    get_registry().register({attribute}, "{architecture}.{task}")\n'
                "or in the pyproject.toml of a package of yours, for the command line too:\n"
                f'    [project.entry-points."{registry.family.entry_point_group}"]\n'
                f'    "{architecture}.{task}" = "{twin.target}"\n'
                "Every graph is compared with the eager model before an artifact is written"
            ),
        ) from error


def class_name(source: Source, task: str) -> str | None:
    """Return the name of transformers' class for a checkpoint and a task, if it takes texts by the standard inputs alone."""
    import transformers
    from transformers.models.auto import modeling_auto

    names: Any = getattr(modeling_auto, _MAPPINGS.get(task, ""), {}).get(source.architecture)
    name = names[0] if isinstance(names, (list, tuple)) else names
    if not name or not hasattr(transformers, name):
        return None
    kind = getattr(transformers, name)
    if {*_listed(getattr(kind, "input_modalities", _TEXT))} != {_TEXT}:
        return None
    parameters = inspect.signature(kind.forward).parameters
    return str(name) if all(wanted in parameters for wanted in _STANDARD) and _BOXES not in parameters else None


def _listed(value: str | list[str] | tuple[str, ...]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
