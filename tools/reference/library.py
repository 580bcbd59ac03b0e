"""The page of the library: every public name but the classes of plugins, and what a plugin declares."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import attrs

import neuronkit
from neuronkit import export, hooks, options
from neuronkit.artifact.reader import Artifact
from neuronkit.export.source import Source
from neuronkit.models.base import NeuronBaseModel
from neuronkit.models.decoder import NeuronDecoderModel
from neuronkit.processors import Processors
from neuronkit.running import Pipeline
from neuronkit.session import Session
from neuronkit_registry import PluginInfo, Registry
from tools.reference.text import arguments_of, code, default_of, docstring, field_type, page, signature, summary, table

INTRO = """
Every name of the first two sections imports from `neuronkit`: `from neuronkit import compile`. Importing `neuronkit`
loads neither torch nor transformers.
The classes that plugins bring are on [a page of their own](classes.md), the errors on [another](errors.md).
"""
FUNCTIONS = ("compile", "load", "pipeline", "remove_padding", "get_registry")
HOOKIMPL = """
### hookimpl

Marks a method as the implementation of the [hook](hooks.md) of its name. `@neuronkit.hookimpl(wrapper=True)` marks an
extension's wrapper, a generator that yields once and is
sent what the call came to:

```python
import neuronkit


class Timing:
    @neuronkit.hookimpl(wrapper=True)
    def forward(self, graph):
        outputs = yield
        return outputs
```
"""
BASES = (NeuronBaseModel, NeuronDecoderModel)
GIVEN = """
`from neuronkit.export.source import Source` and `from neuronkit.processors import Processors`, for annotations. An image
processor or a feature extractor is loaded from `processors.path`, as transformers loads it from any directory.
"""
HANDED = (Source, Processors)
OBJECTS = (Pipeline, Artifact, Session, Registry, PluginInfo)


def documented() -> set[str]:
    """Return the names of `neuronkit.__all__` that the page describes."""
    return {*FUNCTIONS, "hookimpl", "ModelPlugin", "NeuronkitError"}


def render() -> str:
    """Return the page."""
    parts = ["## Functions"]
    for name in FUNCTIONS:
        item = getattr(neuronkit, name)
        parts += [f"### {name}", signature(item, f"neuronkit.{name}"), docstring(item)]
    parts += ["## For plugins", HOOKIMPL, "### ModelPlugin", docstring(neuronkit.ModelPlugin)]
    parts += ["### NeuronkitError", f"{docstring(neuronkit.NeuronkitError)} See [errors](errors.md)."]
    parts += ["## What a plugin declares", f"`from neuronkit.export import {', '.join(export.__all__)}`"]
    for name in export.__all__:
        item = getattr(export, name)
        if attrs.has(item):
            parts += _fields(item, f"### {name}")
        else:
            parts += [f"### {name}", signature(item, name), docstring(item)]
    parts += [
        "### option",
        "`from neuronkit.options import option`",
        signature(options.option, "option"),
        docstring(options.option),
    ]
    parts += ["## What the hooks are given", GIVEN]
    parts += _sections(HANDED)
    parts.append("## Bases of the classes")
    for base in BASES:
        parts += class_parts(base, "###")
    parts.append("## What the functions return")
    parts += _sections(OBJECTS)
    return page("Library", INTRO, f"The hook API is {hooks.API[0]}.{hooks.API[1]}.", *parts)


def _sections(items: Sequence[type]) -> list[str]:
    parts: list[str] = []
    for item in items:
        parts += _fields(item, f"### {item.__name__}") if attrs.has(item) else class_parts(item, "###")
        if attrs.has(item):
            parts += _members(item, set())
    return parts


def class_parts(item: type, level: str, *, but: type | None = None) -> list[str]:
    """
    Return a class's heading, docstring and public members.

    Args:
        item: The class.
        level: ``#`` signs of the heading.
        but: A base whose members are left out.
    """
    inherited = set(dir(but)) if but else set()
    return [f"{level} {item.__name__}", docstring(item), *_members(item, inherited)]


def _members(item: type, inherited: set[str]) -> list[str]:
    """Return a table of the public members that our own packages define; those of one meaning share a line."""
    fields = {field.name for field in attrs.fields(item)} if attrs.has(item) else set()
    found: dict[str, list[str]] = {}
    for name, member in inspect.getmembers_static(item):
        if name.startswith("_") or name in fields or not _is_ours(item, name):
            continue
        if name in inherited and name not in vars(item):
            continue
        meaning, shown = _member(name, member)
        if meaning:
            found.setdefault(meaning, []).append(f"`{shown}`")
    return (
        [table(["member", "what it is"], [[", ".join(shown), meaning] for meaning, shown in found.items()])]
        if found
        else []
    )


def _is_ours(item: type, name: str) -> bool:
    owner = next(base for base in item.__mro__ if name in vars(base))
    return owner.__module__.startswith("neuronkit")


def _member(name: str, member: Any) -> tuple[str, str]:
    if isinstance(member, property | cached_property):
        function = member.fget if isinstance(member, property) else member.func
        return summary(function), name
    function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
    if not inspect.isfunction(function):
        return "", ""
    parameters = [one for one in inspect.signature(function).parameters.values() if one.name not in ("self", "cls")]
    if all(one.name.startswith("_") for one in parameters):
        return summary(function), f"{name}()"
    names = [_plain(one) for one in parameters]
    kinds = [one.kind for one in parameters]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        names.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    return summary(function), f"{name}({', '.join(names)})"


def _plain(one: inspect.Parameter) -> str:
    stars = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
    return f"{stars}{one.name}" + ("" if one.default is one.empty else f"={one.default!r}")


def _fields(item: type, heading: str) -> list[str]:
    """Return the heading, the summary and the fields of an attrs class."""
    said = arguments_of(item)
    rows = [
        [f"`{field.name}`", code(field_type(item, field.name)), _default(field), said.get(field.name, "")]
        for field in attrs.fields(item)
        if not field.name.startswith("_")
    ]
    text = docstring(item)
    before = text.partition("**Arguments**")[0].strip()
    return [heading, before, table(["field", "type", "default", "meaning"], rows)]


def _default(field: Any) -> str:
    if field.default is attrs.NOTHING:
        return "required"
    if isinstance(field.default, attrs.Factory):  # type: ignore[arg-type]
        made = field.default.factory
        return f"`{made.__name__}()`"
    return code(default_of(field.default))
