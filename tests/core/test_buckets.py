"""Which buckets there are, and which of them serves a call."""

from __future__ import annotations

import re
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuronkit.buckets import Bucket, BucketTable, chunks, make_buckets, memory_bound_bucket
from neuronkit.errors import InputError, OptionError
from neuronkit.export import CompilerHints, Graph, Input, Output


def graph_of(*axes, **changes):
    """Return a graph of one input with these axes."""
    return Graph("net", [Input("x", axes)], [Output("y", axes[:1])], **changes)


def sizes_of(buckets):
    """Return the sizes of every bucket."""
    return [tuple(bucket.sizes.values()) for bucket in buckets]


def test_what_an_input_s_axis_follows_from_is_fixed():
    """A backend traces one symbol for an axis, and no function of it."""
    graph = Graph(
        "net", [Input("x", ["batch", "sequence"]), Input("y", ["batch", "sequence/2"])], [Output("z", ["batch"])]
    )
    shapes = {"batch_size": [4], "sequence_length": [16, 32]}
    buckets = make_buckets(graph, shapes, True)
    assert sizes_of(buckets) == [(64, 16), (64, 32)]
    assert [set(bucket.bounds) for bucket in buckets] == [{"batch"}, {"batch"}]


def test_product_of_sizes():
    """Every batch with every length, the smallest volume first, duplicates once."""
    buckets = make_buckets(
        graph_of("batch", "sequence"), {"batch_size": [4, 1], "sequence_length": [32, 16, 32]}, False
    )
    assert sizes_of(buckets) == [(1, 16), (1, 32), (4, 16), (4, 32)]
    assert [bucket.label for bucket in buckets][:2] == ["batch1_sequence16", "batch1_sequence32"]
    assert not any(bucket.bounds for bucket in buckets)


def test_height_and_width_pair_up():
    """They are no product; one height serves many widths."""
    graph = graph_of("batch", "height", "width")
    shapes = {"batch_size": [1], "height": [64, 32], "width": [32, 64]}
    assert sizes_of(make_buckets(graph, shapes, False)) == [(1, 32, 64), (1, 64, 32)]
    assert sizes_of(make_buckets(graph, {**shapes, "height": [16]}, False)) == [(1, 16, 32), (1, 16, 64)]


def test_height_and_width_that_do_not_pair():
    """Three and two cannot be paired."""
    message = "height and width pair up, so they need as many sizes (got [8, 16, 24] and [8, 16])."
    with pytest.raises(OptionError, match=re.escape(message)):
        make_buckets(
            graph_of("batch", "height", "width"), {"batch_size": [1], "height": [8, 16, 24], "width": [8, 16]}, False
        )


def test_width_alone_is_an_ordinary_axis():
    """Nothing pairs with an axis that the graph does not have."""
    assert sizes_of(make_buckets(graph_of("batch", "width"), {"batch_size": [1], "width": [8, 16]}, False)) == [
        (1, 8),
        (1, 16),
    ]


def test_dynamic_axes_have_bounds():
    """One bucket serves everything up to the largest length and 64 rows."""
    (bucket,) = make_buckets(graph_of("batch", "sequence"), {"batch_size": [1], "sequence_length": [16, 128]}, True)
    assert bucket.bounds == {"batch": (1, 64), "sequence": (1, 128)}
    assert bucket.label == "batch1-64_sequence1-128"
    (bucket,) = make_buckets(graph_of("batch"), {"batch_size": [100]}, True)
    assert bucket.sizes == {"batch": 100}


def test_hints_say_what_may_be_dynamic():
    """An axis that the plugin does not list stays fixed."""
    graph = graph_of("batch", "sequence", hints=CompilerHints(dynamic_axes=["batch"]))
    buckets = make_buckets(graph, {"batch_size": [1], "sequence_length": [16, 32]}, True)
    assert [bucket.label for bucket in buckets] == ["batch1-64_sequence16", "batch1-64_sequence32"]


@pytest.mark.parametrize("free", ["height", "width"])
def test_one_of_height_and_width_is_dynamic(free):
    """Then there is nothing to pair: the fixed one has a bucket for each of its sizes."""
    graph = graph_of("batch", "height", "width", hints=CompilerHints(dynamic_axes=[free]))
    shapes = {"batch_size": [1], "height": [32, 64, 16], "width": [64, 32]}
    buckets = make_buckets(graph, shapes, True)
    fixed = [(1, 64, 32), (1, 64, 64)] if free == "height" else [(1, 16, 64), (1, 32, 64), (1, 64, 64)]
    assert sizes_of(buckets) == fixed
    assert all(bucket.bounds == {free: (1, 64)} for bucket in buckets)
    chosen = BucketTable(buckets, {}).choose({"batch": 1, "height": 32, "width": 32, free: 5})
    assert chosen is next(bucket for bucket in buckets if 32 in bucket.sizes.values())


def test_sizes_of_the_graph_override():
    """A plugin computes what does not equal a shape; an axis of its own name is fed by the shape of that name."""
    graph = graph_of("batch", "height", "width", "depth", sizes={"height": 8, "width": [4]})
    buckets = make_buckets(graph, {"batch_size": [2], "height": [64], "width": [32], "depth": [3]}, False)
    assert sizes_of(buckets) == [(2, 8, 4, 3)]


