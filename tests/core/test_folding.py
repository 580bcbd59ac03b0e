"""From a traced module to the program that the cpu backend compiles: casts of weights, and who multiplies."""

from functools import partial

import attrs
import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from neuronkit.backends.cpu import host
from neuronkit.backends.cpu.folding import export_folded
from neuronkit.backends.cpu.products import place_products
from neuronkit.buckets import Bucket
from neuronkit.errors import CompileError, ExportConfigError
from neuronkit.export import CompilerHints, Graph, Input, Output
from neuronkit.export.capture import TracedModule
from neuronkit.export.rounding import RoundedProducts
from neuronkit.weights import constant, fit, module_tensors

GRAPH = Graph(
    name="toy",
    inputs=[Input("input_ids", axes=("batch", "sequence"), dtype="int64")],
    outputs=[Output("logits", axes=("batch", "sequence", 11))],
)
BUCKET = Bucket(sizes={"batch": 2, "sequence": 7})
FEW_ROWS = Bucket(sizes={"batch": 2, "sequence": 3})


@pytest.fixture(autouse=True)
def without_the_library(monkeypatch):
    """These are the ways of CPUs on which the library of linear layers is not used; `test_linear` has the other."""
    monkeypatch.setattr(host, "uses_library", lambda: False)


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
    ids = torch.arange(14).reshape(2, 7) % 11
    wanted = toy(ids)["logits"]
    traced = TracedModule(toy, GRAPH, torch.bfloat16, how=how)

    program, rounded = export_folded(GRAPH, BUCKET, traced)

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
    ids = torch.arange(14).reshape(2, 7) % 11
    program, _ = export_folded(GRAPH, BUCKET, TracedModule(toy, GRAPH))

    place_products(program)

    targets = [node.target for node in program.graph.nodes]
    assert targets.count(torch.ops.mkldnn._linear_pointwise.default) == 2
    assert torch.ops.aten.linear.default not in targets
    (got,) = program.module()(ids)
    torch.testing.assert_close(got, toy(ids)["logits"], atol=1e-6, rtol=0)


def test_without_onednn_a_program_stays_as_it_is(monkeypatch):
    program, _ = export_folded(GRAPH, BUCKET, TracedModule(Toy().eval(), GRAPH))
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    before = str(program.graph)

    place_products(program)

    assert str(program.graph) == before


@pytest.mark.parametrize(("arithmetic", "count"), [(True, 1), (False, 0)])
def test_onednn_multiplies_in_the_lower_precision_where_the_cpu_can(monkeypatch, arithmetic, count):
    """The other layer is the embedding's, which is stored in float32 and cast at every call."""
    monkeypatch.setattr(host, "has_arithmetic", lambda precision: arithmetic and precision == "bf16")
    traced = TracedModule(Toy().eval(), GRAPH, torch.bfloat16, how="autocast")
    program, _ = export_folded(GRAPH, BUCKET, traced)

    place_products(program)

    targets = [node.target for node in program.graph.nodes]
    assert targets.count(torch.ops.mkldnn._linear_pointwise.default) == count


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
    ids = torch.arange(14).reshape(2, 7) % 11
    wanted = model(ids)["logits"]
    program, _ = export_folded(GRAPH, BUCKET, TracedModule(model, GRAPH))

    place_products(program)

    targets = [node.target for node in program.graph.nodes]
    assert targets.count(torch.ops.mkldnn._linear_pointwise.default) == (1 if shared else 2)
    strides = {name: program.state_dict[f"module.{name}.weight"].stride() for name in ("layer", "other")}
    assert strides == {"layer": (1, 8), "other": (11, 1) if shared else (1, 8)}
    assert model.layer.weight.stride() == (8, 1)
    (got,) = program.module()(ids)
    assert torch.allclose(got, wanted, atol=1e-6)


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
@pytest.mark.parametrize("module", [Toy, partial(Columns, shared=False)])
def test_products_of_few_rows_become_sums(module, precision, monkeypatch):
    """In any precision, added up in fp32; but for what is better packed."""
    monkeypatch.setattr(host, "has_arithmetic", lambda precision: False)  # with it, packed weights are faster
    model = module().eval().to(precision)
    ids = torch.arange(6).reshape(2, 3)
    wanted = model(ids)["logits"].float()
    program, _ = export_folded(GRAPH, FEW_ROWS, TracedModule(model, GRAPH, precision))

    place_products(program)

    targets = [node.target for node in program.graph.nodes]
    assert torch.ops.mkldnn._linear_pointwise.default not in targets
    assert torch.ops.aten.linear.default not in targets
    assert torch.ops.aten.addmm.default not in targets
    blocks = 2 + 3  # of 8 outputs, and of 11, where one is left over
    assert targets.count(torch.ops.aten.sum.dim_IntList) == blocks * 6
    (got,) = program.module()(ids)
    torch.testing.assert_close(got, wanted, atol=2e-2 if precision else 1e-6, rtol=0)


