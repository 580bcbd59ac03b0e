"""Who computes convolutions whose weights stay apart: oneDNN puts such a weight into another order at every call."""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Graph, Node

from neuronkit.backends.cpu import host
from neuronkit.backends.cpu.limits import FEW_PIXELS, LARGE_WEIGHT
from neuronkit.backends.cpu.literals import Literals
from neuronkit.backends.cpu.products import layer
from neuronkit.backends.cpu.winograd import WinogradConvolution

_aten = torch.ops.aten
_DEFAULTS = {
    _aten.conv2d.default: (None, (1, 1), (0, 0), (1, 1), 1),
    _aten.convolution.default: (),
}


def place_convolutions(program: ExportedProgram) -> None:
    """
    Turn convolutions whose weights stay apart into products, where that is faster.

    Those of 3x3 in float32 with many pixels and channels become Winograd's. Of the others, those with up to `FEW_PIXELS` pixels
    an image (or four times as many, where the weight has `LARGE_WEIGHT` elements) become one product, in any precision that
    oneDNN multiplies in.

    oneDNN multiplies faster by a convolution's weight in an order of its own, and without freezing puts it into that order at
    every call, which the fewer pixels the less is worth it. A product (of what `torch.nn.functional.unfold` gives, with the
    channels last) takes a weight with its channels last as it is stored.

    Args:
        program: Changed in place. Its results stay equal up to the order of the sums.
    """
    graph = program.graph_module.graph
    stored = program.graph_signature.inputs_to_parameters
    literals = Literals(program)
    precisions = host.precisions()
    for node in list(graph.nodes):
        if node.target not in _DEFAULTS or node.meta["val"].dtype not in precisions:
            continue
        arguments: tuple[Any, ...] = node.args
        image, weight = arguments[:2]
        given = arguments[2:] + _DEFAULTS[node.target][len(arguments) - 2 :]
        bias, stride, padding, dilation = given[:4]
        transposed, groups = (False, given[4]) if node.target is _aten.conv2d.default else (given[4], given[6])
        if transposed or groups != 1 or set(dilation) != {1} or weight.name not in stored:
            continue
        if not _is_image(node) or not weight.meta["val"].is_contiguous(memory_format=torch.channels_last):
            continue
        fast = WinogradConvolution.of(weight, node, _pair(stride))
        if fast is None and not _is_small(node, weight):
            continue
        with graph.inserting_before(node):
            pixels = _padded(graph, image, _pair(padding))
            if fast is not None:
                product = fast.write(graph, pixels, bias, literals)
            else:
                product = _product(graph, node, pixels, weight, bias, _pair(stride))
        product.meta = dict(node.meta)
        node.replace_all_uses_with(product)
        graph.erase_node(node)
    program.graph_module.recompile()


def _is_image(node: Node) -> bool:
    value = node.meta["val"]
    return value.dim() == 4 and all(isinstance(size, int) for size in value.shape[-2:])


def _is_small(node: Node, weight: Node) -> bool:
    limit = FEW_PIXELS if weight.meta["val"].numel() < LARGE_WEIGHT else 4 * FEW_PIXELS
    height, width = node.meta["val"].shape[-2:]
    return bool(height * width <= limit)


def _pair(sizes: Any) -> tuple[int, int]:
    return (sizes[0], sizes[-1])


def _padded(graph: Graph, image: Node, padding: tuple[int, int]) -> Node:
    """Lay an image out as ``[batch, height, width, channels]`` with zeros around it."""
    last = graph.call_function(_aten.permute.default, (image, [0, 2, 3, 1]))
    if any(padding):
        amounts = [0, 0, padding[1], padding[1], padding[0], padding[0]]
        last = graph.call_function(_aten.constant_pad_nd.default, (last, amounts, 0.0))
    # A buffer of its own: else what comes before would be computed anew for every place of the kernel.
    return graph.call_function(_aten.clone.default, (last,), {"memory_format": torch.contiguous_format})


def _product(graph: Graph, node: Node, pixels: Node, weight: Node, bias: Node | None, stride: tuple[int, int]) -> Node:
    channels_out, channels, *kernel = weight.meta["val"].shape
    height, width = node.meta["val"].shape[-2:]
    parts = []
    for row in range(kernel[0]):
        end = row + (height - 1) * stride[0] + 1
        rows = graph.call_function(_aten.slice.Tensor, (pixels, 1, row, end, stride[0]))
        for column in range(kernel[1]):
            end = column + (width - 1) * stride[1] + 1
            parts.append(graph.call_function(_aten.slice.Tensor, (rows, 2, column, end, stride[1])))
    operands = parts[0] if len(parts) == 1 else graph.call_function(_aten.cat.default, (parts, -1))
    flat = graph.call_function(_aten.reshape.default, (operands, [-1, channels * kernel[0] * kernel[1]]))
    turned = graph.call_function(_aten.permute.default, (weight, [0, 2, 3, 1]))
    matrix = graph.call_function(_aten.reshape.default, (turned, [channels_out, channels * kernel[0] * kernel[1]]))
    product = layer(graph, node.meta["val"].dtype, flat, matrix, bias)
    shaped = graph.call_function(_aten.reshape.default, (product, [-1, height, width, channels_out]))
    return graph.call_function(_aten.permute.default, (shaped, [0, 3, 1, 2]))
