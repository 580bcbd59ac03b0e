"""Whether a plugin's options are what a caller, a manifest and the command line can all use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

from neuronkit.errors import OptionError
from neuronkit.manager import make_manager, options_class
from neuronkit.options import as_json, build, json_schema, names
from neuronkit_registry import PluginContractError

_STAGES: tuple[Literal["compile", "call"], ...] = ("compile", "call")


def find_mistakes(plugin: object) -> list[str]:
    """
    Return every way in which the options of a plugin break, in words.

    Args:
        plugin: The plugin object.
    """
    try:
        kind = options_class(make_manager(plugin).hook)
    except PluginContractError as error:
        return [str(error)]
    return list(_mistakes(kind))


def _mistakes(kind: type) -> Iterator[str]:
    schema = json.loads(json.dumps(json_schema(kind), default=repr))
    if list(schema["properties"]) != names(kind):
        yield f"The JSON schema of {kind.__name__} has {list(schema['properties'])}."
    if schema["required"]:
        yield f"{kind.__name__} has options without a default, so no call works without them: {schema['required']}."
        return
    for stage in _STAGES:
        made = build(kind, {}, stage)
        kept = json.loads(json.dumps(as_json(made, stage), default=repr))
        spelled = {name: str(value) for name, value in kept.items() if isinstance(value, (bool, int, float, str))}
        for how, values in (("JSON", kept), ("the command line", spelled)):
            try:
                again = build(kind, values, stage)
            except OptionError as error:
                yield f"The defaults of {kind.__name__} at {stage} time do not survive {how}: {error}"
                continue
            if as_json(again, stage) != as_json(made, stage):
                yield f"The defaults of {kind.__name__} at {stage} time come back from {how} changed: {again}."
        yield from _wrong_choices(kind, stage, schema)


def _wrong_choices(kind: type, stage: Literal["compile", "call"], schema: dict[str, Any]) -> Iterator[str]:
    for name in names(kind, stage):
        if "enum" in schema["properties"][name]:
            try:
                build(kind, {name: "no-such-choice"}, stage)
            except OptionError:
                continue
            yield f"{kind.__name__}.{name} accepts what is not among its choices."
