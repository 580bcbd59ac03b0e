"""Weights in an order of oneDNN's own, in which a product reads them without putting them in order first."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node
from torch.utils.weak import WeakTensorKeyDictionary

from neuronkit.backends.cpu import host
from neuronkit.backends.cpu.limits import WIDE
from neuronkit.backends.cpu.products import LINEAR

_MANY_ROWS = 512
"""Enough for the order to be that of blocks of 32 outputs; for one row it is blocks of 64."""


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
            user.target is LINEAR and user.all_input_nodes.count(node) == 1 and user.args[1] is node
            for user in node.users
        )
    }


def take_turned(program: ExportedProgram) -> set[str]:
    """
    Let a program take the weights with their axes exchanged that it only ever exchanges the axes of.

    An opaque tensor has no axes to exchange.

    Args:
        program: Changed in place.

    Returns:
        Their names.
    """
    parameters = program.graph_signature.inputs_to_parameters
    turned = set()
    for node in program.graph.nodes:
        if node.name not in parameters or not node.users or not all(map(_exchanges_axes, node.users)):
            continue
        name = parameters[node.name]
        turned.add(name)
        program.state_dict[name] = torch.nn.Parameter(program.state_dict[name].detach().t(), requires_grad=False)
        node.meta["val"] = node.meta["val"].t()
        for user in list(node.users):
            user.replace_all_uses_with(node)
            program.graph.erase_node(user)
    program.graph_module.recompile()
    return turned


def _exchanges_axes(node: Node) -> bool:
    arguments: tuple[Any, ...] = node.args
    return node.target is torch.ops.aten.permute.default and list(arguments[1]) == [1, 0]


class Packer:
    """Packs weights, each of them once for as long as somebody holds the weight and nobody writes into it."""

    def __init__(self) -> None:
        self._packed = WeakTensorKeyDictionary()

    def pack(self, weight: torch.Tensor, *, turned: bool = False) -> torch.Tensor:
        """Return an opaque tensor of a weight ``[out, in]``, or ``[in, out]`` if it is `turned`."""
        if weight.is_inference():  # nobody counts what is written into it
            return _pack(weight, turned)
        version, packed = self._packed.get(weight, (None, None))
        if packed is None or version != weight._version:
            packed = _pack(weight, turned)
            self._packed[weight] = (weight._version, packed)
        return packed


def _pack(weight: torch.Tensor, turned: bool) -> torch.Tensor:
    stored = weight.t() if turned else weight
    rows = _MANY_ROWS if stored.shape[0] > WIDE else 1
    packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(stored, rows)
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
