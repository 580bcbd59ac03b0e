"""Who multiplies: neuronkit's library or oneDNN, which take weights as they are stored; BLAS; or, for few rows, a loop."""

from __future__ import annotations

from functools import reduce
from math import prod
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Graph, Node

from neuronkit.backends.cpu import host
from neuronkit.backends.cpu.library import linear
from neuronkit.backends.cpu.limits import FEW_ROWS, FEW_ROWS_PACKED, MANY_SUMS, STREAMS

_aten = torch.ops.aten
LINEAR = torch.ops.mkldnn._linear_pointwise.default
"""A linear layer of oneDNN's: operands, weight, bias, and no operation after it (``"none", [], ""``)."""
_CASTS = (_aten._to_copy.default, _aten.to.dtype)
_LAYERS = (_aten.linear.default, _aten.addmm.default, _aten.permute.default, LINEAR)
"""What takes a weight that nothing but layers take, while they are replaced."""


def place_products(program: ExportedProgram) -> bool:
    """
    Choose who computes the linear layers of a program whose weights stay apart.

    On a CPU for which it is meant, neuronkit's own library does (`neuronkit.backends.cpu.library`).

    Elsewhere, products of up to `FEW_ROWS` rows become sums that Inductor generates a loop for: it reads each weight once, in
    the precision in which it is stored; of more than `FEW_ROWS_PACKED` rows, a product by a weight that can be packed is left to
    oneDNN. Others go to oneDNN where it multiplies in the precision in which the weight is stored; Inductor itself would leave
    a weight that it may not freeze to BLAS, which copies it into another order at every call, or to a product that copies the
    bias first. What is cast back as a whole, for want of such arithmetic, is left to BLAS. A layer that multiplies by its
    weight as it is (GPT-2's) gets it stored by columns, the order in which every other linear layer has it. Weights of bytes
    are read by fours in both cases.

    Args:
        program: Changed in place. Its results stay equal up to the order of the sums.

    Returns:
        Whether some products became sums.
    """
    graph = program.graph_module.graph
    if host.uses_library():
        _place_library(program)
    before = sum(node.target is _aten.sum.dim_IntList for node in graph.nodes)
    precisions = host.precisions()
    for node in list(graph.nodes):
        arguments: tuple[Any, ...] = node.args
        if node.target is _aten.linear.default and (held := _bytes_behind(arguments[1])) is not None:
            with graph.inserting_before(node):
                _replace(node, _product_of_bytes(graph, node, held))
            _erase_unused(arguments[1])
            continue
        if node.target not in (_aten.linear.default, _aten.addmm.default):
            continue
        by_columns = node.target is _aten.addmm.default
        if by_columns:
            if not _store_by_columns(program, node):
                continue
            bias, operands, weight = arguments
        else:
            operands, weight, bias = (*arguments, None)[:3]
        stored = weight.name in program.graph_signature.inputs_to_parameters and weight.meta["val"].dtype in precisions
        few_rows = _has_few_rows(operands) and not (stored and _is_better_packed(operands, weight))
        if not few_rows and not stored:
            continue
        with graph.inserting_before(node):
            if by_columns:
                weight = _turned(graph, weight)
            if few_rows:
                shape = operands.meta["val"].shape
                rows = _rows_in_a_buffer(graph, operands)
                sizes = (prod(shape[:-1]), shape[-1], weight.meta["val"].shape[0])
                product = _finished(graph, _sums(graph, rows, [weight], sizes), node, bias)
            else:
                product = graph.call_function(LINEAR, (operands, weight, bias, "none", [], ""))
            _replace(node, product)
    program.graph_module.recompile()
    return sum(node.target is _aten.sum.dim_IntList for node in graph.nodes) > before


def layer(graph: Graph, dtype: torch.dtype, operands: Node, weight: Node, bias: Node | None) -> Node:
    """Return a linear layer of operands in some precision by a weight as it is stored, computed by who is fastest."""
    if dtype == torch.float32 and host.uses_library():
        return graph.call_function(linear.operator(), (operands, weight, bias))
    return graph.call_function(LINEAR, (operands, weight, bias, "none", [], ""))


def is_layer(node: Node) -> bool:
    """Tell whether a node is what `layer` returns."""
    return node.target in (LINEAR, linear.operator())


