"""Winograd's convolution: a tile of results from fewer products than its definition has."""

from __future__ import annotations

from functools import cache
from typing import Any

import attrs
import torch
from torch.fx import Graph, Node

from neuronkit.backends.cpu.limits import FEW_CHANNELS, MANY_BANDS, MANY_PIXELS
from neuronkit.backends.cpu.literals import Literals
from neuronkit.backends.cpu.scratch import equal_parts, usual_size

_aten = torch.ops.aten
_KERNEL = 3
_POINTS = {2: (0.0, 1.0, -1.0), 4: (0.0, 0.75, -0.75, 1.5, -1.5)}
"""The points that polynomials are evaluated at, beside infinity, by the results along a side of a tile.

Those of four are as exact in float32 as oneDNN's sums are; the usual 0, 1, -1, 2, -2 have four times their error
(docs/decisions/0016).
"""


@attrs.frozen
class Transforms:
    """
    The matrices of F(m x m, 3 x 3), of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015).

    One dimension of a convolution is ``A' [(G g) * (B' d)]`` for a tile ``d`` of ``m + 2`` pixels and a kernel ``g`` of three,
    by the construction of Toom and Cook: both are evaluated as polynomials at ``m + 1`` points and infinity, multiplied there,
    and put together again. Two dimensions apply each matrix twice.

    Attributes:
        tile: ``B'``, ``[m + 2, m + 2]``.
        kernel: ``G`` in both dimensions, ``[(m + 2) ** 2, 9]``.
        results: ``A'`` in both dimensions, ``[m ** 2, (m + 2) ** 2]``.
    """

    tile: torch.Tensor
    kernel: torch.Tensor
    results: torch.Tensor

    @classmethod
    @cache
    def of(cls, side: int) -> Transforms:
        """Return the matrices for a side of so many results, in float64."""
        points = _POINTS[side]
        size = len(points) + 1
        tile, kernel, results = (
            torch.zeros(shape, dtype=torch.float64) for shape in ((size, size), (size, _KERNEL), (side, size))
        )
        for row, point in enumerate(points):
            others = points[:row] + points[row + 1 :]
            tile[row, :-1] = torch.tensor(_polynomial(others), dtype=torch.float64)
            scale = torch.tensor([point - other for other in others], dtype=torch.float64).prod()
            kernel[row] = torch.tensor([point**power for power in range(_KERNEL)], dtype=torch.float64) / scale
            results[:, row] = torch.tensor([point**power for power in range(side)], dtype=torch.float64)
        tile[-1] = torch.tensor(_polynomial(points), dtype=torch.float64)
        kernel[-1, -1] = results[-1, -1] = 1
        return cls(tile, torch.kron(kernel, kernel), torch.kron(results, results))