@pytest.mark.parametrize(
    ("axis", "shape"), [("num_choices", "num_choices"), ("sequence", "sequence_length"), ("depth", "depth")]
)
def test_axis_without_a_size(axis, shape):
    """The error names the shape that the caller must give."""
    message = f"{shape}: required, because graph 'net' has the axis {axis!r} and nothing gives its size."
    with pytest.raises(OptionError, match=re.escape(message)):
        make_buckets(graph_of("batch", axis), {"batch_size": [1]}, False)


SIZES = st.integers(1, 40)


@st.composite
def tables_and_calls(draw):
    """Draw a table of buckets and the sizes of a call."""
    combinations = draw(st.lists(st.tuples(SIZES, SIZES), min_size=1, max_size=6, unique=True))
    table = BucketTable(
        [Bucket({"batch": batch, "sequence": length}) for batch, length in combinations], {"sequence": "x"}
    )
    return table, {"batch": draw(SIZES), "sequence": draw(SIZES)}


@settings(max_examples=300, deadline=None)
@given(tables_and_calls())
def test_the_chosen_bucket_is_the_cheapest(case):
    """No other bucket that fits does the call with less work, or with as much in fewer calls."""
    table, sizes = case
    fitting = [bucket for bucket in table.buckets if bucket.sizes["sequence"] >= sizes["sequence"]]
    if not fitting:
        with pytest.raises(InputError, match=f"x has {sizes['sequence']} along 'sequence'"):
            table.choose(sizes)
        return

    def work(bucket):
        calls = ceil(sizes["batch"] / bucket.sizes["batch"])
        return calls * bucket.sizes["batch"] * bucket.sizes["sequence"], calls

    chosen = table.choose(sizes)
    assert chosen in fitting
    assert work(chosen) == min(map(work, fitting))
    assert table.choose(dict(sizes)) is chosen


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 300), st.integers(1, 70))
def test_chunks_cover_every_row_once_in_order(rows, capacity):
    """No piece is larger than the bucket, and none but the last smaller."""
    pieces = chunks(rows, capacity)
    assert [row for start, stop in pieces for row in range(start, stop)] == list(range(rows))
    assert all(stop - start == capacity for start, stop in pieces[:-1])
    assert all(0 < stop - start <= capacity for start, stop in pieces)


def test_longer_than_the_largest_bucket():
    """The error names the input, the axis, the size, the largest, and all buckets."""
    table = BucketTable(
        [Bucket({"batch": 1, "sequence": 16}), Bucket({"batch": 1, "sequence": 32})], {"sequence": "input_ids"}
    )
    with pytest.raises(InputError) as raised:
        table.choose({"batch": 1, "sequence": 33})
    assert str(raised.value) == (
        "input_ids has 33 along 'sequence', and the largest bucket has 32. "
        "Buckets: batch1_sequence16, batch1_sequence32.\n"
        "Try: a shorter input, or compile again with a larger size."
    )


@pytest.mark.parametrize(("height", "width"), [(16, 16), (8, 8), (64, 16)])
def test_images_are_never_padded(height, width):
    """An image has the sizes of a bucket, smaller ones included, and the error lists them."""
    table = BucketTable([Bucket({"height": 8, "width": 16}), Bucket({"height": 16, "width": 8})], {"height": "sample"})
    with pytest.raises(InputError) as raised:
        table.choose({"height": height, "width": width})
    assert str(raised.value) == (
        f"sample is {height} x {width} (height x width), and the graph was compiled for 8 x 16, 16 x 8: "
        "images are never padded.\nTry: one of these sizes, or compile again with another height and width."
    )
    assert table.choose({"height": 16, "width": 8}) is table.buckets[1]


def test_no_bucket_holds_the_combination():
    """Each axis fits somewhere, and no bucket has both: the error speaks of what is wrong."""
    table = BucketTable([Bucket({"rows": 8, "columns": 16}), Bucket({"rows": 16, "columns": 8})], {})
    message = "No bucket holds {'rows': 16, 'columns': 16}. Buckets: rows8_columns16, rows16_columns8."
    with pytest.raises(InputError, match=re.escape(message)):
        table.choose({"rows": 16, "columns": 16})


def test_bucket_without_axes():
    """A graph of fixed sizes alone has one bucket with a label."""
    (bucket,) = make_buckets(Graph("net", [Input("x", [3])], [Output("y", [3])]), {}, True)
    assert (bucket.label, bucket.volume) == ("fixed", 1)
    assert BucketTable([bucket], {}).choose({}) is bucket


def test_memory_bound_calls_have_a_bucket_of_their_own():
    graph = graph_of("batch", "sequence", hints=CompilerHints(memory_bound={"sequence": 1}))
    (dynamic,) = make_buckets(graph, {"batch_size": [4], "sequence_length": [64]}, True)
    few = Bucket({**dynamic.sizes, "batch": 4}, dynamic.bounds)

    own = memory_bound_bucket(graph, few, 8)

    assert own is not None
    assert own.sizes == {"batch": 4, "sequence": 1}
    assert own.bounds == {}
    assert memory_bound_bucket(graph, own, 8) == own
    assert memory_bound_bucket(graph, few, 3) is None, "too many rows"
    assert memory_bound_bucket(graph_of("batch", "sequence"), few, 8) is None, "no hint"
