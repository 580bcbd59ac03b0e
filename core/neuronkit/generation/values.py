"""The kinds of values that fields of a generation config take: transformers finds a wrong one in the middle of its work."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch

from neuronkit.errors import InputError


def require_kinds(values: Mapping[str, Any]) -> None:
    """
    Refuse values of a kind that nothing can be made of.

    Args:
        values: By field; None asks for nothing, and fields of other kinds are left to transformers.

    Raises:
        InputError: It names the field, its value and what it takes.
    """
    for name, (takes, fits) in _KINDS.items():
        value = values.get(name)
        if value is not None and not fits(value):
            raise InputError(f"{name} must be {takes} (got {value!r}).\nTry: {_instead(name, value)}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) or (isinstance(value, torch.Tensor) and value.numel() == 1)


def _is_length(value: Any) -> bool:
    return _is_number(value) and math.isfinite(value)


def _is_token(value: Any) -> bool:
    return isinstance(value, (Integral, torch.Tensor, np.ndarray))


def _are_tokens(value: Any) -> bool:
    return _is_token(value) or (isinstance(value, (list, tuple)) and all(map(_are_tokens, value)))


def _is_list_of_tokens(value: Any) -> bool:
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return value.ndim == 1
    return isinstance(value, (list, tuple, set, frozenset, range)) and all(
        isinstance(token, Integral) for token in value
    )


def _are_texts(value: Any) -> bool:
    texts = value if isinstance(value, (list, tuple, set, frozenset)) else [value]
    return all(isinstance(text, str) and text for text in texts)


def _is_pair_of_numbers(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_number, value))


_ONE, _SOME, _LIST = (
    ("the id of a token", _is_token),
    ("the id of a token, or a list of them", _are_tokens),
    ("a list of ids of tokens", _is_list_of_tokens),
)
_OF_TOKENS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "begin_suppress_tokens": _LIST,
    "bos_token_id": _ONE,
    "eos_token_id": _SOME,
    "forced_bos_token_id": _ONE,
    "forced_eos_token_id": _SOME,
    "pad_token_id": _ONE,
    "suppress_tokens": _LIST,
}
_LENGTHS = ("max_length", "max_new_tokens", "min_length", "min_new_tokens")
_NUMBERS = (
    "encoder_no_repeat_ngram_size",
    "encoder_repetition_penalty",
    "epsilon_cutoff",
    "eta_cutoff",
    "length_penalty",
    "max_matching_ngram_size",
    "max_time",
    "min_p",
    "no_repeat_ngram_size",
    "num_assistant_tokens",
    "num_beams",
    "num_return_sequences",
    "prompt_lookup_num_tokens",
    "repetition_penalty",
    "temperature",
    "top_h",
    "top_k",
    "top_p",
    "typical_p",
)
_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    **_OF_TOKENS,
    **dict.fromkeys(_LENGTHS, ("a number of tokens", _is_length)),
    **dict.fromkeys(_NUMBERS, ("a number", _is_number)),
    "stop_strings": ("a text or a list of texts, and none of them empty", _are_texts),
    "exponential_decay_length_penalty": ("the length from which on it counts, and a factor", _is_pair_of_numbers),
}


def _instead(name: str, value: Any) -> str:
    """Return what was probably meant."""
    first = value[0] if isinstance(value, (list, tuple)) and value else value
    if name in _OF_TOKENS and isinstance(first, str):
        return f"tokenizer.convert_tokens_to_ids({first!r})"
    if _KINDS[name] is _LIST and isinstance(value, Integral):
        return f"{name}=[{value!r}]"
    if name in (*_LENGTHS, *_NUMBERS) and isinstance(value, str):
        try:
            return f"{name}={int(value) if value.strip().isdecimal() else float(value)}"
        except ValueError:
            pass
    return "leave it out"
