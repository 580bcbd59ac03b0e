"""Conditions of a call that a compiled component has no input for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neuronkit.errors import InputError


def refuse(component: str, **conditions: Any) -> None:
    """
    Refuse conditions that no graph of ours takes.

    Raises:
        InputError: One of them is not None.

    """
    for name, value in conditions.items():
        if value is not None:
            raise InputError(f"{component} is compiled and was not given the input {name}; it cannot be used here.")


def refuse_attention_kwargs(component: str, given: Mapping[str, Any] | None) -> None:
    """
    Refuse keywords for attention processors: the graph has none to hand them to.

    Raises:
        InputError: There is one, other than a LoRA scale of 1.

    """
    for name, value in (given or {}).items():
        if name == "scale" and value == 1.0:
            continue
        hint = "compile with lora_scales, or use set_adapters" if name == "scale" else "leave it out"
        raise InputError(f"cross_attention_kwargs[{name!r}] has no effect on a compiled {component}.\nTry: {hint}.")
