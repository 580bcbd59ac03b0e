"""Which library multiplies: oneDNN takes a linear layer's weight as it is stored, BLAS copies it into another order first."""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node

_aten = torch.ops.aten


def use_onednn(program: ExportedProgram) -> None:
    """
    Let oneDNN compute the float32 linear layers of a program.

    Inductor itself does so for weights that it may freeze, and leaves weights that stay apart to BLAS. Nothing changes where
    torch was built without oneDNN. A layer that multiplies by its weight as it is (GPT-2's) gets it stored by columns, the
    order in which every other linear layer has it.

    Args:
        program: Changed in place. Its results stay equal up to the order of the sums.
    """
    if not torch.backends.mkldnn.is_available():
        return
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        arguments: tuple[Any, ...] = node.args
        if node.target not in (_aten.linear.default, _aten.addmm.default) or node.meta["val"].dtype != torch.float32:
            continue
        with graph.inserting_before(node):
            if node.target is _aten.linear.default:
                operands, weight, *rest = arguments
                bias = rest[0] if rest else None
            elif _store_by_columns(program, node):
                bias, operands, stored = arguments
                weight = graph.call_function(_aten.permute.default, (stored, [1, 0]))
                weight.meta["val"] = stored.meta["val"].permute(1, 0)
            else:
                continue
            product = graph.call_function(
                torch.ops.mkldnn._linear_pointwise.default, (operands, weight, bias, "none", [], "")
            )
        product.meta = dict(node.meta)
        node.replace_all_uses_with(product)
        graph.erase_node(node)
    program.graph_module.recompile()


def _store_by_columns(program: ExportedProgram, node: Node) -> bool:
    """Store the weight of ``addmm(bias, operands, weight)`` by columns; False if it is no parameter of such layers alone."""
    arguments: tuple[Any, ...] = node.args
    bias, _, stored = arguments
    name = program.graph_signature.inputs_to_parameters.get(stored.name)
    if name is None or node.kwargs or bias.meta["val"].dim() != 1:
        return False
    if not all(user.target is _aten.permute.default or _is_weight_of(user, stored) for user in stored.users):
        return False
    held = program.state_dict[name]
    if held.stride(0) != 1:
        by_columns = held.detach().t().contiguous().t()
        program.state_dict[name] = torch.nn.Parameter(by_columns, requires_grad=False)
        stored.meta["val"] = stored.meta["val"].t().contiguous().t()
    return True


def _is_weight_of(user: Node, stored: Node) -> bool:
    return user.target is _aten.addmm.default and user.args[2] is stored and stored not in user.args[:2]
