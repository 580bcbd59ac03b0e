"""The order in memory that weights have while a graph is traced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def channels_last(module: nn.Module) -> Iterator[None]:
    """
    Give the four-dimensional weights of a module the strides of channels last, without their values.

    A graph whose weights stay apart depends on strides alone; memory that nobody writes to takes no room.

    Args:
        module: Has its own weights again when this ends.
    """
    kept = [tensor for tensor in (*module.parameters(), *module.buffers()) if tensor.dim() == 4]
    own = [tensor.data for tensor in kept]
    for tensor in kept:
        tensor.data = torch.empty_like(tensor, memory_format=torch.channels_last)
    try:
        yield
    finally:
        for tensor, data in zip(kept, own, strict=True):
            tensor.data = data
