"""Results as text and as JSON."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

SCHEMA = 1
"""Version of what commands print with ``--json``."""


def print_report(report: Mapping[str, Any]) -> None:
    """Print what a command says with ``--json``, the schema before it."""
    print_json({"schema": SCHEMA, **report})


def print_json(value: Any) -> None:
    """Print one JSON value, a list of plain values on one line."""
    print(_format_json(to_json(value), "\n"))


def to_json(value: Any) -> Any:
    """Return JSON-like data: arrays are lists, records objects, paths text; numbers that are not finite are null."""
    if value is None or isinstance(value, (str, bool, int)):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): to_json(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_json(item) for item in value]
    if hasattr(value, "tolist"):  # arrays, tensors, and their scalars
        return to_json(value.tolist())
    if isinstance(value, (os.PathLike, Enum)):
        return str(value.value if isinstance(value, Enum) else value)
    if hasattr(value, "__attrs_attrs__"):
        import attrs

        return to_json(attrs.asdict(value, recurse=False))
    return str(value)


def _format_json(value: Any, line: str) -> str:
    import json

    deeper = line + "  "
    if isinstance(value, dict) and value:
        items = (
            f"{json.dumps(name, ensure_ascii=False)}: {_format_json(item, deeper)}" for name, item in value.items()
        )
        return "{" + deeper + ("," + deeper).join(items) + line + "}"
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        return "[" + deeper + ("," + deeper).join(_format_json(item, deeper) for item in value) + line + "]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def format_table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return rows in columns of even width."""
    cells = [[str(cell) for cell in row] for row in (headers, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headers))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join(lines)


def format_result(value: Any) -> str:
    """Return a result for people: text as it is, a line per field, a table of equal records, arrays shortened."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return "\n".join(f"{name}: {_format_item(item)}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        if value and all(isinstance(item, Mapping) and item.keys() == value[0].keys() for item in value):
            return format_table(list(value[0]), ([_format_item(cell) for cell in item.values()] for item in value))
        return "\n".join(format_result(item) for item in value)
    return _format_item(value)


def format_size(size: int) -> str:
    """Return a number of bytes as people read it."""
    amount = float(size)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def _format_item(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if hasattr(value, "tolist"):
        shape = tuple(getattr(value, "shape", ()))
        if not shape:
            return _format_item(value.tolist())
        flat = value.reshape(-1)
        numbers = ", ".join(_format_item(item) for item in flat[:4].tolist())
        dots = ", ..." if len(flat) > 4 else ""
        return f"{' x '.join(map(str, shape))} numbers [{numbers}{dots}]"
    if isinstance(value, (list, tuple)) and not any(isinstance(item, (list, tuple, Mapping)) for item in value):
        return ", ".join(map(_format_item, value))
    return format_result(value) if isinstance(value, (list, tuple, Mapping)) else str(value)