def _place_library(program: ExportedProgram) -> None:
    """Give neuronkit's library the layers whose weight is stored in a precision that it reads, and cast what is not float32."""
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        arguments: tuple[Any, ...] = node.args
        if node.target is _aten.linear.default:
            operands, weight, bias = (*arguments, None)[:3]
        elif node.target is _aten.addmm.default and _store_by_columns(program, node):
            bias, operands, weight = arguments
        else:
            continue
        held = _bytes_behind(weight) or _cast_from(weight)
        if held.op != "placeholder" or not _can_read(held.meta["val"], weight.meta["val"].dtype):
            continue
        with graph.inserting_before(node):
            taken = held if node.target is _aten.linear.default else _turned(graph, held)
            operands, bias = _in_precision(graph, operands), bias and _in_precision(graph, bias)
            product = layer(graph, torch.float32, operands, taken, bias)
            product.meta["val"] = node.meta["val"].float()
            _replace(node, _in_precision(graph, product, node.meta["val"].dtype))
        _erase_unused(weight)
    for node in list(graph.nodes):
        if node.target is _aten.gelu.default and not node.args[1:] and node.kwargs.get("approximate", "none") == "none":
            _join_gelu(node)
    program.graph_module.recompile()


def _join_gelu(node: Node) -> None:
    """Leave a GELU to the layer that it follows, whose results are still in a cache."""
    (product,) = node.all_input_nodes
    if product.target is not linear.operator() or len(product.args) > 3 or len(product.users) > 1:
        return
    product.args = (*product.args, True)
    node.replace_all_uses_with(product)
    node.graph.erase_node(node)


def _in_precision(graph: Graph, value: Node, dtype: torch.dtype = torch.float32) -> Node:
    if value.meta["val"].dtype == dtype:
        return value
    cast = graph.call_function(_aten._to_copy.default, (value,), {"dtype": dtype})
    cast.meta["val"] = value.meta["val"].to(dtype)
    return cast


def _can_read(held: torch.Tensor, multiplied: torch.dtype) -> bool:
    """Tell whether the library gives what a product in some precision does; float64 it has not, and a narrower cast rounds."""
    exact = torch.promote_types(held.dtype, multiplied) == multiplied
    return {held.dtype, multiplied} <= linear.WEIGHTS and exact and 0 not in held.shape


def _cast_from(weight: Node) -> Node:
    """Return what a weight was cast from, or the weight where it was not."""
    return weight.all_input_nodes[0] if weight.target in _CASTS else weight


def _turned(graph: Graph, weight: Node) -> Node:
    turned = graph.call_function(_aten.permute.default, (weight, [1, 0]))
    turned.meta["val"] = weight.meta["val"].permute(1, 0)
    return turned


def _replace(node: Node, product: Node) -> None:
    product.meta = dict(node.meta)
    node.replace_all_uses_with(product)
    node.graph.erase_node(node)


def _has_few_rows(operands: Node) -> bool:
    rows = operands.meta["val"].shape[:-1]
    return all(isinstance(size, int) for size in rows) and prod(rows) <= FEW_ROWS


def _is_better_packed(operands: Node, weight: Node) -> bool:
    rows = prod(operands.meta["val"].shape[:-1])
    lower = weight.meta["val"].dtype != torch.float32
    return bool(rows > FEW_ROWS_PACKED and lower and all(user.target in _LAYERS for user in weight.users))


def _erase_unused(cast: Node) -> None:
    while not cast.users and cast.op != "placeholder":
        unused, cast = cast, cast.all_input_nodes[0]
        unused.graph.erase_node(unused)


def _rows_in_a_buffer(graph: Graph, operands: Node) -> Node:
    """Lay operands out as float32 ``[rows, width]``, in a buffer: else they would be computed anew for every output."""
    from torch._inductor import inductor_prims

    shape = operands.meta["val"].shape
    if operands.meta["val"].dtype != torch.float32:
        operands = graph.call_function(_aten._to_copy.default, (operands,), {"dtype": torch.float32})
    flat = graph.call_function(_aten.reshape.default, (operands, [prod(shape[:-1]), shape[-1]]))
    return graph.call_function(inductor_prims.force_stride_order, (flat, [shape[-1], 1]))