@pytest.mark.parametrize(("rows", "places"), [(1, 4), (4, 4), (8, 2)])
def test_a_weight_is_read_in_several_places_at_once(rows, places):
    """As many as there are registers for; each block of outputs is a sum of its own for each row."""
    model = Toy().eval()
    ids = torch.arange(rows).reshape(1, rows)
    program, _ = export_folded(GRAPH, Bucket(sizes={"batch": 1, "sequence": rows}), TracedModule(model, GRAPH))

    place_products(program)

    sums = [node for node in program.graph.nodes if node.target is torch.ops.aten.sum.dim_IntList]
    assert len(sums) == rows * (places + places + 1)
    (got,) = program.module()(ids)
    torch.testing.assert_close(got, model(ids)["logits"], atol=1e-6, rtol=0)


class Bytes(nn.Module):
    """Two layers whose weights are cast from int8; the width of the second is not in fours."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(11, 8)
        self.register_buffer("layer", torch.randint(-128, 128, (6, 8), dtype=torch.int8))
        self.register_buffer("other", torch.randint(-128, 128, (11, 6), dtype=torch.int8))
        self.bias = nn.Parameter(torch.randn(6))
        self.config = None

    def forward(self, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = self.embedding(input_ids)
        hidden = nn.functional.linear(hidden, self.layer.to(hidden.dtype), self.bias) / 100
        return {"logits": nn.functional.linear(hidden, self.other.to(hidden.dtype)) / 100}


@pytest.mark.parametrize("rows", ["few", "many", "dynamic"])
@pytest.mark.parametrize("how", [None, "rounded", "converted"])
def test_weights_of_bytes_are_read_as_words(rows, how):
    """In every precision, and none is restored from single bytes but the one whose width is not in fours."""
    model = Bytes().eval()
    ids = torch.arange(6).reshape(2, 3) if rows == "few" else torch.arange(14).reshape(2, 7) % 11
    bucket = {"few": FEW_ROWS, "many": BUCKET, "dynamic": Bucket(sizes=BUCKET.sizes, bounds={"sequence": (1, 7)})}[rows]
    traced = TracedModule(
        model.bfloat16() if how == "converted" else model, GRAPH, how and torch.bfloat16, how=how or "converted"
    )
    wanted = model(ids)["logits"].float()
    program, _ = export_folded(GRAPH, bucket, traced, inline_weights=False)
    onednn = torch.ops.mkldnn._linear_pointwise.default

    place_products(program)

    nodes = list(program.graph.nodes)
    held = program.graph_signature.inputs_to_buffers
    users = {held[node.name]: {user.target for user in node.users} for node in nodes if node.name in held}
    view, guard = torch.ops.aten.view.dtype, torch.ops.aten._assert_tensor_metadata.default
    assert users["module.layer"] - {guard} == {view}
    assert view not in users["module.other"]
    sums = [node for node in nodes if node.target is torch.ops.aten.sum.dim_IntList]
    blocks = 2 + 3  # of 6 outputs and of 11
    assert len(sums) == (blocks * 6 if rows == "few" else 0)
    assert not [node for node in nodes if node.target is onednn]
    assert program.state_dict["module.layer"].dtype == torch.int8
    (got,) = program.module()(ids)
    torch.testing.assert_close(got, wanted, atol=1e-5 if how is None else 5e-2, rtol=0)


def test_where_weights_are_what_a_call_reads_they_are_stored_in_the_lower_precision():
    """The lookup in a tied one sees rounded values; two buckets, of few rows and of many, hold the same tensors."""
    model = Toy().eval()
    graph = attrs.evolve(GRAPH, hints=CompilerHints(memory_bound={"sequence": 3}))
    traced = TracedModule(model, graph, torch.bfloat16, how="rounded")
    held = {}
    for bucket, ids in ((FEW_ROWS, torch.arange(6).reshape(2, 3)), (BUCKET, torch.arange(14).reshape(2, 7) % 11)):
        program, rounded = export_folded(graph, bucket, traced, inline_weights=False)
        place_products(program)
        held[bucket.label] = {name: constant(name, tensor) for name, tensor in program.state_dict.items()}
        assert rounded == {}
        assert program.state_dict["module.layer.weight"].dtype == torch.bfloat16
        assert program.state_dict["module.head.weight"].dtype == torch.bfloat16
        with RoundedProducts(torch.bfloat16):
            embedded = torch.nn.functional.embedding(ids, model.embedding.weight.bfloat16().float())
            wanted = model.head(model.layer(embedded))
        fitted = fit(module_tensors(traced), held[bucket.label].values())  # an export for weights apart has no values
        program.state_dict.update({name: nn.Parameter(tensor.make(), False) for name, tensor in fitted.items()})
        (got,) = program.module()(ids)
        torch.testing.assert_close(got, wanted, atol=2e-2, rtol=0)
    assert held[FEW_ROWS.label] == held[BUCKET.label]


def test_a_batch_of_many_rows_keeps_weights_as_they_are():
    graph = attrs.evolve(GRAPH, hints=CompilerHints(memory_bound={"sequence": 3}))
    traced = TracedModule(Toy().eval(), graph, torch.bfloat16, how="rounded")
    many = Bucket(sizes={"batch": 3, "sequence": 3})

    program, rounded = export_folded(graph, many, traced, inline_weights=False)

    assert program.state_dict["module.layer.weight"].dtype == torch.float32
    assert rounded["module.layer.weight"] == "bfloat16"


class Fails(nn.Module):
    """Returns what a function makes of the ids."""

    def __init__(self, result) -> None:
        super().__init__()
        self.result = result
        self.config = None

    def forward(self, input_ids: torch.Tensor) -> object:
        return self.result(input_ids)


DYNAMIC = Bucket(sizes={"batch": 2, "sequence": 16}, bounds={"batch": (1, 2), "sequence": (1, 16)})


def test_a_mistake_of_the_plugin_is_named_as_one():
    with pytest.raises(ExportConfigError) as raised:
        export_folded(GRAPH, DYNAMIC, TracedModule(Fails(lambda ids: {"scores": ids}), GRAPH))
    assert str(raised.value) == "Graph 'toy' declares the output 'logits', but the module returned ['scores']."


@pytest.mark.parametrize(
    ("result", "hint"),
    [
        (lambda ids: {"logits": ids * 2 if ids.shape[1] > 9 else ids}, True),
        (lambda ids: {"logits": ids.unflatten(0, (3, 3))}, False),
        (lambda ids: {"logits": ids * 2 if ids.sum() > 0 else ids}, False),
    ],
)
def test_fixed_axes_are_recommended_where_they_help(result, hint):
    with pytest.raises(CompileError, match=r"^Graph 'toy' could not be exported \(") as raised:
        export_folded(GRAPH, DYNAMIC, TracedModule(Fails(result), GRAPH))
    assert str(raised.value).endswith("\nTry: --static, which fixes every axis.") == hint
