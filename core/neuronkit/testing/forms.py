"""The form of results: which types stand where, written as a value of the same form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DOCUMENTED: dict[str, Any] = {
    "feature-extraction": "array",
    "fill-mask": [{"score": float, "token": int, "token_str": str, "sequence": str}],
    "image-to-image": ["image"],
    "inpainting": ["image"],
    "multiple-choice": {"choice": str, "index": int, "score": float, "scores": [float]},
    "question-answering": {"answer": str, "score": float, "start": int, "end": int},
    "sentence-similarity": "array",
    "text-classification": {"label": str, "score": float},
    "text-generation": {"generated_text": str},
    "text-to-image": ["image"],
    "token-classification": [
        {"entity": str, "score": float, "index": int, "word": str, "start": (int, type(None)), "end": (int, type(None))}
    ],
}
"""What a plugin of a task gives for one input, for the tasks that neuronkit knows."""


def mismatch(value: Any, form: Any, where: str = "the result") -> str | None:
    """
    Return in words how a value differs from a form, or None.

    Args:
        value: What a pipeline gave.
        form: A type; ``"array"`` (anything with a shape and a dtype) or ``"image"`` (anything with a size and a mode); a list
            of one form, for a list of at least one; a tuple of forms, any of which will do; or a mapping from keys to forms,
            for a mapping with these keys and no others.
        where: What the value is called in the answer.
    """
    if isinstance(form, str):
        needed = {"array": ("shape", "dtype"), "image": ("size", "mode")}[form]
        return None if all(hasattr(value, name) for name in needed) else f"{where} is a {_kind(value)}, not an {form}"
    if isinstance(form, type):
        return None if isinstance(value, form) else f"{where} is a {_kind(value)}, not a {form.__name__}"
    if isinstance(form, tuple):
        found = [mismatch(value, one, where) for one in form]
        return None if None in found else " and ".join(map(str, found))
    if isinstance(form, list):
        if not isinstance(value, list) or not value:
            return f"{where} is a {_kind(value)}, not a list of at least one"
        return next(filter(None, (mismatch(item, form[0], f"{where}[{i}]") for i, item in enumerate(value))), None)
    if not isinstance(value, Mapping):
        return f"{where} is a {_kind(value)}, not a mapping"
    if set(value) != set(form):
        return f"{where} has the keys {sorted(value)}, not {sorted(form)}"
    return next(filter(None, (mismatch(value[key], form[key], f"{where}[{key!r}]") for key in form)), None)


def _kind(value: Any) -> str:
    return type(value).__name__
