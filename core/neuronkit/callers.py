"""What a caller has set in torch for code of its own, and compiling and loading are not to follow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def without_settings() -> Iterator[None]:
    """Make tensors on the CPU and compute in their own precision, whatever default device and autocast the caller has."""
    with ExitStack() as stack:
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if torch.is_autocast_enabled("cpu"):
            stack.enter_context(torch.autocast("cpu", enabled=False))
        yield
