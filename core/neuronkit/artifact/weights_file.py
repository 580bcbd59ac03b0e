"""The file of an artifact's weights: safetensors, with ties and permuted axes in its metadata."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch

from neuronkit.errors import WeightsError
from neuronkit.weights import Constant, Fitted, dtype_name, raw_bytes

WEIGHTS = "weights.safetensors"
"""Not a checkpoint's name: other libraries would find none of their weights in it, and go on with random ones."""

_DTYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "bool": "BOOL",
    "complex64": "C64",
}
"""What safetensors calls torch's dtypes (https://github.com/huggingface/safetensors#format)."""


def write(file: Path, tensors: Mapping[str, Fitted]) -> None:
    """
    Write tensors to a safetensors file, one after the other: no more than one that is converted is in memory at a time.

    Names of the same tensor are written once, and listed in the file's metadata. The format holds contiguous tensors only: one
    with permuted axes (channels last) is written in the order of its memory, and its axes are in the metadata too.

    Args:
        file: To write.
        tensors: By name.

    Raises:
        OSError: The disk is full, or the file cannot be written.
    """
    first: dict[tuple[Any, ...], str] = {}
    metadata: dict[str, str] = {}
    axes: dict[str, list[int]] = {}
    for name, tensor in sorted(tensors.items()):
        known = first.setdefault(tensor.identity, name) if prod(tensor.wanted.shape) else name
        if known != name:
            metadata[f"alias {name}"] = known
        elif order := _order(tensor.wanted):
            axes[name] = order
            metadata[f"axes {name}"] = ",".join(map(str, order))
    kept = {name: tensor for name, tensor in tensors.items() if f"alias {name}" not in metadata}
    # The widest first, as in files that safetensors writes, so that each lies at a multiple of its width.
    names = sorted(kept, key=lambda name: (-_width(kept[name].wanted), name))
    with file.open("wb") as opened:
        opened.write(_header(kept, names, axes, metadata))
        for name in names:
            made = kept[name].make()
            opened.write(raw_bytes(made.permute(axes[name]) if name in axes else made))


def require_storable(tensors: Mapping[str, torch.Tensor]) -> None:
    """
    Refuse weights that no file could hold, before anything is compiled that leaves them outside.

    Args:
        tensors: By name.

    Raises:
        WeightsError: One is of a dtype that safetensors has no name for.
    """
    for name, tensor in tensors.items():
        if dtype_name(tensor.dtype) not in _DTYPES:
            raise WeightsError(
                f"{name} is of dtype {dtype_name(tensor.dtype)}, which a file of safetensors does not hold.\n"
                f"Try: another dtype in the model ({', '.join(sorted(_DTYPES))}), or --inline-weights."
            )


def _width(wanted: Constant) -> int:
    dtype: torch.dtype = getattr(torch, wanted.dtype)
    return dtype.itemsize


def _order(wanted: Constant) -> list[int] | None:
    """Return the axes in the order of the memory, where that is another one and without gaps."""
    shape, stride = wanted.shape, wanted.stride
    order = sorted(range(len(shape)), key=stride.__getitem__, reverse=True)
    dense = [prod(shape[axis] for axis in order[place + 1 :]) for place in range(len(order))]
    if order == sorted(order) or [stride[axis] for axis in order] != dense:
        return None
    return order


def _header(
    tensors: Mapping[str, Fitted], names: Iterable[str], axes: Mapping[str, list[int]], metadata: Mapping[str, str]
) -> bytes:
    described: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for name in names:
        wanted = tensors[name].wanted
        shape = [wanted.shape[axis] for axis in axes.get(name, range(len(wanted.shape)))]
        begin, end = end, end + prod(shape) * _width(wanted)
        described[name] = {"dtype": _DTYPES[wanted.dtype], "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(described, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)
    return len(text).to_bytes(8, "little") + text


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
