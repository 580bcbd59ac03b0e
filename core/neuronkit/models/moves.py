"""Every way to ask a module for another device or dtype, answered by its `to`."""

from __future__ import annotations

from typing import Any, Self

import torch


class Moves:
    """A module without parameters of its own, whose inherited methods would change nothing and not say so."""

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Accept the device and dtype that the module has, and no others."""
        raise NotImplementedError

    def bfloat16(self) -> Self:
        """See `to`."""
        return self.to(torch.bfloat16)

    def cpu(self) -> Self:
        """See `to`."""
        return self.to("cpu")

    def cuda(self, device: int | str | torch.device | None = None) -> Self:
        """See `to`."""
        return self.to(_device("cuda", device))

    def double(self) -> Self:
        """See `to`."""
        return self.to(torch.float64)

    def float(self) -> Self:
        """See `to`."""
        return self.to(torch.float32)

    def half(self, *_: Any) -> Self:
        """See `to`."""
        return self.to(torch.float16)

    def type(self, dst_type: Any) -> Self:
        """See `to`; torch knows what a tensor type or its name stands for."""
        return self.to(torch.empty(0).type(dst_type).dtype)

    def xpu(self, device: int | str | torch.device | None = None) -> Self:
        """See `to`."""
        return self.to(_device("xpu", device))


def _device(kind: str, device: int | str | torch.device | None) -> torch.device:
    return torch.device(kind, device) if isinstance(device, int) else torch.device(device or kind)
