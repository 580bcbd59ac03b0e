"""The raw input of a call: texts by name, and what is refused among them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from neuronkit.errors import InputError, OptionError, closest
from neuronkit.options import names as option_names


def check_names(inputs: Mapping[str, Any], known: Sequence[str], options: Any = None) -> None:
    """
    Refuse names that a task does not take.

    Args:
        inputs: What a call gave beside its options.
        known: The task's inputs.
        options: The options of the call, whose names may have been meant too.

    Raises:
        InputError: A name is unknown; the message suggests the nearest input.
        OptionError: It is nearer to an option than to any input.
    """
    accepted = [*known, *(option_names(type(options), "call") if options is not None else ())]
    for name in inputs:
        if name not in known:
            close = closest(name, accepted)
            if close and close not in known:
                raise OptionError(f"{name}: unknown option. Did you mean {close}?")
            hint = f"Did you mean {close!r}?" if close else f"It takes: {', '.join(accepted)}."
            raise InputError(f"{name}: unknown input. {hint}")


def as_texts(name: str, value: Any) -> tuple[list[str], bool]:
    """
    Return texts as a list, and whether it was a list that was given.

    Raises:
        InputError: The value is neither a text nor a list of texts.
    """
    if isinstance(value, str):
        return [value], False
    if isinstance(value, Iterable) and not isinstance(value, (bytes, Mapping, torch.Tensor)):
        texts = list(value)
        wrong = sorted({type(item).__name__ for item in texts if not isinstance(item, str)})
        if wrong:
            raise InputError(f"{name} must be a text or a list of texts (it has an item of type {wrong[0]}).")
        return texts, True
    raise InputError(f"{name} must be a text or a list of texts (got {type(value).__name__}).")


def read_text(inputs: Mapping[str, Any], options: Any, task: str) -> tuple[list[str], bool]:
    """
    Return the texts of a call that takes nothing else, and whether a list was given.

    Args:
        inputs: What the call gave beside its options.
        options: The options of the call.
        task: Its name, for the message.

    Raises:
        InputError: A name is unknown, or `text` is missing or not text.
        OptionError: A name is nearer to an option than to `text`.
    """
    check_names(inputs, ["text"], options)
    if "text" not in inputs:
        raise InputError(f"{task} needs text=...: a text or a list of texts.")
    return as_texts("text", inputs["text"])
