"""Weights in an order of oneDNN's own: which are packed, that results stay equal, and that their memory is given back."""

from __future__ import annotations

import gc
import weakref
from functools import partial

import pytest
import torch
from torch import nn
from torch.export import Dim, export

from neuronkit.backends.cpu import aot, backend, host
from neuronkit.backends.cpu.packing import Packer, packable, take_turned
from neuronkit.backends.cpu.products import place_products
from neuronkit.errors import OptionError
from neuronkit.options import CompileOptions
from neuronkit.weights import check

needs_bf16 = pytest.mark.skipif(not host.has_arithmetic("bf16"), reason="this CPU has no bf16 arithmetic")
WIDTH = 64


class Layers(nn.Module):
    """One layer of its own, one that is a table of rows too, and one that multiplies by its weight as it is, as GPT-2's do."""

    def __init__(self):
        super().__init__()
        self.own = nn.Linear(WIDTH, WIDTH)
        self.table = nn.Embedding(WIDTH, WIDTH)
        self.other = nn.Parameter(torch.randn(WIDTH, 2 * WIDTH))
        self.bias = nn.Parameter(torch.randn(2 * WIDTH))

    def forward(self, rows, ids):
        hidden = self.own(rows) + self.table(ids)
        return torch.addmm(self.bias, nn.functional.linear(hidden, self.table.weight), self.other)


def exported(precision, rows=None):
    """Return the layers, inputs, and their program, for a fixed number of rows or for any."""
    torch.manual_seed(0)
    layers = Layers().to(precision).eval().requires_grad_(False)
    inputs = torch.randn(rows or 24, WIDTH).to(precision), torch.arange(rows or 24)
    any_rows = ({0: Dim("rows", min=1, max=64)},) * 2
    program = export(layers, inputs, dynamic_shapes=None if rows else any_rows, strict=False)
    return layers, inputs, program


def packed_of(precision, rows=None):
    program = exported(precision, rows)[2]
    place_products(program)
    turned = take_turned(program)
    assert turned <= {"other"}
    return packable(program)


@needs_bf16
@pytest.mark.parametrize("rows", [None, 5, 24])
def test_a_weight_that_only_layers_take_can_be_packed(rows):
    assert packed_of(torch.bfloat16, rows) == {"own.weight", "other"}


@needs_bf16
@pytest.mark.parametrize("rows", [1, 4])
def test_few_rows_read_weights_as_they_are_stored(rows):
    assert packed_of(torch.bfloat16, rows) == set()


@pytest.mark.parametrize("rows", [None, 4])
def test_float32_gains_nothing(rows):
    assert packed_of(torch.float32, rows) == set()


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


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Return layers, inputs of eight rows, and what opens the compiled graph over tensors."""
    layers, inputs, program = exported(torch.bfloat16, 8)
    directory = tmp_path_factory.mktemp("compiled")
    graph = aot.compile(program, directory, CompileOptions(inline_weights=False))
    assert {constant.name for constant in graph.constants if constant.packed} == {"own.weight", "other"}
    tensors = {name: tensor.clone() for name, tensor in layers.state_dict().items()}
    tensors["other"] = tensors["other"].t().contiguous().t()  # by columns, as its constant says
    check(tensors, graph.constants)
    return layers, inputs, tensors, partial(aot.load, directory / graph.entry, graph.constants)


@needs_bf16
@pytest.mark.compiled
def test_packed_weights_give_the_same_and_can_be_replaced(compiled):
    layers, inputs, tensors, load = compiled
    packed, mapped = load(tensors, Packer()), load(tensors)
    before = packed(inputs)[0]
    wanted = layers(*inputs)
    near = 0.02 * wanted.abs().max().item()  # bf16 has eight bits, and three layers round
    for runner in (packed, mapped):
        torch.testing.assert_close(runner(inputs)[0], wanted, atol=near, rtol=0)
    other = {"own.weight": -tensors["own.weight"], "other": 2 * tensors["other"]}
    for runner in (packed, mapped):
        runner.rebind(other)
    torch.testing.assert_close(packed(inputs)[0], mapped(inputs)[0], atol=2 * near, rtol=0)
    assert not torch.equal(packed(inputs)[0], before)
    packed.rebind({name: tensors[name] for name in other})
    assert torch.equal(packed(inputs)[0], before)


@needs_bf16
@pytest.mark.compiled
def test_memory_is_given_back(compiled):
    """torch keeps the tensors that a graph was given, but not what they hold."""
    _, _, tensors, load = compiled
    runner = load(tensors, Packer())
    views = runner._views
    runner.rebind({"own.weight": torch.zeros(WIDTH, WIDTH, dtype=torch.bfloat16)})
    assert views["own.weight"].is_mkldnn
    del runner
    gc.collect()
    assert views["own.weight"].numel() == 0


def test_a_placement_that_there_is_not():
    with pytest.raises(OptionError, match="one of packed, mapped \\(got 'core 1'\\)"):
        backend.place(None, "core 1")


def test_kernels_that_pack_while_compiling_need_the_weights(tmp_path):
    options = CompileOptions(optlevel=3, inline_weights=False)
    with pytest.raises(OptionError, match=r"(?s)^optlevel: 3 times kernels that pack weights .*--inline-weights"):
        backend.compile(None, None, None, options, tmp_path)
