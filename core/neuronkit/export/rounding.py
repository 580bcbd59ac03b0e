"""A lower precision on a machine that has no arithmetic for it: products in fp32 on rounded operands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_OPERANDS: dict[Callable[..., Any], int] = {
    functional.linear: 2,
    functional.conv1d: 2,
    functional.conv2d: 2,
    functional.conv3d: 2,
    functional.conv_transpose1d: 2,
    functional.conv_transpose2d: 2,
    functional.scaled_dot_product_attention: 3,
    torch.addmm: 3,
    torch.baddbmm: 3,
    torch.bmm: 2,
    torch.matmul: 2,
    torch.mm: 2,
    torch.Tensor.__matmul__: 2,
    torch.Tensor.__rmatmul__: 2,
    torch.Tensor.bmm: 2,
    torch.Tensor.matmul: 2,
    torch.Tensor.mm: 2,
}
"""How many of a product's first arguments are operands. Masks and biases stay as they are."""


class RoundedProducts(TorchFunctionMode):
    """
    While it is active, the operands of products are rounded to a precision and multiplied in float32.

    That is what hardware for the precision computes, up to the order of the sum: it multiplies exactly and adds up in float32.

    Args:
        precision: ``torch.bfloat16`` or ``torch.float16``.
    """

    def __init__(self, precision: torch.dtype) -> None:
        super().__init__()
        self._precision = precision

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if operands := _OPERANDS.get(func):
            args = [self._round(argument) for argument in args[:operands]] + list(args[operands:])
        elif func is torch.einsum:
            args = [args[0], *(self._round(argument) for argument in args[1:])]
        return func(*args, **(kwargs or {}))

    def _round(self, argument: Any) -> Any:
        if not isinstance(argument, torch.Tensor) or argument.dtype != torch.float32:
            return argument
        return argument.to(self._precision).to(torch.float32)