@attrs.frozen
class WinogradConvolution:
    """
    A 3x3 convolution of stride 1 as transforms and products of matrices: one of all channels for every pixel of a tile.

    The kernel is transformed at every call, so the weight is the checkpoint's and can be replaced. Both sides are computed in
    parts, kernels in shares of the channels that come out and images in bands of some rows of tiles: transformed, a part takes
    less than `SCRATCH_BYTES`, because for larger buffers the C library takes new memory from the system at each call.

    Attributes:
        weight: Node of ``[channels out, channels, 3, 3]``, with the channels last in memory.
        height: Rows of the result.
        width: Columns of the result.
        side: Results along a side of a tile.
        bands: Into how many bands the result goes.
        shares: Into how many shares the channels out go.

    """

    weight: Node
    height: int
    width: int
    side: int
    bands: int
    shares: int

    @classmethod
    def of(cls, weight: Node, result: Node, stride: tuple[int, int]) -> WinogradConvolution | None:
        """Return the convolution, or None where it is none of this kind or has too little to do to be worth it."""
        batch, _, height, width = result.meta["val"].shape
        channels_out, channels, *kernel = weight.meta["val"].shape
        if kernel != [_KERNEL, _KERNEL] or stride != (1, 1) or min(channels, channels_out) < FEW_CHANNELS:
            return None
        if result.meta["val"].dtype != torch.float32:
            return None  # transformed, bf16 would be rounded twice
        fitting = [
            side
            for side, pixels in MANY_PIXELS.items()
            if height * width >= pixels and height % side == 0 and width % side == 0
        ]
        if not fitting:
            return None
        side = max(fitting)
        growth = (side + _KERNEL - 1) ** 2
        bands = equal_parts(4 * growth * (height * width // side**2) * channels * usual_size(batch), height // side)
        shares = equal_parts(4 * growth * channels * channels_out, channels_out)
        return cls(weight, height, width, side, bands, shares) if bands <= MANY_BANDS else None

    def write(self, graph: Graph, pixels: Node, bias: Node | None, literals: Literals) -> Node:
        """
        Write the convolution into a graph, at its point of insertion.

        Args:
            graph: To write into.
            pixels: The padded image, ``[batch, height + 2, width + 2, channels]``.
            bias: Of each channel out, if there is one.
            literals: Where the matrices are kept.

        Returns:
            The result, ``[batch, channels out, height, width]``.
        """
        call = graph.call_function
        kernels = [self._kernels(graph, share, literals) for share in range(self.shares)]
        height = self.height // self.bands
        bands = []
        for band in range(self.bands):
            rows_in = call(_aten.slice.Tensor, (pixels, 1, band * height, (band + 1) * height + _KERNEL - 1))
            tiles = self._tiles(graph, rows_in, height)
            parts = []
            for share, kernel in enumerate(kernels):
                part = self._results(graph, call(_aten.bmm.default, (tiles, kernel)), height, literals)
                parts.append(part if bias is None else call(_aten.add.Tensor, (part, self._share(graph, bias, share))))
            bands.append(_joined(graph, parts, -1))
        return call(_aten.permute.default, (_joined(graph, bands, 1), [0, 3, 1, 2]))

    def _share(self, graph: Graph, tensor: Node, share: int) -> Node:
        """Take a share of the channels that come out."""
        size = self._channels_out_of_a_share
        return graph.call_function(_aten.slice.Tensor, (tensor, 0, share * size, (share + 1) * size))

    @property
    def _channels_out_of_a_share(self) -> int:
        return int(self.weight.meta["val"].shape[0]) // self.shares

    @property
    def _channels(self) -> int:
        return int(self.weight.meta["val"].shape[1])

    def _kernels(self, graph: Graph, share: int, literals: Literals) -> Node:
        """Transform a share of the weight: ``[tile pixels, channels, channels out]``."""
        call = graph.call_function
        matrix = Transforms.of(self.side).kernel
        size = self._channels_out_of_a_share
        part = call(_aten.permute.default, (self._share(graph, self.weight, share), [0, 2, 3, 1]))
        part = call(_aten.reshape.default, (part, [size, _KERNEL**2, self._channels]))
        literal = literals.node(f"winograd_kernel_{self.side}", matrix.float())
        repeated = call(_aten.expand.default, (literal, [size, *matrix.shape]))
        return call(_aten.permute.default, (call(_aten.bmm.default, (repeated, part)), [1, 2, 0]))

    def _tiles(self, graph: Graph, rows: Node, height: int) -> Node:
        """Transform the tiles of a band ``[batch, height + 2, width + 2, channels]``: ``[tile pixels, tiles, channels]``."""
        call = graph.call_function
        matrix = Transforms.of(self.side).tile.tolist()
        part, axis = rows, 1
        for number, size in enumerate((height, self.width)):
            pixels = [
                call(_aten.slice.Tensor, (part, axis, start, start + size - self.side + 1, self.side))
                for start in range(len(matrix))
            ]
            part = call(_aten.stack.default, ([_combined(graph, pixels, factors) for factors in matrix], number))
            axis = 3  # the rows of a tile have come in front of batch, rows and columns
        return call(_aten.reshape.default, (part, [len(matrix) ** 2, -1, self._channels]))

    def _results(self, graph: Graph, products: Node, height: int, literals: Literals) -> Node:
        """Transform products ``[tile pixels, tiles, channels out]`` back: ``[batch, height, width, channels out]``."""
        call = graph.call_function
        matrix = Transforms.of(self.side).results
        size, side = self._channels_out_of_a_share, self.side
        literal = literals.node(f"winograd_results_{side}", matrix.float())
        flat = call(_aten.mm.default, (literal, call(_aten.reshape.default, (products, [matrix.shape[1], -1]))))
        apart = call(_aten.reshape.default, (flat, [side, side, -1, height // side, self.width // side, size]))
        beside = call(_aten.permute.default, (apart, [2, 3, 0, 4, 1, 5]))
        return call(_aten.reshape.default, (beside, [-1, height, self.width, size]))


def _polynomial(roots: tuple[float, ...]) -> list[float]:
    """Return the coefficients of the polynomial with these roots, the constant one first."""
    coefficients = [1.0]
    for root in roots:
        coefficients = [low - root * high for low, high in zip([0.0, *coefficients], [*coefficients, 0.0], strict=True)]
    return coefficients


def _combined(graph: Graph, terms: list[Node], factors: list[float]) -> Node:
    """Multiply nodes by factors and add them up."""
    sum: Any = None
    for term, factor in zip(terms, factors, strict=True):
        if factor == 0:
            continue
        if sum is None:
            sum = term if factor == 1 else graph.call_function(_aten.mul.Tensor, (term, factor))
        else:
            sum = graph.call_function(_aten.add.Tensor, (sum, term), {"alpha": factor})
    return sum


def _joined(graph: Graph, parts: list[Node], axis: int) -> Node:
    return parts[0] if len(parts) == 1 else graph.call_function(_aten.cat.default, (parts, axis))
