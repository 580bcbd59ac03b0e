"""The library's linear layers: what they compute, what they refuse, and what goes to them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers.pytorch_utils import Conv1D

from neuronkit.backends.cpu.folding import export_folded
from neuronkit.backends.cpu.library import linear
from neuronkit.backends.cpu.products import is_layer, place_products
from neuronkit.buckets import Bucket
from neuronkit.export import Graph, Input, Output
from neuronkit.export.capture import TracedModule
from neuronkit.options import CompileOptions
from tests.core.library import on_avx2

pytestmark = on_avx2
WIDTHS = st.integers(1, 40) | st.integers(380, 390) | st.just(800)


@pytest.fixture(scope="session")
def multiply(call):
    return lambda rows, weight, bias=None, gelu=False: call("linear", rows, weight, optional=bias, numbers=[int(gelu)])


@settings(max_examples=150, deadline=None)
@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=3) | st.tuples(st.integers(190, 400)),
    width=WIDTHS,
    outputs=st.integers(1, 70),
    dtype=st.sampled_from(sorted(linear.WEIGHTS, key=str)),
    has_bias=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_it_multiplies(multiply, shape, width, outputs, dtype, has_bias, seed):
    """Any number of rows, inputs and outputs, in every precision of weights, nearer than float32's sums are from exact ones."""
    torch.manual_seed(seed)
    rows, bias = torch.randn(*shape, width), torch.randn(outputs) if has_bias else None
    weight = torch.randn(outputs, width) if dtype.is_floating_point else torch.randint(-128, 128, (outputs, width))
    weight = weight.to(dtype)

    got = multiply(rows, weight, bias)

    exact = nn.functional.linear(rows.double(), weight.double(), None if bias is None else bias.double())
    size = nn.functional.linear(rows.double().abs(), weight.double().abs()) + 1
    assert got.shape == exact.shape
    assert ((got - exact).abs() <= 1e-6 * size).all()


@pytest.mark.parametrize("count", [1, 3, 200])
@pytest.mark.parametrize("outputs", [5, 40])
def test_gelu_follows(multiply, count, outputs):
    """As near to exact values as torch's."""
    torch.manual_seed(0)
    rows, weight, bias = torch.randn(count, 30), torch.randn(outputs, 30), torch.randn(outputs)
    rows[0] *= 10
    exact = nn.functional.gelu(nn.functional.linear(rows.double(), weight.double(), bias.double()))
    torch.testing.assert_close(multiply(rows, weight, bias, gelu=True).double(), exact, atol=1e-6, rtol=2e-5)


def test_gelu_of_any_value(multiply):
    values = torch.tensor(
        [0.0, -0.0, 1e-30, -1e-6, 0.5, -0.5, 5.0, -5.0, 1e4, -1e4, 3e38, -3e38, torch.inf, -torch.inf, torch.nan]
    )
    got = multiply(values[:, None], torch.ones(1, 1), gelu=True)[:, 0]
    torch.testing.assert_close(got, nn.functional.gelu(values), atol=1e-6, rtol=1e-6, equal_nan=True)


def test_no_rows_give_none(multiply):
    assert multiply(torch.empty(0, 3), torch.ones(2, 3)).shape == (0, 2)


def test_results_do_not_depend_on_threads(multiply, threads):
    torch.manual_seed(0)
    rows, weight = torch.randn(130, 700), torch.randn(90, 700)
    exact = nn.functional.linear(rows.double(), weight.double())
    torch.testing.assert_close(multiply(rows, weight).double(), exact, atol=2e-4, rtol=0)


@pytest.mark.parametrize(
    ("rows", "weight", "bias"),
    [
        (torch.ones(2, 3, dtype=torch.float64), torch.ones(4, 3), None),
        (torch.ones(2, 4), torch.ones(4, 3), None),
        (torch.ones(3, 2).t(), torch.ones(4, 3), None),
        (torch.ones(2, 3), torch.ones(4, 3, dtype=torch.int64), None),
        (torch.ones(2, 3), torch.ones(3, 4).t(), None),
        (torch.ones(2, 3), torch.ones(4, 3, 1), None),
        (torch.ones(2, 3), torch.ones(4, 3), torch.ones(3)),
        (torch.ones(2, 3), torch.ones(4, 3), torch.ones(4, dtype=torch.bfloat16)),
    ],
    ids=["rows-dtype", "width", "rows-order", "weight-dtype", "weight-order", "weight-axes", "bias-size", "bias-dtype"],
)
def test_it_refuses_what_it_cannot_read(multiply, rows, weight, bias):
    assert multiply(rows, weight, bias) is None


