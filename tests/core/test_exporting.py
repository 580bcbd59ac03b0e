"""What the worker traces: a program that follows its inputs, and has nothing that the lowering lacks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from neuronkit.backends.exporting import export_program, runnable
from neuronkit.buckets import Bucket
from neuronkit.errors import CompileError
from neuronkit.export import Graph, Input, Output
from tests.neuron.toys import traced

GRAPH = Graph("g", [Input("x", ["batch", 4, 6], dtype="float32")], [Output("y", ["batch", 4, 6])])


class WithLiteral(nn.Module):
    """Puts a tensor that its code makes beside its input."""

    def forward(self, x):
        return {"y": torch.cat([torch.tensor([[[1.0] * 6]]).expand(x.shape[0], -1, -1), x[:, 1:]], dim=1)}


class Windows(nn.Module):
    """Sums each position with its two neighbours."""

    def forward(self, x):
        unfolded = nn.functional.unfold(x.unsqueeze(1), (3, 1), padding=(1, 0))
        return {"y": unfolded.unflatten(1, (1, 3)).sum(2).reshape(x.shape)}


class Turning(nn.Module):
    """Goes another way where its input is large."""

    def forward(self, x):
        return {"y": -x if x.sum() > 9 else x}


class Cutting(nn.Module):
    """Reads from its input how much of it counts."""

    def forward(self, x):
        return {"y": x[:, : int(x.max())]}


@pytest.mark.parametrize("module", [Turning(), Cutting()])
def test_steps_that_depend_on_values(module):
    """The line of the model is named, and what to write there instead."""
    with pytest.raises(CompileError) as raised:
        export_program(GRAPH, Bucket({"batch": 2}), traced(GRAPH, module))
    head, said, *places, advice = str(raised.value).splitlines()
    line = module.forward.__code__.co_firstlineno + 1
    assert head == "Graph 'g' could not be exported (batch2):"
    assert "data-dependent expression" in said
    assert f'  File "{__file__}", line {line}, in forward' in places
    assert advice.startswith("Try: the same steps whatever the tensors hold, such as torch.where in place of an if,")


@pytest.mark.parametrize("module", [WithLiteral(), Windows()])
def test_it_equals_the_module(module):
    program = export_program(GRAPH, Bucket({"batch": 2}), traced(GRAPH, module))
    x = torch.rand(2, 4, 6, generator=torch.Generator().manual_seed(1))

    (y,) = runnable(program)(x)
    assert torch.equal(y, module(x)["y"])


def test_tensors_that_code_makes_move_with_the_module():
    program = export_program(GRAPH, Bucket({"batch": 2}), traced(GRAPH, WithLiteral()))
    assert program.constants, "the program has a literal"

    module = runnable(program)
    assert len(list(module.buffers())) == 1
    assert not module.state_dict(), "and it is no weight"
    (y,) = module.to("meta")(torch.empty(2, 4, 6, device="meta"))
    assert y.device.type == "meta"


def test_an_operator_without_a_lowering_is_decomposed():
    program = export_program(GRAPH, Bucket({"batch": 2}), traced(GRAPH, Windows()))
    assert torch.ops.aten.im2col.default in {node.target for node in program.graph.nodes}
    assert torch.ops.aten.im2col.default not in {node.target for node in runnable(program).graph.nodes}
