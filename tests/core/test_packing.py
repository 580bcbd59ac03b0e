"""Weights in an order of oneDNN's own: which are packed, that results stay equal, and that their memory is given back."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.export import Dim, export

from neuronkit.backends.cpu import aot, backend, host
from neuronkit.backends.cpu.packing import Packer, packable
from neuronkit.backends.cpu.products import place_products
from neuronkit.errors import OptionError
from neuronkit.options import CompileOptions

needs_bf16 = pytest.mark.skipif(not host.has_arithmetic("bf16"), reason="this CPU has no bf16 arithmetic")
WIDTH = 64


class Layers(nn.Module):
    """One layer of its own, one that is a table of rows too, and one that is multiplied from the other side."""

    def __init__(self):
        super().__init__()
        self.own = nn.Linear(WIDTH, WIDTH)
        self.table = nn.Embedding(WIDTH, WIDTH)
        self.turned = nn.Parameter(torch.randn(WIDTH, WIDTH))

    def forward(self, rows, ids):
        hidden = self.own(rows) + self.table(ids)
        return nn.functional.linear(hidden, self.table.weight) @ self.turned


def compiled(precision, directory=None):
    torch.manual_seed(0)
    layers = Layers().to(precision).eval().requires_grad_(False)
    inputs = torch.randn(24, WIDTH).to(precision), torch.arange(24)
    rows = Dim("rows", min=1, max=64)
    program = export(layers, inputs, dynamic_shapes=({0: rows}, {0: rows}), strict=False)
    if directory is None:
        place_products(program)
        return packable(program)
    return layers, inputs, aot.compile(program, directory, CompileOptions(inline_weights=False))


@needs_bf16
def test_a_weight_that_only_products_take_can_be_packed():
    assert compiled(torch.bfloat16) == {"own.weight"}


def test_float32_gains_nothing():
    assert compiled(torch.float32) == set()


def test_a_weight_is_packed_once_until_somebody_writes_into_it():
    packer = Packer()
    weight = torch.randn(WIDTH, WIDTH)
    packed = packer.pack(weight)
    assert packed.is_mkldnn
    assert packer.pack(weight) is packed
    weight.zero_()
    assert packer.pack(weight) is not packed
    assert not packer.pack(weight).to_dense().any()


def test_what_is_written_into_an_inference_tensor_is_seen():
    with torch.inference_mode():
        weight = torch.randn(WIDTH, WIDTH)
        packer = Packer()
        packer.pack(weight)
        weight.zero_()
        assert not packer.pack(weight).to_dense().any()


def test_a_packed_weight_goes_with_its_source():
    packer = Packer()
    weight = torch.randn(WIDTH, WIDTH)
    packed = weakref.ref(packer.pack(weight))
    assert packed() is not None
    del weight
    gc.collect()
    assert packed() is None


@needs_bf16
@pytest.mark.compiled
def test_packed_weights_give_the_same_and_can_be_replaced(tmp_path):
    layers, inputs, graph = compiled(torch.bfloat16, tmp_path)
    assert {constant.name for constant in graph.constants if constant.packed} == {"own.weight"}
    tensors = {name: tensor.clone() for name, tensor in layers.state_dict().items()}
    packed, mapped = (aot.load(tmp_path / graph.entry, graph.constants, tensors, packer) for packer in (Packer(), None))
    before = packed(inputs)[0]
    torch.testing.assert_close(before, mapped(inputs)[0], atol=0.5, rtol=0)  # values of up to 500, in bf16
    other = {"own.weight": -tensors["own.weight"]}
    for runner in (packed, mapped):
        runner.rebind(other)
    torch.testing.assert_close(packed(inputs)[0], mapped(inputs)[0], atol=0.5, rtol=0)
    assert not torch.equal(packed(inputs)[0], before)
    packed.rebind({"own.weight": tensors["own.weight"]})
    assert torch.equal(packed(inputs)[0], before)


@needs_bf16
@pytest.mark.compiled
def test_memory_is_given_back(tmp_path):
    """torch keeps the tensors that a graph was given, but not what they hold."""
    layers, _, graph = compiled(torch.bfloat16, tmp_path)
    runner = aot.load(tmp_path / graph.entry, graph.constants, dict(layers.state_dict()), Packer())
    views = runner._views
    runner.rebind({"own.weight": torch.zeros(WIDTH, WIDTH, dtype=torch.bfloat16)})
    assert views["own.weight"].is_mkldnn
    del runner
    gc.collect()
    assert views["own.weight"].numel() == 0


def test_a_placement_that_there_is_not():
    with pytest.raises(OptionError, match="one of packed, mapped \\(got 'core 1'\\)"):
        backend.place(None, "core 1")
