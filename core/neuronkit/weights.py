"""The tensors of a model: their signature, their file, and the checks before they are bound to a compiled graph."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import nn

from neuronkit.errors import WeightsError


@attrs.frozen
class Constant:
    """
    A tensor that a compiled graph leaves outside.

    Args:
        name: Its name in the traced module.
        dtype: Name of its dtype in the graph, such as ``"float32"``; auto-cast may have lowered it.
        shape: Its sizes.
        stride: Its strides, in elements.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name of a dtype without ``torch.``."""
    return str(dtype).removeprefix("torch.")


def constant(name: str, tensor: torch.Tensor) -> Constant:
    """Describe a tensor."""
    return Constant(name, dtype_name(tensor.dtype), tuple(tensor.shape), tuple(tensor.stride()))


def module_tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """
    Return every parameter and buffer by name; tied ones under each of their names, non-persistent buffers too.

    `state_dict` leaves out the latter (rotary frequencies, position ids), and a graph needs them.
    """
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in module.named_parameters(remove_duplicate=False):
        tensors[name] = tensor.detach()
    for name, tensor in module.named_buffers(remove_duplicate=False):
        tensors[name] = tensor.detach()
    return tensors


def ties(tensors: Mapping[str, torch.Tensor]) -> list[list[str]]:
    """Return the groups of names that share one storage, sorted."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for name, tensor in tensors.items():
        if tensor.numel():
            groups.setdefault((tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride())), []).append(name)
    return sorted(sorted(names) for names in groups.values() if len(names) > 1)


def signature(tensors: Mapping[str, torch.Tensor]) -> list[Any]:
    """Return what a graph without weights depends on: names, dtypes, shapes, strides and ties, in a canonical order."""
    described = [attrs.astuple(constant(name, tensor)) for name, tensor in sorted(tensors.items())]
    return [described, ties(tensors)]


def digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 of names and contents."""
    hashed = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        hashed.update(f"{name} {dtype_name(tensor.dtype)} {tuple(tensor.shape)}\n".encode())
        hashed.update(tensor.contiguous().flatten().view(torch.uint8).numpy())
    return hashed.hexdigest()


def fit(tensors: Mapping[str, torch.Tensor], constants: Iterable[Constant]) -> dict[str, torch.Tensor]:
    """
    Choose and convert the tensors that a graph needs.

    Args:
        tensors: By name in the traced module; more than needed is fine.
        constants: What the graph leaves outside.

    Returns:
        One tensor per constant, in the graph's dtype and strides.

    Raises:
        WeightsError: A tensor is missing or of another shape; the message lists all of them.
    """
    fitted: dict[str, torch.Tensor] = {}
    problems = []
    for wanted in constants:
        tensor = tensors.get(wanted.name)
        if tensor is None:
            problems.append(f"{wanted.name}: missing")
        elif tuple(tensor.shape) != wanted.shape:
            problems.append(f"{wanted.name}: shape {tuple(tensor.shape)}, but the graph has {wanted.shape}")
        else:
            tensor = tensor.to(getattr(torch, wanted.dtype))
            if tuple(tensor.stride()) != wanted.stride:
                tensor = torch.empty_strided(wanted.shape, wanted.stride, dtype=tensor.dtype).copy_(tensor)
            fitted[wanted.name] = tensor
    _raise_all(problems)
    return fitted


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


def write(file: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors to a safetensors file; names that share a storage are written once and listed in the metadata."""
    from safetensors.torch import save_file

    aliases: dict[str, str] = {}
    for group in ties(tensors):
        for name in group[1:]:
            aliases[name] = group[0]
    kept = {name: tensor.contiguous() for name, tensor in sorted(tensors.items()) if name not in aliases}
    strides = {name: tensor.stride() for name, tensor in tensors.items() if not tensor.is_contiguous()}
    if strides:
        raise WeightsError(f"Only contiguous weights can be written apart from the graph; these are not: {sorted(strides)}.")
    save_file(kept, file, metadata={f"alias {name}": target for name, target in aliases.items()})


def read(file: Path) -> dict[str, torch.Tensor]:
    """Map the tensors of a file that `write` wrote; pages are read when they are used."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # not a mapping
        for key, target in (opened.metadata() or {}).items():
            if key.startswith("alias "):
                tensors[key.removeprefix("alias ")] = tensors[target]
    return tensors
