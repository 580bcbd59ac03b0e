"""The tensors of a model: their signature, their file, and the checks before they are bound to a compiled graph."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import nn

from neuronkit.errors import ArtifactWriteError, WeightsError


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
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    rounded: str | None = attrs.field(default=None, eq=False)


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name of a dtype without ``torch.``."""
    return str(dtype).removeprefix("torch.")


def is_floating(name: str) -> bool:
    """Tell whether a dtype, given by its name, is a floating one."""
    dtype: torch.dtype = getattr(torch, name)
    return dtype.is_floating_point


def constant(name: str, tensor: torch.Tensor, rounded: str | None = None) -> Constant:
    """Describe a tensor."""
    return Constant(name, dtype_name(tensor.dtype), tuple(tensor.shape), _strides(tensor), rounded)


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
        hashed.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return hashed.hexdigest()


class Fitting:
    """
    Chooses and converts the tensors that graphs need.

    What two graphs need alike is converted once and stays one tensor.
    """

    def __init__(self) -> None:
        self._converted: dict[tuple[Any, ...], torch.Tensor] = {}

    def fit(self, tensors: Mapping[str, torch.Tensor], constants: Iterable[Constant]) -> dict[str, torch.Tensor]:
        """
        Return one tensor per constant, in the graph's dtype and strides.

        Args:
            tensors: By name in the traced module; more than needed is fine. They must outlive this object.
            constants: What the graph leaves outside.

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
                fitted[wanted.name] = self._convert(tensor, wanted)
        _raise_all(problems)
        return fitted

    def _convert(self, tensor: torch.Tensor, wanted: Constant) -> torch.Tensor:
        if wanted.rounded is None and constant(wanted.name, tensor) == wanted:
            return tensor
        key = (
            tensor.data_ptr(),
            tensor.storage_offset(),
            tuple(tensor.stride()),
            wanted.shape,
            wanted.dtype,
            wanted.stride,
            wanted.rounded,
        )
        if key not in self._converted:
            if wanted.rounded:
                tensor = tensor.to(getattr(torch, wanted.rounded))
            converted = torch.empty_strided(wanted.shape, wanted.stride, dtype=getattr(torch, wanted.dtype))
            self._converted[key] = converted.copy_(tensor)
        return self._converted[key]


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
    """
    Write tensors to a safetensors file.

    Names that share a storage are written once, and listed in the file's metadata. The format holds contiguous tensors only:
    one with permuted axes (channels last) is written in the order of its memory, and its axes are in the metadata too.

    Raises:
        ArtifactWriteError: The disk is full, or the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    metadata = {f"alias {name}": group[0] for group in ties(tensors) for name in group[1:]}
    kept: dict[str, torch.Tensor] = {}
    for name, tensor in sorted(tensors.items()):
        if f"alias {name}" in metadata:
            continue
        order = sorted(range(tensor.dim()), key=tensor.stride, reverse=True)
        permuted = tensor.permute(order)
        if tensor.is_contiguous() or not permuted.is_contiguous():
            kept[name] = tensor.contiguous()
        else:
            kept[name] = permuted
            metadata[f"axes {name}"] = ",".join(map(str, order))
    try:
        save_file(_without_overlap(kept), file, metadata=metadata)
    except SafetensorError as error:
        free = shutil.disk_usage(file.parent).free // 2**20
        raise ArtifactWriteError(
            f"Could not write {file.name}: {error} ({free} MB free there). Nothing was left behind.\n"
            "Try: another directory, or free some space (`neuronkit cache clear` empties the cache)."
        ) from error


def _without_overlap(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copy the contiguous tensors that lie partly in the memory of another one, which the format refuses."""
    separate: dict[str, torch.Tensor] = {}
    reached = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].data_ptr()):
        start = tensor.data_ptr()
        separate[name] = tensor.clone() if start < reached else tensor
        reached = max(reached, start + tensor.numel() * tensor.element_size())
    return separate


def read(file: Path) -> dict[str, torch.Tensor]:
    """Map the tensors of a file that `write` wrote; pages are read when they are used."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata() or {}
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # not a mapping
    for name, tensor in tensors.items():
        if order := metadata.get(f"axes {name}"):
            axes = [int(axis) for axis in order.split(",")]
            tensors[name] = tensor.permute([axes.index(axis) for axis in range(len(axes))])
    aliases = {key.removeprefix("alias "): target for key, target in metadata.items() if key.startswith("alias ")}
    return tensors | {name: tensors[target] for name, target in aliases.items()}


SCOPE = "/"
"""Stands between a graph's name and a tensor's in a weights' file."""


def scoped(graph: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Put a graph's name before the names of its tensors."""
    return {f"{graph}{SCOPE}{name}": tensor for name, tensor in tensors.items()}


def of_graph(graph: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors of one graph, by their own names."""
    prefix = f"{graph}{SCOPE}"
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
