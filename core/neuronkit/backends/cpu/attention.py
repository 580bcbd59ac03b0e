"""Who computes attention: neuronkit's library, or torch."""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Graph, Node
from torch.fx.experimental.symbolic_shapes import statically_known_true

from neuronkit.backends.cpu import host
from neuronkit.backends.cpu.library import attention

_aten = torch.ops.aten
_PARAMETERS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


def place_attention(program: ExportedProgram) -> None:
    """
    Let neuronkit's library compute attention in float32, on a CPU for which it is meant.

    What it has no way for stays with torch: another precision, a mask by position (``is_causal``), tensors that are not
    ``[batch, heads, sequence, size]``, values of another size than keys.

    Args:
        program: Changed in place. Its results stay equal up to the order of the sums.
    """
    if not host.multiplies_by_library():
        return
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        if node.target is not _aten.scaled_dot_product_attention.default:
            continue
        given: dict[str, Any] = dict(zip(_PARAMETERS, node.args, strict=False)) | node.kwargs
        queries, keys, values, mask = given["query"], given["key"], given["value"], given.get("attn_mask")
        if given.get("dropout_p") or given.get("is_causal") or not _can_read(queries, keys, values, mask):
            continue
        size = queries.meta["val"].shape[-1]
        scale = size**-0.5 if given.get("scale") is None else given["scale"]
        with graph.inserting_before(node):
            mask = mask and _in_order(graph, _before_expansion(mask))
            found = graph.call_function(attention.operator(), (queries, keys, values, mask, scale))
            found.meta["val"] = node.meta["val"].transpose(1, 2).contiguous()
            result = graph.call_function(_aten.transpose.int, (found, 1, 2))
        result.meta = dict(node.meta)
        node.replace_all_uses_with(result)
        graph.erase_node(node)
    program.graph_module.recompile()


def _can_read(queries: Node, keys: Node, values: Node, mask: Node | None) -> bool:
    query, key, value = (node.meta["val"] for node in (queries, keys, values))
    if not all(
        heads.dtype == torch.float32 and heads.dim() == 4 and heads.stride(-1) == 1 for heads in (query, key, value)
    ):
        return False
    if not isinstance(query.shape[-1], int) or not _same(key.shape, value.shape) or query.shape[-1] != key.shape[-1]:
        return False
    if mask is None:
        return True
    allowed = mask.meta["val"]
    readable = allowed.dtype in (torch.bool, torch.float32) and allowed.dim() == 4
    return readable and _same(allowed.shape[-1:], key.shape[-2:-1])


def _before_expansion(mask: Node) -> Node:
    """Return a mask before the axes were repeated that the library repeats itself."""
    while mask.target is _aten.expand.default:
        given, expanded = mask.all_input_nodes[0], mask.meta["val"]
        if given.meta["val"].dim() != 4 or not _same(given.meta["val"].shape[-1:], expanded.shape[-1:]):
            break
        mask = given
    return mask


def _in_order(graph: Graph, mask: Node) -> Node:
    """Lay a mask out row by row, if it is not, or if axes are repeated in it, which Inductor may keep in any order."""
    *others, last = mask.meta["val"].stride()
    if statically_known_true(last == 1) and not any(statically_known_true(stride == 0) for stride in others):
        return mask
    laid = graph.call_function(_aten.clone.default, (mask,), {"memory_format": torch.contiguous_format})
    laid.meta["val"] = mask.meta["val"].contiguous()
    return laid


def _same(some: torch.Size, others: torch.Size) -> bool:
    return all(statically_known_true(one == other) for one, other in zip(some, others, strict=True))