def _sums(graph: Graph, rows: Node, parts: list[Node], sizes: tuple[int, int, int]) -> Node:
    """
    Multiply and add up each row by itself: sums over the same weight become one loop.

    The weight is divided into blocks of as many outputs, whose sums become one loop too, which then reads in up to `STREAMS`
    places.

    Args:
        graph: Where.
        rows: ``[count, width]``.
        parts: The weight, ``[outputs, width]``, or equal shares of its columns in their order.
        sizes: The count, the width and the outputs.

    Returns:
        ``[count, outputs]``.
    """
    count, width, outputs = sizes
    share = width // len(parts)
    streams = min(STREAMS, MANY_SUMS // count)
    block = outputs // streams
    bounds = [(number * block, (number + 1) * block) for number in range(streams)] if block else []
    if outputs > block * streams:
        bounds.append((block * streams, outputs))
    blocks = [[graph.call_function(_aten.slice.Tensor, (part, 0, *bound)) for part in parts] for bound in bounds]
    products = []
    for index in range(count):
        row = graph.call_function(_aten.select.int, (rows, 0, index))
        operands = [row]
        if len(parts) > 1:
            operands = [
                graph.call_function(_aten.slice.Tensor, (row, 0, number * share, (number + 1) * share))
                for number in range(len(parts))
            ]
        sums = [_sum(graph, weights, operands) for weights in blocks]
        products.append(graph.call_function(_aten.cat.default, (sums,)))
    return graph.call_function(_aten.stack.default, (products,))


def _sum(graph: Graph, weights: list[Node], operands: list[Node]) -> Node:
    terms = [graph.call_function(_aten.mul.Tensor, pair) for pair in zip(weights, operands, strict=True)]
    return graph.call_function(
        _aten.sum.dim_IntList, (reduce(lambda a, b: graph.call_function(_aten.add.Tensor, (a, b)), terms), [-1])
    )


def _finished(graph: Graph, product: Node, node: Node, bias: Node | None) -> Node:
    """Give a product of rows the bias, the shape and the precision of the node that it replaces."""
    wanted = node.meta["val"]
    if bias is not None:
        product = graph.call_function(_aten.add.Tensor, (product, bias))
    product = graph.call_function(_aten.reshape.default, (product, list(wanted.shape)))
    if wanted.dtype == torch.float32:
        return product
    return graph.call_function(_aten._to_copy.default, (product,), {"dtype": wanted.dtype})


def _bytes_behind(weight: Node) -> Node | None:
    """Return the stored int8 weight that nothing but casts lie before; None if it is none, or has a width not in fours."""
    while weight.target in _CASTS:
        weight = weight.all_input_nodes[0]
    held = weight.meta["val"]
    return weight if weight.op == "placeholder" and held.dtype == torch.int8 and held.shape[-1] % 4 == 0 else None


def _product_of_bytes(graph: Graph, node: Node, held: Node) -> Node:
    """
    Multiply by a weight of bytes ``[out, in]``, read as words of four.

    Inductor loads eight bytes through a buffer on the stack, one by one, but eight words of float32 at once; shifts take the
    words apart. The share ``j`` of the weight is then its columns ``j, j + 4, ...``, so operands are put in that order.
    """
    from torch._inductor import inductor_prims

    arguments: tuple[Any, ...] = node.args
    operands, _, bias = (*arguments, None)[:3]
    width = held.meta["val"].shape[-1]
    floats = graph.call_function(_aten.view.dtype, (held, torch.float32))
    words = graph.call_function(_aten.view.dtype, (floats, torch.int32))
    parts = []
    for number in range(4):
        shifted = graph.call_function(_aten.__lshift__.Scalar, (words, 24 - 8 * number)) if number < 3 else words
        signed = graph.call_function(_aten.__rshift__.Scalar, (shifted, 24))
        parts.append(graph.call_function(_aten._to_copy.default, (signed,), {"dtype": torch.float32}))
    if _has_few_rows(operands):
        count = prod(operands.meta["val"].shape[:-1])
        rows = _rows_in_a_buffer(graph, operands)
        by_four = graph.call_function(_aten.reshape.default, (rows, [count, width // 4, 4]))
        by_share = graph.call_function(_aten.permute.default, (by_four, [0, 2, 1]))
        flat = graph.call_function(_aten.reshape.default, (by_share, [count, width]))
        kept = graph.call_function(inductor_prims.force_stride_order, (flat, [width, 1]))
        sizes = (count, width, held.meta["val"].shape[0])
        return _finished(graph, _sums(graph, kept, parts, sizes), node, bias)
    dtype = operands.meta["val"].dtype
    by_four = graph.call_function(_aten.unflatten.int, (operands, -1, [width // 4, 4]))
    by_share = graph.call_function(
        _aten.flatten.using_ints, (graph.call_function(_aten.transpose.int, (by_four, -1, -2)), -2)
    )
    restored = graph.call_function(_aten.cat.default, (parts, -1))
    restored = graph.call_function(_aten._to_copy.default, (restored,), {"dtype": dtype})
    return graph.call_function(_aten.linear.default, (by_share, restored, bias))


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
