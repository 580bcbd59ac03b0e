"""Weights in an order of oneDNN's own, in which a product reads them without putting them in order first."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import torch
from torch.export import ExportedProgram
from torch.utils.weak import WeakTensorKeyDictionary

from neuronkit.backends.cpu import host
from neuronkit.backends.cpu.limits import WIDE

_MANY_ROWS = 512
"""Enough for the order to be that of blocks of 32 outputs; for one row it is blocks of 64."""
_LINEAR = torch.ops.mkldnn._linear_pointwise.default


def packable(program: ExportedProgram) -> set[str]:
    """Return the names of the weights that nothing but oneDNN's linear layers take, in a precision that gains by packing."""
    precisions = host.precisions() - {torch.float32}
    parameters = program.graph_signature.inputs_to_parameters
    return {
        parameters[node.name]
        for node in program.graph.nodes
        if node.name in parameters
        and node.users
        and node.meta["val"].dtype in precisions
        and all(
            user.target is _LINEAR and user.all_input_nodes.count(node) == 1 and user.args[1] is node
            for user in node.users
        )
    }


class Packer:
    """Packs weights, each of them once for as long as somebody holds the weight and nobody writes into it."""

    def __init__(self) -> None:
        self._packed = WeakTensorKeyDictionary()

    def pack(self, weight: torch.Tensor) -> torch.Tensor:
        """Return an opaque tensor of a weight ``[out, in]``."""
        if weight.is_inference():  # nobody counts what is written into it
            return _pack(weight)
        version, packed = self._packed.get(weight, (None, None))
        if packed is None or version != weight._version:
            packed = _pack(weight)
            self._packed[weight] = (weight._version, packed)
        return packed


def _pack(weight: torch.Tensor) -> torch.Tensor:
    rows = _MANY_ROWS if weight.shape[0] > WIDE else 1
    packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    return packed


@cache
def shared_packer() -> Packer:
    """Return the packer of this process: graphs over the same weights share what it packs."""
    return Packer()


def let_go(views: Mapping[str, torch.Tensor]) -> None:
    """Take the memory away from tensors that somebody else keeps."""
    for view in views.values():
        nothing = torch.empty(0, dtype=view.dtype)
        view.data = nothing.to_mkldnn() if view.is_mkldnn else nothing
