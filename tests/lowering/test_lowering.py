"""The lowering itself, where torch-xla is installed: `make test-lowering`."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from neuronkit.backends.exporting import export_program
from neuronkit.buckets import Bucket
from neuronkit.diagnosis.lowering import lower
from neuronkit.errors import CompileError
from neuronkit.export import Graph, Input, Output
from tests.neuron.toys import BUCKET, CachedSum, Encoder, cached_graph, encoder_graph, traced

pytest.importorskip("torch_xla", reason="needs torch-xla and the torch that goes with it: make test-lowering")


def test_an_encoder_equals_eager():
    module = Encoder().eval().requires_grad_(False)
    lowered = lower(export_program(encoder_graph(), BUCKET, traced(encoder_graph(), module)))
    inputs = [torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]]), torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])]

    (states,) = lowered.run(inputs)
    assert torch.allclose(states, module(*inputs)["last_hidden_state"], atol=1e-5)
    assert lowered.operators["dot_general"] >= 2
    assert list(lowered.operators.values()) == sorted(lowered.operators.values(), reverse=True)


def test_states_come_back_changed():
    graph = cached_graph()
    lowered = lower(export_program(graph, Bucket({"batch": 2}), traced(graph, CachedSum())), [2])
    cache = torch.zeros(2, 4, 3)
    total, kept = lowered.run([torch.ones(2, 3), torch.tensor([1]), cache])

    assert torch.equal(total, torch.ones(2, 3))
    assert torch.equal(kept[:, 1], torch.ones(2, 3))
    assert not cache.any(), "the caller's own tensor is left alone"
    total, _ = lowered.run([torch.ones(2, 3), torch.tensor([2]), kept])
    assert torch.equal(total, torch.full((2, 3), 2.0))


class Eigenvalues(nn.Module):
    """Calls what XLA has no lowering for."""

    def forward(self, x):
        return {"y": torch.linalg.eigvals(x).real}


def test_an_operator_that_would_run_on_the_host_is_named():
    graph = Graph("g", [Input("x", ["batch", 3, 3], dtype="float32")], [Output("y", ["batch", 3])])
    with pytest.raises(CompileError, match=r"has no lowering, and would run these on the host: linalg_eig"):
        lower(export_program(graph, Bucket({"batch": 2}), traced(graph, Eigenvalues())))
