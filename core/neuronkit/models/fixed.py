"""
What a compiled object answers where an eager one would change.

What would change a graph that is fixed is refused, with the compile option that does it; what only saves memory is accepted, and
said once to have no effect.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NoReturn, Self

import torch

from neuronkit.errors import FixedGraphError, InputError


class Fixed:
    """An object whose graphs are compiled."""

    @property
    def _described(self) -> str:
        """What messages call it."""
        raise NotImplementedError

    def _say_unchanged(self, method: str) -> None:
        """Print that a method has no effect, once for each."""
        said: set[str] = self.__dict__.setdefault("_said", set())
        if method not in said:
            said.add(method)
            print(f"note: {method} changes nothing: {self._described} is compiled", file=sys.stderr)  # noqa: T201

    def _refuse_change(self, method: str, option: str | None = None) -> NoReturn:
        """
        Refuse a method.

        Args:
            method: Its name.
            option: The compile option that does the same.

        Raises:
            FixedGraphError: Always.
        """
        hint = f"\nTry: compile with {option}." if option else ""
        raise FixedGraphError(f"{method} would change {self._described}, which is compiled.{hint}")


def unchanging(name: str) -> Callable[..., None]:
    """Return a method that says to have no effect."""

    def method(self: Fixed, *_: Any, **__: Any) -> None:
        self._say_unchanged(name)

    method.__doc__ = "Change nothing, and say so once."
    return method


def refusing(name: str, option: str | None) -> Callable[..., NoReturn]:
    """Return a method that is refused, in favour of a compile option if there is one."""

    def method(self: Fixed, *_: Any, **__: Any) -> NoReturn:
        self._refuse_change(name, option)

    method.__doc__ = f"Refuse: it is a compile option ({option})." if option else "Refuse: the graph is fixed."
    return method


class FixedModule(Fixed):
    """
    A module without parameters of its own, which takes and gives CPU tensors of float32: whatever runs the graph, and whatever it
    computes in.

    Every way to ask a module for another device or dtype is answered by `to`: the inherited ones would change nothing and not
    say so.
    """

    @property
    def device(self) -> torch.device:
        """Where tensors are taken from and put."""
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of what goes in and comes out."""
        return torch.float32

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """
        Accept the device and dtype that the module has.

        Raises:
            InputError: Another device or dtype was asked for: both are fixed when a model is compiled.

        """
        device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
        if device is not None and device.type != "cpu":
            raise InputError(
                f"{self._described} cannot be moved to {device}: it is compiled, and takes and gives CPU tensors."
            )
        if dtype not in (None, self.dtype):
            raise InputError(
                f"{self._described} keeps its dtype ({self.dtype}): it is compiled.\n"
                "Try: compile with auto_cast and auto_cast_type."
            )
        return self

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
