"""Winograd's convolution: its matrices, which convolutions become one, and that they stay equal."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.export import Dim, export

from neuronkit.backends.cpu import aot, scratch
from neuronkit.backends.cpu.convolutions import place_convolutions
from neuronkit.backends.cpu.limits import FEW_CHANNELS, MANY_PIXELS
from neuronkit.backends.cpu.winograd import Transforms
from neuronkit.options import CompileOptions

CHANNELS = FEW_CHANNELS
SIDES = {side: int(pixels**0.5) for side, pixels in MANY_PIXELS.items()}
"""The smallest square image for each size of a tile."""


def convolution(channels=CHANNELS, channels_out=CHANNELS, *, kernel_size=3, padding=1, **options):
    torch.manual_seed(0)
    layer = nn.Conv2d(channels, channels_out, kernel_size, padding=padding, **options)
    return layer.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def placed(layer, height, width, *, batch=2):
    """Return the program of a layer after convolutions are placed, and an image for it."""
    image = torch.randn(3, layer.in_channels, height, width, dtype=next(layer.parameters()).dtype)
    program = export(layer, (image,), dynamic_shapes=({0: Dim("batch", min=1, max=4)},), strict=False)
    place_convolutions(program)
    return program, image[:batch]


def count(program, target):
    return sum(node.target is target for node in program.graph.nodes)


def products(program):
    return count(program, torch.ops.aten.bmm.default)


@pytest.mark.parametrize("side", SIDES)
@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_matrices_give_the_convolution(side, seed):
    matrices = Transforms.of(side)
    generator = torch.Generator().manual_seed(seed)
    tile = torch.randn(side + 2, side + 2, dtype=torch.float64, generator=generator)
    kernel = torch.randn(3, 3, dtype=torch.float64, generator=generator)

    pixels = torch.kron(matrices.tile, matrices.tile) @ tile.flatten()
    got = matrices.results @ (pixels * (matrices.kernel @ kernel.flatten()))

    wanted = nn.functional.conv2d(tile[None, None], kernel[None, None]).flatten()
    torch.testing.assert_close(got, wanted, atol=1e-12, rtol=0)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("side", SIDES)
def test_a_large_image_becomes_products(side, batch):
    pixels = SIDES[side]
    layer = convolution(CHANNELS, CHANNELS + 32)
    program, image = placed(layer, pixels, pixels + 4, batch=batch)
    assert count(program, torch.ops.aten.conv2d.default) == 0
    assert products(program) == 2  # the kernel's transform, and the sums over channels
    torch.testing.assert_close(program.module()(image), layer(image), atol=2e-5, rtol=0)


@pytest.mark.parametrize("options", [{"bias": False}, {"padding": 0}, {"padding": (1, 2)}])
def test_padding_and_bias(options):
    layer = convolution(**options)
    program, image = placed(layer, 18, 20)
    assert products(program) == 2
    torch.testing.assert_close(program.module()(image), layer(image), atol=2e-5, rtol=0)


@pytest.mark.parametrize("side", SIDES)
def test_sums_are_as_exact_as_the_definition_s(side):
    """Against float64: oneDNN's convolution has 1.4e-6 here, and the usual points for tiles of four results have 2.8e-6."""
    layer = convolution()
    program, image = placed(layer, SIDES[side], SIDES[side])
    got = program.module()(image).double()
    exact = layer.double()(image.double())
    error = (got - exact).square().mean().sqrt() / exact.std()
    assert error < 2e-6


def test_large_images_and_weights_go_in_parts(monkeypatch):
    """Buffers stay below the limit, and results are the same."""
    layer = convolution(CHANNELS, 2 * CHANNELS)
    monkeypatch.setattr(scratch, "SCRATCH_BYTES", 2**22)
    program, image = placed(layer, 32, 32)
    bands, shares = 2, 8
    assert products(program) == shares + bands * shares
    torch.testing.assert_close(program.module()(image), layer(image), atol=2e-5, rtol=0)


def test_too_many_bands_stay_a_convolution(monkeypatch):
    monkeypatch.setattr(scratch, "SCRATCH_BYTES", 2**16)
    program, _ = placed(convolution(), 64, 64)
    assert products(program) == 0


@pytest.mark.parametrize(
    ("options", "height", "width"),
    [
        ({}, 14, 16),
        ({}, 17, 16),
        ({}, 16, 17),
        ({"stride": 2}, 64, 64),
        ({"kernel_size": 5, "padding": 2}, 16, 16),
        ({"channels": CHANNELS - 32}, 16, 16),
        ({"channels_out": CHANNELS - 32}, 16, 16),
        ({"dtype": torch.bfloat16}, 32, 32),
    ],
)
def test_others_stay(options, height, width):
    """Small images, odd ones, other kernels and strides, few channels, and a precision that would round what is transformed."""
    program, _ = placed(convolution(**options), height, width)
    assert count(program, torch.ops.aten.conv2d.default) == 1
    assert products(program) == 0


def test_the_matrices_are_there_once():
    program, _ = placed(convolution(), 16, 16)
    once = len(program.graph_signature.lifted_tensor_constants)
    twice = nn.Sequential(convolution(), convolution())
    twice.in_channels = CHANNELS
    assert len(placed(twice, 16, 16)[0].graph_signature.lifted_tensor_constants) == once == 2


def test_compiled_weights_can_be_replaced(tmp_path):
    """Both sizes of tiles through Inductor: the matrices are the graph's own, and kernels are transformed at each call."""
    layers = nn.Sequential(convolution(), nn.AvgPool2d(2), convolution())
    layers.in_channels = CHANNELS
    program, image = placed(layers, SIDES[4], SIDES[4])
    compiled = aot.compile(program, tmp_path, CompileOptions(inline_weights=False))
    assert {wanted.name for wanted in compiled.constants} == set(layers.state_dict())
    runner = aot.load(tmp_path / compiled.entry, compiled.constants, dict(layers.state_dict()))
    for _ in range(2):
        torch.testing.assert_close(runner([image])[0], layers(image), atol=2e-5, rtol=0)
        for weight in layers.parameters():
            weight.copy_(weight.flip(0))
        runner.rebind({name: value.clone() for name, value in layers.state_dict().items()})
