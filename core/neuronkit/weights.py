"""The tensors of a model: their signature, what a compiled graph needs of them, and the checks before they are bound to it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from math import prod
from typing import Any, TypeVar

import attrs
import torch
from torch import nn

from neuronkit.errors import WeightsError

T = TypeVar("T")


@attrs.frozen
class Constant:
    """
    A tensor that a compiled graph leaves outside.

    Args:
        name: Its name in the traced module.
        dtype: Name of its dtype in the graph, such as ``"float32"``; auto-cast may have lowered it.
        shape: Its sizes.
        stride: Its strides, in elements.
        rounded: A precision that its values are rounded to, although it is stored in `dtype`; None leaves them alone.
        packed: The graph takes it in an order of the backend's own as well, and runs faster so: the backend makes it at load.
        turned: The graph takes it with its two axes exchanged.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    rounded: str | None = attrs.field(default=None, eq=False)
    packed: bool = attrs.field(default=False, eq=False)
    turned: bool = attrs.field(default=False, eq=False)


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name of a dtype without ``torch.``."""
    return str(dtype).removeprefix("torch.")


def is_floating(name: str) -> bool:
    """Tell whether a dtype, given by its name, is a floating one."""
    dtype: torch.dtype = getattr(torch, name)
    return dtype.is_floating_point


def constant(name: str, tensor: torch.Tensor, *, packed: bool = False, turned: bool = False) -> Constant:
    """Describe a tensor, as the model has it."""
    return Constant(name, dtype_name(tensor.dtype), tuple(tensor.shape), _strides(tensor), None, packed, turned)


def _strides(tensor: torch.Tensor) -> tuple[int, ...]:
    """Return the strides that matter: those of axes of size 1 are free, and written as if the tensor were contiguous."""
    if not tensor.is_contiguous():
        return tuple(tensor.stride())
    return tuple(prod(tensor.shape[axis + 1 :]) for axis in range(tensor.dim()))


def module_tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """
    Return every parameter and buffer by name; tied ones under each of their names, non-persistent buffers too.

    `state_dict` leaves out the latter (rotary frequencies, position ids), and a graph needs them.
    """
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        tensors[name] = parameter.detach()
    for name, buffer in module.named_buffers(remove_duplicate=False):
        tensors[name] = buffer.detach()
    return tensors


def ties(tensors: Mapping[str, torch.Tensor]) -> list[list[str]]:
    """Return the groups of names that share one storage, sorted."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for name, tensor in tensors.items():
        if tensor.numel():
            groups.setdefault(_place(tensor), []).append(name)
    return sorted(sorted(names) for names in groups.values() if len(names) > 1)


def _place(tensor: torch.Tensor) -> tuple[Any, ...]:
    return (tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride()))


def signature(tensors: Mapping[str, torch.Tensor]) -> list[Any]:
    """Return what a graph without weights depends on: names, dtypes, shapes, strides and ties, in a canonical order."""
    described = [attrs.astuple(constant(name, tensor)) for name, tensor in sorted(tensors.items())]
    return [described, ties(tensors)]


def digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 of names and contents."""
    hashed = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        hashed.update(f"{name} {dtype_name(tensor.dtype)} {tuple(tensor.shape)}\n".encode())
        hashed.update(raw_bytes(tensor))
    return hashed.hexdigest()


def raw_bytes(tensor: torch.Tensor) -> memoryview:
    """Return the bytes of a tensor in the order of its axes, without a copy where they lie so."""
    return tensor.contiguous().flatten().view(torch.uint8).numpy().data


@attrs.frozen(eq=False)
class Fitted:
    """
    A tensor as a graph needs it, which is made of a model's when it is asked for, and takes no memory until then.

    Args:
        source: The model's. It must stay alive.
        wanted: What the graph needs.
    """

    source: torch.Tensor
    wanted: Constant

    @property
    def is_converted(self) -> bool:
        """Whether it differs from the model's tensor."""
        return self.wanted.rounded is not None or constant(self.wanted.name, self.source) != self.wanted

    @property
    def identity(self) -> tuple[Any, ...]:
        """Equal for those that are the same tensor."""
        wanted = self.wanted
        return (*_place(self.source), wanted.dtype, wanted.stride, wanted.rounded)

    def make(self) -> torch.Tensor:
        """Return the model's tensor, or a new one in the graph's dtype and strides."""
        if not self.is_converted:
            return self.source
        wanted = self.wanted
        rounded = self.source if wanted.rounded is None else self.source.to(getattr(torch, wanted.rounded))
        return torch.empty_strided(wanted.shape, wanted.stride, dtype=getattr(torch, wanted.dtype)).copy_(rounded)


def fit(tensors: Mapping[str, torch.Tensor], constants: Iterable[Constant]) -> dict[str, Fitted]:
    """
    Choose the tensors that a graph needs, one per constant.

    Args:
        tensors: By name in the traced module; more than needed is fine.
        constants: What the graph leaves outside.

    Raises:
        WeightsError: A tensor is missing or of another shape; the message lists all of them.
    """
    fitted: dict[str, Fitted] = {}
    problems = []
    for wanted in constants:
        tensor = tensors.get(wanted.name)
        if tensor is None:
            problems.append(f"{wanted.name}: missing")
        elif tuple(tensor.shape) != wanted.shape:
            problems.append(f"{wanted.name}: shape {tuple(tensor.shape)}, but the graph has {wanted.shape}")
        else:
            fitted[wanted.name] = Fitted(tensor, wanted)
    _raise_all(problems)
    return fitted


def make_once(fitted: Mapping[str, Fitted], made: dict[tuple[Any, ...], torch.Tensor]) -> dict[str, torch.Tensor]:
    """
    Make tensors, each of them once.

    Args:
        fitted: By name.
        made: What was made before, by identity; it grows.
    """
    for tensor in fitted.values():
        if tensor.identity not in made:
            made[tensor.identity] = tensor.make()
    return {name: made[tensor.identity] for name, tensor in fitted.items()}


def check(tensors: Mapping[str, torch.Tensor], constants: Iterable[Constant]) -> None:
    """
    Compare tensors with what a graph expects, before they are bound.

    A compiled graph does not check: a missing constant is a segmentation fault, a wrong stride a wrong result.

    Raises:
        WeightsError: A name, shape, dtype or stride differs; the message lists all of them.
    """
    problems = []
    for wanted in constants:
        tensor = tensors.get(wanted.name)
        if tensor is None:
            problems.append(f"{wanted.name}: missing")
        elif constant(wanted.name, tensor) != wanted:
            problems.append(f"{wanted.name}: {constant(wanted.name, tensor)}, but the graph expects {wanted}")
    _raise_all(problems)


def _raise_all(problems: list[str]) -> None:
    if problems:
        shown = problems[:8] + ([f"and {len(problems) - 8} more"] if len(problems) > 8 else [])
        raise WeightsError("The weights do not fit the graph:\n  " + "\n  ".join(shown))


SCOPE = "/"
"""Stands between a graph's name and a tensor's in a weights' file."""


def scoped(graph: str, tensors: Mapping[str, T]) -> dict[str, T]:
    """Put a graph's name before the names of its tensors."""
    return {f"{graph}{SCOPE}{name}": tensor for name, tensor in tensors.items()}


def of_graph(graph: str, tensors: Mapping[str, T]) -> dict[str, T]:
    """Return the tensors of one graph, by their own names."""
    prefix = f"{graph}{SCOPE}"
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
