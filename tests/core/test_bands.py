"""Feed-forward layers in bands of rows: which are divided, and that they stay equal."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.export import Dim, export

from neuronkit.backends.cpu import host, scratch
from neuronkit.backends.cpu.bands import place_bands
from neuronkit.backends.cpu.products import is_layer, place_products

WIDTH, ROWS = 16, 24
MIDDLE_BYTES = 2 * ROWS * 8 * WIDTH * 4
"""Of two images, as guidance computes them."""


class Gated(nn.Module):
    """The feed-forward layer of a UNet: one half of what comes out of the first layer gates the other."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(WIDTH, 8 * WIDTH)
        self.last = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        values, gate = self.first(x).chunk(2, -1)
        return self.last(nn.functional.dropout(values * nn.functional.gelu(gate), 0.1, self.training)) + x


class Plain(Gated):
    """Without a gate, as the feed-forward layer of an encoder is."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(8 * WIDTH, WIDTH)

    def forward(self, x):
        return self.last(nn.functional.silu(self.first(x)))


class Sliced(Gated):
    """Takes a part of the middle in a way that is not known to leave rows alone."""

    def forward(self, x):
        return self.last(self.first(x)[:, :, : 4 * WIDTH])


class Split(Gated):
    """Divided by sizes and in the wrong axis."""

    def forward(self, x):
        upper, _ = self.first(x).split([ROWS // 2, ROWS // 2], 1)
        return self.last(upper[..., : 4 * WIDTH])


class Mixed(Gated):
    """Rows look at each other."""

    def forward(self, x):
        return self.last(self.first(x).softmax(1).chunk(2, -1)[0])


class Kept(Gated):
    """The middle is a result too."""

    def forward(self, x):
        middle = self.first(x).chunk(2, -1)[0]
        return self.last(middle) + middle[..., :WIDTH]


class Alone(Gated):
    """No second layer."""

    def forward(self, x):
        return self.first(x)


def placed(kind, monkeypatch, *, limit, shape=(2, ROWS, WIDTH), dynamic=(0,), dtype=torch.float32):
    """Return how many products and joints a layer has after bands are placed, what it gives, and what the program gives."""
    monkeypatch.setattr(scratch, "SCRATCH_BYTES", limit)
    torch.manual_seed(0)
    layer = kind().to(dtype).eval().requires_grad_(False)
    x = torch.randn(shape, dtype=dtype)
    dims = {axis: Dim(f"axis{axis}", min=1, max=64) for axis in dynamic}
    program = export(layer, (x,), dynamic_shapes=(dims,) if dims else None, strict=False)
    place_products(program)
    place_bands(program)
    program.graph.lint()
    nodes = program.graph.nodes
    counts = [sum(map(is_layer, nodes)), sum(node.target is torch.ops.aten.cat.default for node in nodes)]
    return counts, layer(x), program.module()(x)


@pytest.mark.parametrize(
    ("limit", "bands"), [(MIDDLE_BYTES + 1, 1), (MIDDLE_BYTES // 2 + 1, 2), (MIDDLE_BYTES // 7, 8)]
)
@pytest.mark.parametrize("shape", [(2, ROWS, WIDTH), (3, ROWS, WIDTH)])
@pytest.mark.parametrize("kind", [Gated, Plain])
def test_a_large_middle_is_divided(monkeypatch, kind, limit, bands, shape):
    """Into as few equal bands as have a middle below the limit, whatever the batch of a call."""
    counts, wanted, got = placed(kind, monkeypatch, limit=limit, shape=shape)
    assert counts == [2 * bands, int(bands > 1)]
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)


def test_rows_and_columns_alone(monkeypatch):
    """A program of a fixed batch may have its rows first."""
    counts, wanted, got = placed(Gated, monkeypatch, limit=MIDDLE_BYTES // 4, shape=(2 * ROWS, WIDTH), dynamic=())
    assert counts == [12, 1]
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)


def test_rows_that_would_be_a_band_each_stay(monkeypatch):
    """A prime number of rows has no other equal bands."""
    counts, wanted, got = placed(Gated, monkeypatch, limit=MIDDLE_BYTES, shape=(2, 29, WIDTH))
    assert counts == [2, 0]
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)


@pytest.mark.skipif(not host.has_arithmetic("bf16"), reason="this CPU has no bf16 arithmetic")
def test_a_lower_precision_has_half_the_bands(monkeypatch):
    counts, wanted, got = placed(Gated, monkeypatch, limit=MIDDLE_BYTES // 4 + 1, dtype=torch.bfloat16)
    assert counts == [4, 1]
    torch.testing.assert_close(got, wanted, atol=3e-2, rtol=0)  # values up to 4


@pytest.mark.parametrize(
    ("kind", "left", "options"),
    [(Sliced, 2, {}), (Split, 2, {}), (Mixed, 2, {}), (Kept, 2, {}), (Alone, 1, {}), (Gated, 2, {"dynamic": (0, 1)})],
)
def test_others_stay(monkeypatch, kind, left, options):
    """Where rows are not left to themselves, the middle goes elsewhere too, or its rows are counted by the call."""
    counts, wanted, got = placed(kind, monkeypatch, limit=MIDDLE_BYTES // 4, **options)
    assert counts == [left, 0]
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)
