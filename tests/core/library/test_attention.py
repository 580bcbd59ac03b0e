"""The library's attention: what it computes, what it refuses, and which attention goes to it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from neuronkit.backends.cpu import host
from neuronkit.backends.cpu.attention import place_attention
from neuronkit.backends.cpu.folding import export_folded
from neuronkit.backends.cpu.library import attention
from neuronkit.buckets import Bucket
from neuronkit.export import Graph, Input, Output
from neuronkit.export.capture import TracedModule
from neuronkit.options import CompileOptions
from tests.core.library import on_avx2

pytestmark = on_avx2
INFINITY = math.inf


@pytest.fixture(scope="session")
def attend(call):
    def attend(queries, keys, values, mask=None, scale=None):
        scale = queries.shape[-1] ** -0.5 if scale is None else scale
        return call("attention", queries, keys, values, optional=mask, numbers=(scale,))

    return attend


def eager(queries, keys, values, mask=None, scale=None):
    """What torch computes in float64, `[batch, queries, heads, size]`."""
    if mask is not None and mask.is_floating_point():
        mask = mask.double()
    three = (tensor.double() for tensor in (queries, keys, values))
    return nn.functional.scaled_dot_product_attention(*three, mask, scale=scale, enable_gqa=True).transpose(1, 2)


def heads(batch, count, length, size, transposed=True):
    made = torch.randn(batch, length, count, size) if transposed else torch.randn(batch, count, length, size)
    return made.transpose(1, 2) if transposed else made


@settings(max_examples=200, deadline=None)
@given(
    batch=st.integers(1, 3),
    pairs=st.integers(1, 3),
    sharing=st.integers(1, 3),
    count=st.integers(1, 12) | st.integers(95, 200),
    length=st.integers(1, 40) | st.integers(250, 530),
    size=st.integers(1, 20) | st.sampled_from([32, 40, 64, 72, 80, 96, 128, 300]),
    transposed=st.booleans(),
    mask=st.sampled_from([None, "flags", "numbers", "of a batch", "of keys"]),
    seed=st.integers(0, 2**16),
)
def test_it_attends(attend, batch, pairs, sharing, count, length, size, transposed, mask, seed):
    """Any number of queries, keys and heads, of any size, in both usual orders in memory, with masks that stand for others."""
    torch.manual_seed(seed)
    queries = heads(batch, pairs * sharing, count, size, transposed)
    keys, values = (heads(batch, pairs, length, size, transposed) for _ in range(2))
    shape = {"of a batch": (1, 1, count, length), "of keys": (batch, 1, 1, length)}.get(mask, (batch, 1, count, length))
    allowed = torch.rand(shape) < 0.7 if mask else None
    if mask in ("numbers", "of keys"):
        allowed = torch.where(allowed, torch.randn(shape), torch.finfo().min)

    got = attend(queries, keys, values, allowed)

    wanted = eager(queries, keys, values, allowed)
    assert got.shape == wanted.shape == (batch, count, pairs * sharing, size)
    torch.testing.assert_close(got.double(), wanted, atol=5e-6, rtol=0)


@pytest.mark.parametrize("count", [1, 40])
def test_it_is_as_near_to_exact_sums_as_torch(attend, count):
    torch.manual_seed(0)
    queries, keys, values = heads(2, 12, count, 64), heads(2, 12, 384, 64), heads(2, 12, 384, 64)
    wanted = eager(queries, keys, values)
    torchs = nn.functional.scaled_dot_product_attention(queries, keys, values).transpose(1, 2)
    errors = [float((got.double() - wanted).abs().max()) for got in (attend(queries, keys, values), torchs)]
    assert errors[0] <= 2 * errors[1]


@pytest.mark.parametrize("count", [1, 20])
@pytest.mark.parametrize("length", [5, 300])
@pytest.mark.parametrize("value", [False, -INFINITY])
def test_a_query_that_is_allowed_nothing_gives_zeros(attend, count, length, value):
    """As in torch; what others are allowed is as without it."""
    torch.manual_seed(0)
    queries, keys, values = heads(1, 2, count, 8), heads(1, 2, length, 8), heads(1, 2, length, 8)
    mask = torch.full((1, 2, count, length), True if value is False else 0.0)
    mask[:, 1, -1] = value
    got = attend(queries, keys, values, mask)
    assert got[0, -1, 1].eq(0).all()
    torch.testing.assert_close(got.double(), eager(queries, keys, values, mask), atol=5e-6, rtol=0)


@pytest.mark.parametrize("count", [1, 20])
@pytest.mark.parametrize("which", ["queries", "keys", "values", "mask"])
@pytest.mark.parametrize("wrong", [math.nan, INFINITY])
def test_what_is_not_a_number_is_not_lost(attend, count, which, wrong):
    """Where torch gives no numbers, so does the library: a model that overflows does not look sound."""
    torch.manual_seed(0)
    given = {"queries": heads(1, 1, count, 8), "keys": heads(1, 1, 300, 8), "values": heads(1, 1, 300, 8)}
    given["mask"] = torch.zeros(1, 1, count, 300)
    given[which][0, 0, -1, -1] = wrong
    torchs = nn.functional.scaled_dot_product_attention(*given.values()).transpose(1, 2)
    assert attend(*given.values()).isfinite().equal(torchs.isfinite())


def test_scores_of_any_size(attend):
    """The greatest is taken off before they become powers: none is too large, and what is far below adds nothing."""
    queries = torch.ones(1, 1, 4, 8)
    keys = torch.arange(-150.0, 150.0).reshape(1, 1, -1, 1).repeat(1, 1, 1, 8)
    values = torch.arange(300.0).reshape(1, 1, -1, 1).repeat(1, 1, 1, 8)
    for sign, highest in ((1, 299.0), (-1, 0.0)):
        got = attend(queries, sign * keys, values, scale=10.0)
        torch.testing.assert_close(got, torch.full((1, 4, 1, 8), highest), rtol=0, atol=1e-30)


@pytest.mark.parametrize("shape", [(0, 2, 3, 8), (2, 0, 3, 8), (2, 2, 0, 8)])
def test_no_queries_give_none(attend, shape):
    batch, count, _, size = shape
    keys = torch.ones(batch, count or 1, 4, size)
    assert attend(torch.ones(shape), keys, keys).shape == (batch, shape[2], count, size)


def test_no_keys_give_zeros(attend):
    none = torch.empty(1, 2, 0, 8)
    assert attend(torch.ones(1, 2, 3, 8), none, none).equal(torch.zeros(1, 3, 2, 8))


def test_results_do_not_depend_on_threads(attend, threads):
    torch.manual_seed(0)
    given = heads(2, 3, 130, 24), heads(2, 3, 290, 24), heads(2, 3, 290, 24)
    torch.testing.assert_close(attend(*given).double(), eager(*given), atol=5e-6, rtol=0)


ONES = torch.ones(1, 4, 3, 8)


@pytest.mark.parametrize(
    "given",
    [
        (ONES.double(), ONES, ONES),
        (ONES, ONES.bfloat16(), ONES),
        (ONES[0], ONES, ONES),
        (ONES.transpose(2, 3), ONES.transpose(2, 3), ONES.transpose(2, 3)),
        (ONES, torch.ones(1, 3, 3, 8), torch.ones(1, 3, 3, 8)),
        (ONES, torch.ones(2, 4, 3, 8), torch.ones(2, 4, 3, 8)),
        (ONES, torch.ones(1, 4, 3, 7), torch.ones(1, 4, 3, 7)),
        (ONES, ONES, torch.ones(1, 4, 3, 7)),
        (ONES, ONES, torch.ones(1, 4, 5, 8)),
        (ONES, ONES, ONES, torch.ones(1, 1, 3, 2)),
        (ONES, ONES, ONES, torch.ones(1, 2, 3, 3)),
        (ONES, ONES, ONES, torch.ones(3, 3)),
        (ONES, ONES, ONES, torch.ones(1, 1, 3, 3).transpose(2, 3)),
        (ONES, ONES, ONES, torch.ones(1, 1, 3, 3, dtype=torch.int64)),
    ],
    ids="dtype keys-dtype axes order heads batch size values-size values-length mask-length mask-heads mask-axes mask-order"
    " mask-dtype".split(),
)
def test_it_refuses_what_it_cannot_read(attend, given):
    assert attend(*given) is None


class Attending(nn.Module):
    """Attention as models call it: heads that are views, a mask of flags, and heads that share keys."""

    def __init__(self, from_position=0, **options) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.queries = nn.Embedding(11, 16), nn.Linear(16, 32)
        self.options, self.from_position, self.config = options, from_position, None

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = self.embedding(input_ids)
        batch, length = input_ids.shape
        queries = self.queries(hidden).view(batch, length, 4, 8).transpose(1, 2)
        keys = hidden.view(batch, length, 2, 8).transpose(1, 2)
        mask = attention_mask.bool()[:, None, None, :].expand(batch, 1, length, length)
        positions = torch.arange(length)[None, None, :, None] + 0
        every = attention_mask.new_ones((), dtype=torch.bool) & (positions >= self.from_position)
        mask = (every & mask).expand(batch, 1, length, length)
        options = {"attn_mask": mask, "enable_gqa": True} | self.options
        queries, keys = (tensor.to(options.get("dtype")) for tensor in (queries, keys))
        options.pop("dtype", None)
        found = nn.functional.scaled_dot_product_attention(queries, keys, keys, **options)
        return {"hidden": found.transpose(1, 2).flatten(2).float()}


GRAPH = Graph(
    name="attending",
    inputs=[
        Input("input_ids", axes=("batch", "sequence"), dtype="int64"),
        Input("attention_mask", axes=("batch", "sequence"), dtype="int64"),
    ],
    outputs=[Output("hidden", axes=("batch", "sequence", 32))],
)
BUCKET = Bucket(sizes={"batch": 2, "sequence": 30}, bounds={"batch": (1, 2), "sequence": (2, 30)})


def exported(model, inline_weights=False):
    return export_folded(GRAPH, BUCKET, TracedModule(model.eval(), GRAPH), inline_weights=inline_weights)[0]


def asked(rows=2, length=7):
    ids = torch.arange(rows * length).reshape(rows, length) % 11
    mask = torch.ones_like(ids)
    mask[-1, -1] = 0
    return ids, mask


@pytest.mark.usefixtures("with_the_library")
def test_it_gets_attention():
    model = Attending()
    program = exported(model)
    place_attention(program)
    (node,) = [node for node in program.graph.nodes if node.target is attention.operator()]
    assert node.args[3].meta["val"].shape[1:3] == (1, 1), "the library repeats a mask itself"
    (got,) = program.module(check_guards=False)(*asked())
    torch.testing.assert_close(got, model(*asked())["hidden"], atol=1e-6, rtol=0)


@pytest.mark.usefixtures("with_the_library")
@pytest.mark.parametrize("from_position", [1, -1])
def test_what_a_mask_says_of_queries_is_kept(from_position):
    """Unless it says nothing: that positions are not negative is how transformers begins masks in both directions."""
    model = Attending(from_position)
    program = exported(model)
    place_attention(program)
    (node,) = [node for node in program.graph.nodes if node.target is attention.operator()]
    queries = node.args[0].meta["val"].shape[2]
    assert node.args[3].meta["val"].shape[2] == (1 if from_position < 0 else queries)
    (got,) = program.module(check_guards=False)(*asked())
    torch.testing.assert_close(got, model(*asked())["hidden"], atol=1e-6, rtol=0)


@pytest.mark.usefixtures("with_the_library")
@pytest.mark.parametrize(
    "options",
    [
        {"attn_mask": None, "is_causal": True},
        {"dtype": torch.bfloat16},
        {"attn_mask": torch.ones(1, 1, dtype=torch.bool)},
    ],
    ids=["causal", "dtype", "mask"],
)
def test_it_gets_no_attention_that_it_has_no_way_for(options):
    model = Attending(**options)
    program = exported(model)
    place_attention(program)
    assert attention.operator() not in [node.target for node in program.graph.nodes]
    torch.testing.assert_close(
        program.module(check_guards=False)(*asked())[0], model(*asked())["hidden"], atol=1e-6, rtol=0
    )


def test_elsewhere_torch_keeps_it(monkeypatch):
    monkeypatch.setattr(host, "uses_library", lambda: False)
    program = exported(Attending())
    place_attention(program)
    assert attention.operator() not in [node.target for node in program.graph.nodes]


@pytest.mark.compiled
@pytest.mark.usefixtures("with_the_library")
@pytest.mark.parametrize("inline_weights", [False, True])
def test_a_compiled_graph_calls_it(compiled, inline_weights):
    """With weights apart or within, for any batch and length."""
    model = Attending()
    program = exported(model, inline_weights)
    run = compiled(program, TracedModule(model, GRAPH), CompileOptions(inline_weights=inline_weights))
    for rows, length in ((1, 2), (2, 7), (2, 30)):
        (got,) = run(list(asked(rows, length)))
        torch.testing.assert_close(got, model(*asked(rows, length))["hidden"], atol=1e-6, rtol=0)
