"""Options classes as arguments of a parser, so that no option is listed twice."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from typing import Any

from neuronkit.options import json_schema
from neuronkit.shape_names import AXES_OF_SHAPES


def add_options(group: argparse._ActionsContainer, options_class: type, *, leave_out: Collection[str] = ()) -> None:
    """
    Add an argument for every field of an options class. Only what was typed is in the namespace.

    Args:
        group: A parser or a group of one.
        options_class: `neuronkit.options.CompileOptions` or another class of `neuronkit.options.option` fields.
        leave_out: Fields to pass over.

    """
    for name, schema in json_schema(options_class)["properties"].items():
        if name in leave_out:
            continue
        flag = f"--{name.replace('_', '-')}"
        common: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS, "help": _help(schema)}
        if "boolean" in _types(schema) and "string" not in _types(schema):
            group.add_argument(flag, action=argparse.BooleanOptionalAction, **common)
        else:
            group.add_argument(flag, metavar=_metavar(name, schema), **common)


def add_shapes(group: argparse._ActionsContainer, **argument: Any) -> None:
    """
    Add an argument for every shape.

    Args:
        group: A parser or a group of one.
        **argument: As for `add_argument`.

    """
    for name, axis in AXES_OF_SHAPES.items():
        flag = f"--{name.replace('_', '-')}"
        group.add_argument(flag, dest=name, metavar="N[,N...]", help=f"Size of {axis}.", **argument)


def given(arguments: argparse.Namespace, *options_classes: type) -> dict[str, Any]:
    """Return the fields of options classes that were typed, as they were typed."""
    names = [name for options_class in options_classes for name in json_schema(options_class)["properties"]]
    return {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}


def _types(schema: dict[str, Any]) -> list[str]:
    found = schema.get("type", [])
    return [found] if isinstance(found, str) else list(found)


def _metavar(name: str, schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return f"{{{','.join(map(str, schema['enum']))}}}"
    if {"integer", "number"}.intersection(_types(schema)):
        return "N"
    return name.upper()


def _help(schema: dict[str, Any]) -> str:
    text: str = schema.get("description", "")
    default = schema.get("default")
    if default is not None and default is not False:
        text = f"{text} Default: {str(default).lower() if default is True else default}."
    return text.replace("%", "%%")