class Toy(nn.Module):
    """A layer, one of GPT-2's kind, one of bytes, and a head tied to the embedding; between them rows are not contiguous."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(11, 8)
        self.layer, self.columns = nn.Linear(8, 12), Conv1D(8, 12)
        self.register_buffer("whole", torch.randint(-128, 128, (8, 8), dtype=torch.int8))
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embedding.weight
        self.config = None

    def forward(self, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = self.columns(nn.functional.gelu(self.layer(self.embedding(input_ids))))
        hidden = hidden.transpose(0, 1).contiguous().transpose(0, 1)
        hidden = nn.functional.linear(hidden, self.whole.to(hidden.dtype)) / 100
        return {"logits": self.head(hidden)}


GRAPH = Graph(
    name="toy",
    inputs=[Input("input_ids", axes=("batch", "sequence"), dtype="int64")],
    outputs=[Output("logits", axes=("batch", "sequence", 11))],
)
BUCKET = Bucket(sizes={"batch": 2, "sequence": 30}, bounds={"batch": (1, 2), "sequence": (1, 30)})


@pytest.mark.usefixtures("with_the_library")
@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_it_gets_every_layer(precision):
    """Also in a lower precision that the CPU has no arithmetic for; weights stay in the precision in which they are stored."""
    model = Toy().eval().to(precision)
    ids = torch.arange(14).reshape(2, 7) % 11
    wanted = model(ids)["logits"]
    program, _ = export_folded(GRAPH, BUCKET, TracedModule(model, GRAPH, precision), inline_weights=False)

    place_products(program)

    layers = [node for node in program.graph.nodes if is_layer(node)]
    assert [node.target for node in layers] == [linear.operator()] * 4
    weights = [node.args[1].meta["val"].dtype for node in layers]
    assert weights == [precision or torch.float32] * 2 + [torch.int8, precision or torch.float32]
    assert [node.args[3:] for node in layers] == [() if precision else (True,), (), (), ()], (
        "GELU goes with a layer in float32"
    )
    (got,) = program.module()(ids)
    torch.testing.assert_close(got, wanted.float(), atol=2e-2 if precision else 1e-5, rtol=0)


@pytest.mark.usefixtures("with_the_library")
def test_one_gelu_goes_with_a_layer():
    """A second one stays, and so does one of a layer that something else takes too."""

    class Twice(Toy):
        def forward(self, input_ids):
            embedded = self.embedding(input_ids)
            twice = nn.functional.gelu(nn.functional.gelu(self.layer(embedded)))
            shared = self.layer(embedded + 1)
            return {"logits": self.head(self.columns(twice + nn.functional.gelu(shared) + shared))}

    model = Twice().eval()
    ids = torch.arange(14).reshape(2, 7) % 11
    program, _ = export_folded(GRAPH, BUCKET, TracedModule(model, GRAPH), inline_weights=False)
    place_products(program)
    assert [node.target for node in program.graph.nodes].count(torch.ops.aten.gelu.default) == 2
    torch.testing.assert_close(program.module()(ids)[0], model(ids)["logits"], atol=1e-5, rtol=0)


class Casts(nn.Module):
    """A layer that multiplies by its weight in another precision."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.layer = nn.Embedding(11, 8), nn.Linear(8, 11, bias=False)
        self.dtype_within, self.config = dtype, None

    def forward(self, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = self.embedding(input_ids).to(self.dtype_within)
        return {"logits": nn.functional.linear(hidden, self.layer.weight.to(self.dtype_within)).float()}


@pytest.mark.usefixtures("with_the_library")
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_it_gets_no_layer_whose_weight_it_would_read_otherwise(dtype):
    model = Casts(dtype).eval()
    ids = torch.arange(14).reshape(2, 7) % 11
    program, _ = export_folded(GRAPH, BUCKET, TracedModule(model, GRAPH), inline_weights=False)
    place_products(program)
    assert not any(map(is_layer, program.graph.nodes))
    assert program.module()(ids)[0].equal(model(ids)["logits"])


@pytest.mark.compiled
@pytest.mark.usefixtures("with_the_library")
def test_a_compiled_graph_calls_it(compiled):
    """With any number of rows, and with its weights wherever they are; the library lies beside the graph."""
    model = Toy().eval()
    traced = TracedModule(model, GRAPH)
    program, _ = export_folded(GRAPH, BUCKET, traced, inline_weights=False)
    run = compiled(program, traced, CompileOptions(inline_weights=False))
    for rows, length in ((1, 1), (1, 7), (2, 3), (2, 30)):
        ids = torch.arange(rows * length).reshape(rows, length) % 11
        (got,) = run([ids])
        torch.testing.assert_close(got, model(ids)["logits"], atol=1e-5, rtol=0)
