"""The library's linear layers, which on AVX2 are faster than oneDNN's and BLAS's."""

from __future__ import annotations

from functools import cache

import torch
from torch._ops import OpOverload

from neuronkit.backends.cpu.library.build import define

WEIGHTS = frozenset({torch.float32, torch.bfloat16, torch.float16, torch.int8})
"""The precisions in which weights are read; rows and results are float32."""
TAKES = "AtenTensorHandle, AtenTensorHandle, AtenTensorHandle*, int32_t, AtenTensorHandle*"
"""In C; the last is the result."""


@cache
def operator() -> OpOverload:
    """
    Return the operator ``(rows, weight, bias or None, gelu)``; with the last, GELU follows.

    Rows are float32 ``[..., in]``, a weight ``[out, in]`` is in one of `WEIGHTS`, a bias float32 ``[out]``, and results float32
    ``[..., out]``; all are contiguous.
    """
    arguments = "Tensor rows, Tensor weight, Tensor? bias, bool gelu=False"
    return define("linear", arguments, torch.Tag.needs_contiguous_strides, _by_torch, _shape)


def _by_torch(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, gelu: bool = False) -> torch.Tensor:
    found = torch.nn.functional.linear(rows, weight.to(torch.float32), bias)
    return torch.nn.functional.gelu(found) if gelu else found


def _shape(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, gelu: bool = False) -> torch.Tensor:
    return rows.new_empty((*rows.shape[:-1], weight.shape[0]))
