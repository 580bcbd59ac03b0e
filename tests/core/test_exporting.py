"""From a traced module to the program that the cpu backend compiles: casts of weights, and who multiplies."""

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from neuronkit.backends.cpu.exporting import export_program
from neuronkit.backends.cpu.products import use_onednn
from neuronkit.buckets import Bucket
from neuronkit.export import Graph, Input, Output
from neuronkit.export.capture import TracedModule

GRAPH = Graph(
    name="toy",
    inputs=[Input("input_ids", axes=("batch", "sequence"), dtype="int64")],
    outputs=[Output("logits", axes=("batch", "sequence", 11))],
)
BUCKET = Bucket(sizes={"batch": 2, "sequence": 3})


class Toy(nn.Module):
    """An embedding, a layer and a head which is tied to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(11, 8)
        self.layer = nn.Linear(8, 8)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embedding.weight
        self.config = None

    def forward(self, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.head(self.layer(self.embedding(input_ids)))}


def casts_of_weights(program) -> list[str]:
    weights = program.graph_signature.inputs_to_parameters
    return [
        weights[node.args[0].name]
        for node in program.graph.nodes
        if node.target is torch.ops.aten._to_copy.default and node.args[0].name in weights
    ]


@pytest.mark.parametrize("how", ["rounded", "autocast"])
def test_a_weight_of_products_alone_is_cast_beforehand(how):
    """A tied one keeps its values, which the lookup needs; with rounded products no step casts it."""
    toy = Toy().eval()
    ids = torch.arange(6).reshape(2, 3)
    wanted = toy(ids)["logits"]
    traced = TracedModule(toy, GRAPH, torch.bfloat16, how=how)

    program, rounded = export_program(GRAPH, BUCKET, traced)

    held = program.state_dict
    assert torch.equal(held["module.embedding.weight"], toy.embedding.weight)
    weight = held["module.layer.weight"]
    assert torch.equal(weight.float(), toy.layer.weight.to(torch.bfloat16).float())
    if how == "rounded":
        assert rounded == {"module.layer.weight": "bfloat16"}
        assert weight.dtype is torch.float32
        assert casts_of_weights(program) == []
    else:
        assert rounded == {}
        assert weight.dtype is torch.bfloat16
        assert len(casts_of_weights(program)) == 1
    (got,) = program.module()(ids)
    difference = (got - wanted).abs().max().item()
    assert 1e-6 < difference < 0.05


def test_onednn_computes_what_linear_layers_do():
    toy = Toy().eval()
    ids = torch.arange(6).reshape(2, 3)
    program, _ = export_program(GRAPH, BUCKET, TracedModule(toy, GRAPH))

    use_onednn(program)

    targets = [node.target for node in program.graph.nodes]
    assert targets.count(torch.ops.mkldnn._linear_pointwise.default) == 2
    assert torch.ops.aten.linear.default not in targets
    (got,) = program.module()(ids)
    torch.testing.assert_close(got, toy(ids)["logits"], atol=1e-6, rtol=0)


def test_without_onednn_a_program_stays_as_it_is(monkeypatch):
    program, _ = export_program(GRAPH, BUCKET, TracedModule(Toy().eval(), GRAPH))
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    before = str(program.graph)

    use_onednn(program)

    assert str(program.graph) == before


class Columns(nn.Module):
    """A layer of GPT-2's kind, which multiplies by its weight as it is, twice; the second has another use for its weight."""

    def __init__(self, *, shared: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(11, 8)
        self.layer, self.other = Conv1D(8, 8), Conv1D(11, 8)
        self.shared = shared
        self.config = None

    def forward(self, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.other(self.layer(self.embedding(input_ids)))
        return {"logits": logits + self.other.weight.sum(0) if self.shared else logits}


@pytest.mark.parametrize("shared", [False, True])
def test_onednn_gets_gpt2_s_weights_by_columns(shared):
    """Where the layer is all that uses them; the model that was traced keeps its own."""
    model = Columns(shared=shared).eval()
    ids = torch.arange(6).reshape(2, 3)
    wanted = model(ids)["logits"]
    program, _ = export_program(GRAPH, BUCKET, TracedModule(model, GRAPH))

    use_onednn(program)

    targets = [node.target for node in program.graph.nodes]
    assert targets.count(torch.ops.mkldnn._linear_pointwise.default) == (1 if shared else 2)
    strides = {name: program.state_dict[f"module.{name}.weight"].stride() for name in ("layer", "other")}
    assert strides == {"layer": (1, 8), "other": (11, 1) if shared else (1, 8)}
    assert model.layer.weight.stride() == (8, 1)
    (got,) = program.module()(ids)
    assert torch.allclose(got, wanted, atol=1e-6)
