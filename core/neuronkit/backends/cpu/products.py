"""Who multiplies: oneDNN, which takes a linear layer's weight as it is stored; BLAS; or, for few rows, a generated loop."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Graph, Node

from neuronkit.backends.cpu.limits import FEW_ROWS

_aten = torch.ops.aten


def place_products(program: ExportedProgram) -> None:
    """
    Choose who computes the float32 linear layers of a program whose weights stay apart.

    Products of up to `FEW_ROWS` rows become sums that Inductor generates a loop for: it reads each weight once, in the
    precision in which it is stored. Others go to oneDNN where the weight is stored in float32; Inductor itself would leave a
    weight that it may not freeze to BLAS, which copies it into another order at every call. What is stored in a lower
    precision is cast as a whole first, and left to BLAS. A layer that multiplies by its weight as it is (GPT-2's) gets it
    stored by columns, the order in which every other linear layer has it.

    Args:
        program: Changed in place. Its results stay equal up to the order of the sums.
    """
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        arguments: tuple[Any, ...] = node.args
        if node.target not in (_aten.linear.default, _aten.addmm.default) or node.meta["val"].dtype != torch.float32:
            continue
        by_columns = node.target is _aten.addmm.default
        if by_columns:
            if not _store_by_columns(program, node):
                continue
            bias, operands, weight = arguments
        else:
            operands, weight, bias = (*arguments, None)[:3]
        few_rows = _has_few_rows(operands)
        stored = weight.name in program.graph_signature.inputs_to_parameters
        if not few_rows and not (stored and torch.backends.mkldnn.is_available()):
            continue
        with graph.inserting_before(node):
            if by_columns:
                turned = graph.call_function(_aten.permute.default, (weight, [1, 0]))
                turned.meta["val"] = weight.meta["val"].permute(1, 0)
                weight = turned
            if few_rows:
                product = _sum_by_row(graph, operands, weight, bias)
            else:
                product = graph.call_function(
                    torch.ops.mkldnn._linear_pointwise.default, (operands, weight, bias, "none", [], "")
                )
        product.meta = dict(node.meta)
        node.replace_all_uses_with(product)
        graph.erase_node(node)
    program.graph_module.recompile()


def _has_few_rows(operands: Node) -> bool:
    rows = operands.meta["val"].shape[:-1]
    return all(isinstance(size, int) for size in rows) and prod(rows) <= FEW_ROWS


def _sum_by_row(graph: Graph, operands: Node, weight: Node, bias: Node | None) -> Node:
    """Multiply and add up each row by itself: sums over the same weight become one loop."""
    from torch._inductor import inductor_prims

    shape = operands.meta["val"].shape
    count, width = prod(shape[:-1]), shape[-1]
    flat = graph.call_function(_aten.reshape.default, (operands, [count, width]))
    # Without a buffer of their own, operands would be computed anew for every output.
    kept = graph.call_function(inductor_prims.force_stride_order, (flat, [width, 1]))
    sums = []
    for index in range(count):
        row = graph.call_function(_aten.select.int, (kept, 0, index))
        terms = graph.call_function(_aten.mul.Tensor, (weight, row))
        sums.append(graph.call_function(_aten.sum.dim_IntList, (terms, [-1])))
    product = graph.call_function(_aten.stack.default, (sums,))
    if bias is not None:
        product = graph.call_function(_aten.add.Tensor, (product, bias))
    return graph.call_function(_aten.reshape.default, (product, [*shape[:-1], weight.meta["val"].shape[0]]))


def _store_by_columns(program: ExportedProgram, node: Node) -> bool:
    """Store the weight of ``addmm(bias, operands, weight)`` by columns; False if it is no parameter of such layers alone."""
    arguments: tuple[Any, ...] = node.args
    bias, _, taken = arguments
    stored = taken.args[0] if taken.target is _aten._to_copy.default else taken
    name = program.graph_signature.inputs_to_parameters.get(stored.name)
    if name is None or node.kwargs or bias.meta["val"].dim() != 1:
        return False
    if not all(_multiplies(user, stored) for user in stored.users):
        return False
    held = program.state_dict[name]
    if held.stride(0) != 1:
        by_columns = held.detach().t().contiguous().t()
        program.state_dict[name] = torch.nn.Parameter(by_columns, requires_grad=False)
        for value in (stored, *stored.users):
            if value is stored or value.target is _aten._to_copy.default:
                value.meta["val"] = value.meta["val"].t().contiguous().t()
    return True


def _multiplies(user: Node, weight: Node) -> bool:
    """Tell whether a node takes a weight as such a layer does, or in the place where this module puts it."""
    if user.target is _aten._to_copy.default:
        return all(_multiplies(next_user, user) for next_user in user.users)
    if user.target is _aten.permute.default:
        return True
    return user.target is _aten.addmm.default and user.args[2] is weight and weight not in user.args[:2]
