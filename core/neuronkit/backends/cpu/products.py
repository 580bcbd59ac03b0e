"""Which library multiplies: oneDNN takes a linear layer's weight as it is stored, BLAS copies it into another order first."""

from __future__ import annotations

import torch
from torch.export import ExportedProgram


def use_onednn(program: ExportedProgram) -> None:
    """
    Let oneDNN compute the float32 linear layers of a program.

    Inductor itself does so for weights that it may freeze, and leaves weights that stay apart to BLAS. Nothing changes where
    torch was built without oneDNN.

    Args:
        program: Changed in place. Its results stay equal up to the order of the sums.
    """
    if not torch.backends.mkldnn.is_available():
        return
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        if node.target is not torch.ops.aten.linear.default or node.meta["val"].dtype != torch.float32:
            continue
        operands, weight, *bias = node.args
        with graph.inserting_before(node):
            product = graph.call_function(
                torch.ops.mkldnn._linear_pointwise.default,
                (operands, weight, bias[0] if bias else None, "none", [], ""),
            )
        product.meta = dict(node.meta)
        node.replace_all_uses_with(product)
        graph.erase_node(node)
    program.graph_module.recompile()
