"""The token ids that stand for an image: numbers of a VQ model's codebook, and one for what is masked."""

from __future__ import annotations

import torch

from neuronkit.errors import InputError


def require_codes(name: str, ids: torch.Tensor, count: int) -> None:
    """
    Refuse ids that stand for nothing: compiled code that meets one may end the process, which nobody can catch.

    Args:
        name: What the caller calls them.
        ids: Integers of any shape.
        count: How many ids there are, from 0 on.

    Raises:
        InputError: One is negative, or `count` or more.

    """
    if ids.is_floating_point() or not ids.numel():
        return  # the graph says what is wrong
    low, high = (int(bound) for bound in ids.aminmax())
    if low < 0 or high >= count:
        raise InputError(f"{name} holds {low if low < 0 else high}, and the model has the token ids 0 to {count - 1}.")
