"""Who computes attention: neuronkit's library, or torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Graph, Node
from torch.fx.experimental.symbolic_shapes import statically_known_true

from neuronkit.backends.cpu import host
from neuronkit.backends.cpu.library import attention

_aten = torch.ops.aten
_ANDS = {_aten.__and__.Tensor, _aten.bitwise_and.Tensor, _aten.logical_and.default}
_SAME_VALUES = {
    _aten.expand.default,
    _aten.to.dtype,
    _aten.to.dtype_layout,
    _aten._to_copy.default,
    _aten.unsqueeze.default,
}
_PARAMETERS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


def place_attention(program: ExportedProgram) -> None:
    """
    Let neuronkit's library compute attention in float32, on a CPU for which it is meant.

    What it has no way for stays with torch: another precision, a mask by position (``is_causal``), tensors that are not
    ``[batch, heads, sequence, size]``, values of another size than keys.

    Args:
        program: Changed in place. Its results stay equal up to the order of the sums.
    """
    if not host.uses_library():
        return
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        if node.target is not _aten.scaled_dot_product_attention.default:
            continue
        given: dict[str, Any] = dict(zip(_PARAMETERS, node.args, strict=False)) | node.kwargs
        if not _can_read(given):
            continue
        queries, keys, values, mask = given["query"], given["key"], given["value"], given.get("attn_mask")
        size = queries.meta["val"].shape[-1]
        scale = size**-0.5 if given.get("scale") is None else given["scale"]
        with graph.inserting_before(node):
            mask = mask and _in_order(graph, _what_matters(mask, keys.meta["val"].shape[-2]))
            found = graph.call_function(attention.operator(), (queries, keys, values, mask, scale))
            found.meta["val"] = node.meta["val"].transpose(1, 2).contiguous()
            result = graph.call_function(_aten.transpose.int, (found, 1, 2))
        result.meta = dict(node.meta)
        node.replace_all_uses_with(result)
        graph.erase_node(node)
    program.graph_module.recompile()


def _can_read(given: Mapping[str, Any]) -> bool:
    if given.get("dropout_p") or given.get("is_causal") or isinstance(given.get("scale"), Node):
        return False
    query, key, value = (given[name].meta["val"] for name in _PARAMETERS[:3])
    for heads in (query, key, value):
        if heads.dtype != torch.float32 or heads.dim() != 4 or not statically_known_true(heads.stride(-1) == 1):
            return False
    of_queries, of_keys = query.shape[1], key.shape[1]
    if not isinstance(of_queries, int) or not isinstance(of_keys, int) or of_queries % of_keys:
        return False
    if not isinstance(query.shape[-1], int) or not _same(key.shape, value.shape):
        return False
    if not _same((query.shape[0], query.shape[-1]), (key.shape[0], key.shape[-1])):
        return False
    if given.get("attn_mask") is None:
        return True
    allowed = given["attn_mask"].meta["val"]
    readable = allowed.dtype in (torch.bool, torch.float32) and allowed.dim() == 4
    return readable and _same(allowed.shape[-1:], key.shape[-2:-1])


def _what_matters(mask: Node, length: int | torch.SymInt) -> Node:
    """Return the part of a mask that says something: one before its axes were repeated, and beside one that allows everything."""
    if mask.target is _aten.expand.default:
        parts = [mask.all_input_nodes[0]]
    elif mask.target in _ANDS:
        parts = [part for part in mask.all_input_nodes if not _allows_everything(part)]
    else:
        return mask
    if len(parts) != 1:
        return mask
    part = parts[0].meta["val"]
    if part.dtype != mask.meta["val"].dtype or part.dim() != 4 or not statically_known_true(part.shape[-1] == length):
        return mask
    return _what_matters(parts[0], length)


def _allows_everything(mask: Node) -> bool:
    """Tell whether all of a mask is true by how it is made, such as of positions that are not negative."""
    if mask.target in _SAME_VALUES:
        return _allows_everything(mask.all_input_nodes[0])
    if mask.target in _ANDS:
        return all(map(_allows_everything, mask.all_input_nodes))
    if mask.target is _aten.ge.Scalar and isinstance(mask.args[1], int):
        return _is_least(mask.all_input_nodes[0], mask.args[1])
    return mask.target in (_aten.new_ones.default, _aten.ones.default)


def _is_least(values: Node, bound: int) -> bool:
    """Tell whether values are positions, none of which is below a bound."""
    if values.target in _SAME_VALUES:
        return _is_least(values.all_input_nodes[0], bound)
    if values.target is _aten.add.Tensor and isinstance(added := values.args[1], int) and not values.kwargs:
        return _is_least(values.all_input_nodes[0], bound - added)
    return values.target is _aten.arange.default and bound <= 0


def _in_order(graph: Graph, mask: Node) -> Node:
    """Lay a mask out row by row, if it is not, or if axes are repeated in it, which Inductor may keep in any order."""
    *others, last = mask.meta["val"].stride()
    if statically_known_true(last == 1) and not any(statically_known_true(stride == 0) for stride in others):
        return mask
    laid = graph.call_function(_aten.clone.default, (mask,), {"memory_format": torch.contiguous_format})
    laid.meta["val"] = mask.meta["val"].contiguous()
    return laid


def _same(some: Sequence[int | torch.SymInt], others: Sequence[int | torch.SymInt]) -> bool:
    return all(statically_known_true(one == other) for one, other in zip(some, others, strict=True))
