"""Markdown out of docstrings, signatures and fields."""

from __future__ import annotations

import ast
import enum
import inspect
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

NOTE = "<!-- Written by `make docs-reference` from the code. A test compares the two. -->"
SECTIONS = ("Args", "Returns", "Yields", "Raises")
_TITLES = {"Args": "Arguments", "Returns": "Returns", "Yields": "Yields", "Raises": "Raises"}
_SECTION = re.compile(rf"^({'|'.join(SECTIONS)}):\n((?:(?:[ \t].*)?\n?)*)", re.MULTILINE)
_ENTRY = re.compile(r"^(\S.*?): (.*(?:\n[ \t]+.*|\n)*)", re.MULTILINE)


def page(title: str, *parts: str) -> str:
    """Return a page with the note that it is written by a tool."""
    return "\n\n".join([f"# {title}", NOTE, *(part.strip("\n") for part in parts if part.strip())]) + "\n"


def prose(text: str) -> str:
    """Return a docstring's paragraphs as Markdown: code in single backticks, each paragraph on a line."""
    paragraphs = re.split(r"\n\s*\n", textwrap.dedent(text).strip())
    return "\n\n".join(" ".join(part.split()) for part in paragraphs if part).replace("``", "`")


def docstring(item: Any, *, but: str = "") -> str:
    """
    Return the docstring of a class or function as Markdown.

    Args:
        item: Class or function.
        but: Prose to use in place of a docstring that says nothing but what attrs or Python made up.
    """
    text = inspect.cleandoc(item.__doc__ or "") + "\n"
    sections = []
    for name, body in _SECTION.findall(text):
        entries = [
            f"- `{term}`: {prose(what)}" if name != "Raises" else f"- `{_last(term)}`: {prose(what)}"
            for term, what in _ENTRY.findall(textwrap.dedent(body))
        ]
        content = "\n".join(entries) if name in ("Args", "Raises") and entries else prose(body)
        sections.append(f"**{_TITLES[name]}**\n\n{content}")
    summary = prose(_SECTION.sub("\n", text)) or but
    return "\n\n".join([summary, *sections])


def arguments_of(item: Any) -> dict[str, str]:
    """Return what the ``Args`` section of a docstring says, by name."""
    text = inspect.cleandoc(item.__doc__ or "") + "\n"
    for name, body in _SECTION.findall(text):
        if name == "Args":
            return {term: prose(what) for term, what in _ENTRY.findall(textwrap.dedent(body))}
    return {}


def summary(item: Any) -> str:
    """Return the first paragraph of a docstring, on one line."""
    return prose(inspect.cleandoc(item.__doc__ or "")).partition("\n\n")[0]


def signature(item: Any, name: str) -> str:
    """Return ``name(parameters) -> result`` in a fence, folded where it is long."""
    found = inspect.signature(item)
    parameters = [_parameter(one) for one in found.parameters.values() if one.name not in ("self", "cls")]
    kinds = [one.kind for one in found.parameters.values() if one.name not in ("self", "cls")]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        parameters.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    empty = found.return_annotation is inspect.Signature.empty
    result = "" if empty else f" -> {type_name(found.return_annotation)}"
    line = f"{name}({', '.join(parameters)}){result}"
    if len(line) > 100:
        line = f"{name}(\n" + "".join(f"    {parameter},\n" for parameter in parameters) + f"){result}"
    return f"```python\n{line}\n```"


def type_name(kind: Any) -> str:
    """Return a type as it is written in code, without modules but torch."""
    text = kind if isinstance(kind, str) else inspect.formatannotation(kind)
    return re.sub(r"\b(?!torch\.)(?:[a-z_]\w*\.)+(?=[A-Za-z])", "", text)


def field_type(item: type, name: str) -> str:
    """Return the type of an attrs field as it is written: what attrs has of it changes when somebody resolves it."""
    annotations = [inspect.get_annotations(base) for base in item.__mro__]
    return type_name(next(found[name] for found in annotations if name in found))


def default_of(value: Any) -> str:
    """Return a default as it is written in code."""
    return "attrs.NOTHING" if value is attrs.NOTHING else str(value) if isinstance(value, enum.Enum) else repr(value)


def _parameter(one: inspect.Parameter) -> str:
    stars = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
    kind = "" if one.annotation is one.empty else f": {type_name(one.annotation)}"
    default = "" if one.default is one.empty else f" = {default_of(one.default)}"
    return f"{stars}{one.name}{kind}{default if kind else default.replace(' ', '')}"


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; bars inside cells are escaped."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(
        f"| {' | '.join(re.sub(chr(10), ' ', str(cell)).replace('|', chr(92) + '|') for cell in line)} |"
        for line in lines
    )


def code(value: Any) -> str:
    """Return a value in backticks, or nothing for None."""
    return "" if value is None else f"`{value}`"


def module_docstrings(path: Any) -> str:
    """Return a module's docstring without importing it."""
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def _last(term: str) -> str:
    return term.rsplit(".", 1)[-1]
