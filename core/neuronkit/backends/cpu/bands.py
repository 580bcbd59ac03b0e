"""Feed-forward layers whose wide middle is too large for one buffer, computed in bands of rows."""

from __future__ import annotations

import operator
from typing import Any

import attrs
import torch
from torch.export import ExportedProgram
from torch.fx import Node

from neuronkit.backends.cpu.limits import MANY_ROW_BANDS
from neuronkit.backends.cpu.products import is_layer
from neuronkit.backends.cpu.scratch import buffer_bytes, equal_parts

_aten = torch.ops.aten
_ROW = -2
"""The axis of rows: everything between the layers leaves each of them to itself."""
_POINTWISE = {
    _aten._to_copy.default,
    _aten.add.Tensor,
    _aten.clone.default,
    _aten.dropout.default,
    _aten.gelu.default,
    _aten.mul.Tensor,
    _aten.relu.default,
    _aten.sigmoid.default,
    _aten.silu.default,
    _aten.tanh.default,
}
_DIVIDING = {_aten.chunk.default, _aten.split.Tensor, _aten.split_with_sizes.default}


def place_bands(program: ExportedProgram) -> None:
    """
    Divide feed-forward layers into bands of rows, where what lies between their two linear layers is larger than a buffer may be.

    The C library takes new memory from the system for larger buffers at each call, and they leave the caches
    (docs/decisions/0019).

    Args:
        program: Changed in place, after its products are placed. Its results stay equal.
    """
    for node in list(program.graph.nodes):
        if is_layer(node) and node.users and (layers := FeedForward.of(node)) is not None:
            layers.divide()
    program.graph_module.recompile()


@attrs.frozen
class FeedForward:
    """
    Two linear layers, and what each row goes through between them.

    Attributes:
        first: The layer that widens rows.
        between: What follows it, in the order of the graph.
        last: The layer that takes what comes out.
        bands: Into how many equal bands its rows are to be divided.
    """

    first: Node
    between: list[Node]
    last: Node
    bands: int

    @classmethod
    def of(cls, first: Node) -> FeedForward | None:
        """Return the layers that begin with this one, or None if it begins none or they are better left whole."""
        value = first.meta.get("val")
        if value is None or value.dim() < 2 or not isinstance(value.shape[_ROW], int):
            return None
        bands = equal_parts(buffer_bytes(value), value.shape[_ROW])
        if not 1 < bands <= MANY_ROW_BANDS:
            return None
        inside: dict[Node, None] = {first: None}
        node = first
        while (node := node.next).op != "root":
            if inside.keys().isdisjoint(node.all_input_nodes):
                continue
            if is_layer(node) and node.args[0] in inside:
                complete = all(user in inside or user is node for found in inside for user in found.users)
                return cls(first, list(inside)[1:], node, bands) if complete else None
            if not inside.keys() >= set(node.all_input_nodes) or not _leaves_rows_alone(node):
                return None
            inside[node] = None
        return None

    def divide(self) -> None:
        """Write the bands into the graph in place of the layers."""
        graph = self.first.graph
        arguments: tuple[Any, ...] = self.first.args
        rows = self.first.meta["val"].shape[_ROW] // self.bands
        results = []
        with graph.inserting_before(self.last):
            for band in range(self.bands):
                cut = (arguments[0], _ROW, band * rows, (band + 1) * rows)
                results.append(self._copy(graph.call_function(_aten.slice.Tensor, cut)))
            joined = graph.call_function(_aten.cat.default, (results, _ROW))
        joined.meta = dict(self.last.meta)
        self.last.replace_all_uses_with(joined)
        for node in (self.last, *reversed(self.between), self.first):
            graph.erase_node(node)

    def _copy(self, band: Node) -> Node:
        """Write the layers once more, for one band of the rows."""
        graph = self.first.graph
        copies = {self.first.all_input_nodes[0]: band}

        def taken(node: Node) -> Node:
            return copies.get(node, node)

        for node in (self.first, *self.between, self.last):
            copies[node] = graph.node_copy(node, taken)
            copies[node].meta = {}  # the shape in it is that of all rows
        return copies[self.last]


def _leaves_rows_alone(node: Node) -> bool:
    if node.target in _DIVIDING:
        return _axis(node) == -1
    return node.target in _POINTWISE or node.target is operator.getitem


def _axis(node: Node) -> int:
    """Return the axis that a tensor is divided along, counted from the end."""
    arguments: tuple[Any, ...] = node.args
    axis: Any = arguments[2] if len(arguments) > 2 else node.kwargs.get("dim", 0)
    return int(axis) if axis < 0 else axis - arguments[0].meta["val"].dim()
