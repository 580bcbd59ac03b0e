"""Texts of mixed length, divided into batches: every text once, and little padding."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuronkit.artifact.manifest import CompiledBucket, CompiledGraphRecord
from neuronkit.errors import InputError
from neuronkit.export import Input, Output
from neuronkit.loaded_graph import LoadedGraph
from neuronkit_plugins.text.batching import plan

LENGTHS = st.lists(st.integers(0, 64), min_size=1, max_size=80)


def make_graph(*buckets, dynamic=False, many_rows=None, choices=None):
    """Return a loaded graph with buckets of (batch, sequence)."""
    others = {} if choices is None else {"num_choices": choices}
    axes = ("batch", *others, "sequence")
    records = [
        CompiledBucket(
            {"batch": batch, **others, "sequence": sequence},
            {"batch": (1, batch), "sequence": (1, sequence)} if dynamic else {},
            "none",
            [],
            [],
        )
        for batch, sequence in buckets
    ]
    record = CompiledGraphRecord("net", None, [Input("input_ids", axes)], [Output("out", axes)], records)
    return LoadedGraph(record, [lambda tensors: tensors] * len(records), many_rows)


def sizes_of(batches, lengths):
    """Return the texts and the longest of each batch."""
    return [(len(batch), max(lengths[index] for index in batch)) for batch in batches]


@settings(max_examples=200, deadline=None)
@given(LENGTHS, st.integers(1, 40), st.booleans(), st.sampled_from([None, 4, 100, 768]))
def test_every_text_is_in_one_batch_and_the_longest_come_first(lengths, batch_size, dynamic, many_rows):
    """Whatever the graph is."""
    graph = make_graph((8, 64), dynamic=dynamic, many_rows=many_rows)
    batches = plan(lengths, batch_size, graph, {})
    found = [index for batch in batches for index in batch]
    assert sorted(found) == list(range(len(lengths)))
    assert [lengths[index] for index in found] == sorted(lengths, reverse=True)
    assert all(0 < len(batch) <= batch_size for batch in batches)


def test_a_dynamic_graph_gets_what_it_computes_at_once():
    """Eight texts of 30 tokens and eight of 10 are not one batch of 16 by 30, where 120 rows are all that a call has."""
    graph = make_graph((64, 64), dynamic=True, many_rows=120)
    lengths = [30, 10] * 8
    assert sizes_of(plan(lengths, 32, graph, {}), lengths) == [(4, 30), (4, 30), (8, 10)]
    unlimited = make_graph((64, 64), dynamic=True)
    assert sizes_of(plan(lengths, 32, unlimited, {}), lengths) == [(16, 30)]


def test_the_choices_of_a_text_count():
    """A text of three choices is three rows for each token."""
    graph = make_graph((64, 64), dynamic=True, many_rows=120, choices=3)
    assert sizes_of(plan([20] * 4, 32, graph, {"num_choices": 3}), [20] * 4) == [(2, 20), (2, 20)]


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([60, 60, 20, 20, 20, 20, 5, 5], [(2, 60), (4, 20), (2, 5)]),
        ([60, 20, 20, 20], [(2, 60), (2, 20)]),
        ([0, 0, 0], [(3, 0)]),
    ],
)
def test_a_batch_ends_where_a_smaller_bucket_would_do(lengths, expected):
    """And what a bucket has room for is filled with the next shorter texts."""
    graph = make_graph((2, 64), (4, 32), (4, 8))
    assert sizes_of(plan(lengths, 32, graph, {}), lengths) == expected


def test_a_text_that_is_too_long_is_refused():
    """With the buckets there are."""
    with pytest.raises(InputError, match="input_ids has 70 along 'sequence', and the largest bucket has 64"):
        plan([70, 3], 8, make_graph((8, 64), dynamic=True), {})
