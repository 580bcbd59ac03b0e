"""The library's attention, which on AVX2 is faster than torch's."""

from __future__ import annotations

from functools import cache

import torch
from torch._ops import OpOverload

from neuronkit.backends.cpu.library.build import define

TAKES = "AtenTensorHandle, AtenTensorHandle, AtenTensorHandle, AtenTensorHandle*, double, AtenTensorHandle*"
"""In C; the last is the result."""


@cache
def operator() -> OpOverload:
    """
    Return the operator ``(queries, keys, values, mask or None, scale)``.

    Queries are float32 ``[batch, heads, queries, size]``; keys and values ``[batch, heads or a divisor of them, keys, size]``.
    The first three axes may be in any order in memory. A mask is bool (what is allowed) or float32 (what is added to scores)
    ``[batch or 1, heads or 1, queries or 1, keys]``. Results are float32 ``[batch, queries, heads, size]``, contiguous; zeros
    for a query that is allowed nothing.
    """
    arguments = "Tensor queries, Tensor keys, Tensor values, Tensor? mask, float scale"
    return define("attention", arguments, torch.Tag.needs_fixed_stride_order, _by_torch, _shape)


def _by_torch(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None, scale: float
) -> torch.Tensor:
    found = torch.nn.functional.scaled_dot_product_attention(queries, keys, values, mask, scale=scale, enable_gqa=True)
    return found.transpose(1, 2).contiguous()


def _shape(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None, scale: float
) -> torch.Tensor:
    batch, heads, count, size = queries.shape
    return queries.new_empty((batch, count, heads, size))
