"""Which convolutions become products, and that they stay equal."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.export import Dim, export

from neuronkit.backends.cpu import host
from neuronkit.backends.cpu.convolutions import place_convolutions
from neuronkit.backends.cpu.limits import FEW_PIXELS, LARGE_WEIGHT

CONVOLUTIONS = (torch.ops.aten.conv2d.default, torch.ops.aten.convolution.default)


def placed(layer, pixels, *, decomposed=False):
    """Return how many convolutions are left of a layer, what it gives, and what the program gives."""
    torch.manual_seed(0)
    layer = layer.eval().requires_grad_(False)
    image = torch.randn(3, layer.in_channels, pixels, pixels, dtype=layer.weight.dtype)
    program = export(layer, (image,), dynamic_shapes=({0: Dim("batch", min=1, max=4)},), strict=False)
    if decomposed:
        program = program.run_decompositions({})

    place_convolutions(program)

    left = sum(node.target in CONVOLUTIONS for node in program.graph.nodes)
    return left, layer(image[:2]), program.module()(image[:2])


@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3, "padding": 1, "bias": False},
        {"kernel_size": (3, 1), "padding": (2, 0), "stride": (2, 1)},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 2},
        {"kernel_size": 1},
    ],
)
def test_few_pixels_become_a_product(options, decomposed):
    layer = nn.Conv2d(8, 12, **options).to(memory_format=torch.channels_last)
    left, wanted, got = placed(layer, 7, decomposed=decomposed)
    assert left == 0
    assert got.shape == wanted.shape
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("options", "pixels"),
    [
        ({"padding": 1}, int(FEW_PIXELS**0.5) + 1),
        ({"groups": 2}, 7),
        ({"dilation": 2}, 7),
    ],
)
def test_others_stay(options, pixels):
    """Larger images, and convolutions that are no single product."""
    layer = nn.Conv2d(8, 12, kernel_size=3, **options).to(memory_format=torch.channels_last)
    left, wanted, got = placed(layer, pixels)
    assert left == 1
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)


def small_in_bf16():
    return nn.Conv2d(8, 12, kernel_size=3).to(torch.bfloat16).to(memory_format=torch.channels_last)


@pytest.mark.skipif(not host.has_arithmetic("bf16"), reason="this CPU has no bf16 arithmetic")
def test_a_lower_precision_becomes_a_product():
    left, wanted, got = placed(small_in_bf16(), 7)
    assert left == 0
    torch.testing.assert_close(got, wanted, atol=1e-2, rtol=0)  # values up to 1


def test_a_precision_that_the_cpu_has_no_arithmetic_for_stays(monkeypatch):
    monkeypatch.setattr(host, "has_arithmetic", lambda precision: False)
    left, wanted, got = placed(small_in_bf16(), 7)
    assert left == 1
    assert torch.equal(got, wanted)


def test_a_large_weight_is_worth_it_for_more_pixels():
    layer = nn.Conv2d(1024, 1024, kernel_size=3, padding=1).to(memory_format=torch.channels_last)
    assert layer.weight.numel() >= LARGE_WEIGHT
    pixels = 2 * int(FEW_PIXELS**0.5) - 1
    left, wanted, got = placed(layer, pixels)
    assert left == 0
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=0)  # values up to 3, from sums of 9,216
    assert placed(layer, pixels + 2)[0] == 1


def test_a_weight_in_another_order_stays():
    """It would have to be copied at every call."""
    left, wanted, got = placed(nn.Conv2d(8, 12, kernel_size=3), 7)
    assert left == 1
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)


def test_without_onednn_a_program_stays_as_it_is(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    left, _, _ = placed(nn.Conv2d(8, 12, kernel_size=3).to(memory_format=torch.channels_last), 7)
    assert left == 1
