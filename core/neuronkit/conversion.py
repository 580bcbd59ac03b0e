"""From what somebody typed, or passed, to the type that an option declares, and from that type to its JSON schema."""

from __future__ import annotations

import json
import math
import types
from collections.abc import Mapping, Sequence
from enum import Enum
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

TRUE_WORDS, FALSE_WORDS = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}


def convert(value: Any, hint: Any) -> Any:
    """
    Return a value as the type that it is declared with; text may stand for every type.

    Args:
        value: Numbers, truth values, lists, mappings and None may also be written as text: ``"8"``, ``"yes"``, ``"a,b"``,
            ``'{"a": 1}'``, ``"none"``.
        hint: A builtin type, ``Path``, ``Literal``, an ``Enum``, a union, a list, tuple or mapping of these, or ``Any``.

    Raises:
        ValueError: It is not of that type and does not stand for one.
    """
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(value, arguments)
    if origin is Literal:
        for choice in arguments:
            if value == choice or (isinstance(value, str) and value == str(choice)):
                return choice
        raise ValueError(f"must be one of {', '.join(map(str, arguments))} (got {value!r}).")
    if origin in (dict, Mapping):
        kinds = arguments or (Any, Any)
        return {convert(name, kinds[0]): convert(item, kinds[1]) for name, item in _mapping(value).items()}
    if origin in (list, tuple, Sequence):
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)):
            raise ValueError(f"must be a list (got {value!r}).")
        hints = _fixed_items(origin, arguments) or [arguments[0] if arguments else Any] * len(items)
        if len(items) != len(hints):
            raise ValueError(f"must be a list of {len(hints)} (got {value!r}).")
        return (list if origin is list else tuple)(map(convert, items, hints))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _convert_enum(value, hint)
    converter = _CONVERTERS.get(hint)
    if converter is not None:
        return converter(value)
    if isinstance(hint, type) and not isinstance(value, hint):
        raise ValueError(f"must be {hint.__name__} (got {value!r}).")
    return value


def _fixed_items(origin: Any, arguments: tuple[Any, ...]) -> list[Any]:
    """Return the types of a tuple's items, where each has its own; none for a list, and for a tuple of any length."""
    return [] if origin is not tuple or Ellipsis in arguments else list(arguments)


def _mapping(value: Any) -> Mapping[Any, Any]:
    found = value
    if isinstance(value, str):
        try:
            found = json.loads(value)
        except ValueError:
            found = None
    if not isinstance(found, Mapping):
        raise ValueError(f'must be a mapping, as text {{"name": value}} (got {value!r}).')
    return found


def _convert_union(value: Any, arguments: tuple[Any, ...]) -> Any:
    if type(None) in arguments and (value is None or (isinstance(value, str) and value.lower() == "none")):
        return None
    reasons = []
    for argument in arguments:
        if argument is not type(None):
            try:
                return convert(value, argument)
            except ValueError as error:
                reasons.append(str(error))
    raise ValueError(reasons[0] if reasons else f"cannot be {value!r}.")


def _convert_enum(value: Any, kind: type[Enum]) -> Enum:
    """Return a member by itself, its value or its name."""
    for member in kind:
        if value is member or value == member.value or value in (str(member.value), member.name):
            return member
    raise ValueError(f"must be one of {', '.join(str(member.value) for member in kind)} (got {value!r}).")


def unknown_type(hint: Any) -> Any:
    """Return the first type within a declared one that text and JSON cannot stand for, or None."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType, list, tuple, dict, Mapping, Sequence):
        return next((kind for kind in map(unknown_type, arguments) if kind is not None), None)
    known = hint in (Any, Ellipsis, None, *_JSON_TYPES, list, tuple, dict) or origin is Literal
    return None if known or (isinstance(hint, type) and issubclass(hint, Enum)) else hint


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in TRUE_WORDS | FALSE_WORDS:
        return value.lower() in TRUE_WORDS
    raise ValueError(f"must be true or false (got {value!r}).")


def _int(value: Any) -> int:
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and value.strip().lstrip("+-").isdigit():
        return int(value)
    raise ValueError(f"must be a whole number (got {value!r}).")


def _float(value: Any) -> float:
    if isinstance(value, (Real, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isnan(number):
            return number
    raise ValueError(f"must be a number (got {value!r}).")


def _str(value: Any) -> str:
    if isinstance(value, (str, Path)):
        return str(value)
    raise ValueError(f"must be text (got {value!r}).")


_CONVERTERS = {bool: _bool, int: _int, float: _float, str: _str, Path: Path}
_JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", Path: "string", type(None): "null"}


def as_sizes(value: Any) -> list[int]:
    """
    Return the sizes of an axis: one, a list, or text such as ``"128,384"``.

    Raises:
        ValueError: There is none, or one is not a whole number of at least 1.
    """
    items = value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
    try:
        sizes = [_int(item) for item in items]
    except ValueError:
        raise ValueError(f"must be a size or a list of sizes (got {value!r}).") from None
    if not sizes or min(sizes) < 1:
        raise ValueError(f"sizes must be at least 1 (got {value!r}).")
    return sizes


def schema_of(hint: Any) -> dict[str, Any]:
    """Return the JSON schema of a declared type; empty if it may be anything."""
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, types.UnionType):
        kinds = [schema_of(argument) for argument in arguments]
        simple = [kind["type"] for kind in kinds if set(kind) == {"type"}]
        return {"type": simple} if len(simple) == len(kinds) else {"anyOf": kinds}
    if origin is Literal:
        return {"enum": list(arguments)}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [member.value for member in hint]}
    if origin in (dict, Mapping):
        return {"type": "object", **({"additionalProperties": schema_of(arguments[1])} if arguments else {})}
    if origin in (list, tuple, Sequence):
        if own := _fixed_items(origin, arguments):
            items = {"prefixItems": [schema_of(item) for item in own], "minItems": len(own), "maxItems": len(own)}
        else:
            items = {"items": schema_of(arguments[0])} if arguments else {}
        return {"type": "array", **items}
    return {"type": _JSON_TYPES[hint]} if hint in _JSON_TYPES else {}
