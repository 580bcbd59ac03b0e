"""How large the buffers of a program may be, and into how many parts what is larger goes."""

from __future__ import annotations

from math import prod

import torch

from neuronkit.backends.cpu.limits import SCRATCH_BYTES

_ROWS_OF_GUIDANCE = 2


def usual_size(size: int | torch.SymInt) -> int:
    """Return a size, or, where it is dynamic, that of the calls to be fast: guidance computes two images at once."""
    return size if isinstance(size, int) else _ROWS_OF_GUIDANCE


def buffer_bytes(value: torch.Tensor) -> int:
    """Return how many bytes a result takes."""
    return prod(map(usual_size, value.shape)) * value.element_size()


def equal_parts(size: int, of: int) -> int:
    """Return into how many equal parts ``of`` things must go for each to have a share of `size` bytes below the limit."""
    return next((parts for parts in range(1, of) if of % parts == 0 and size < parts * SCRATCH_BYTES), of)
