"""Operators that the simulated compiler refuses, with the code that it gives."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch

_UNSUPPORTED = {"sort", "argsort", "msort", "linalg_solve_triangular", "triangular_solve", "stft", "istft"}
_DYNAMIC = {
    "nonzero",
    "nonzero_numpy",
    "argwhere",
    "masked_select",
    "repeat_interleave",
    "unique",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
}


@dataclass(frozen=True)
class Refusal:
    """
    An operator that does not compile.

    Args:
        operator: Such as ``aten::sort``.
        code: Such as ``NCC_EVRF029``.
        reason: For the log.
    """

    operator: str
    code: str
    reason: str


def scan(graph: Any) -> tuple[Counter[str], list[Refusal]]:
    """Count the aten operators of a TorchScript graph, and list those that are refused."""
    counts: Counter[str] = Counter()
    refused = []
    for node in _nodes(graph):
        kind = node.kind()
        if not kind.startswith("aten::"):
            continue
        counts[kind] += 1
        if refusal := _refuse(node, kind):
            refused.append(refusal)
    return counts, refused


def _nodes(block: Any) -> Any:
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)


def _refuse(node: Any, kind: str) -> Refusal | None:
    name = kind.removeprefix("aten::")
    if name in _DYNAMIC or (name in ("index", "index_put", "index_put_") and _has_mask(node)):
        return Refusal(kind, "NCC_EMOD025", "dynamic shapes are not supported")
    if name in _UNSUPPORTED:
        return Refusal(kind, "NCC_EVRF029", f"Operation {name} is not supported")
    if name.startswith(("fft_", "_fft")):
        return Refusal(kind, "NCC_EVRF001", f"Operation {name} is not supported")
    for value in [*node.inputs(), *node.outputs()]:
        if value.type().kind() != "TensorType":
            continue
        dtype, sizes = value.type().dtype(), value.type().sizes()
        if dtype in (torch.complex64, torch.complex128):
            return Refusal(kind, "NCC_EVRF004", "complex data types are not supported")
        if dtype == torch.float64 and sizes:
            return Refusal(kind, "NCC_ESPP004", "data type f64 is not supported")
    return None


def _has_mask(node: Any) -> bool:
    indices = list(node.inputs())[1].node()
    return any(
        value.type().kind() == "TensorType" and value.type().dtype() in (torch.bool, torch.uint8)
        for value in indices.inputs()
    )
