"""The best spans, against a brute force over every pair of tokens."""

from __future__ import annotations

import math
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuronkit_plugins.text import answer_spans
from neuronkit_plugins.text.answer_spans import best_spans, trimmed


@st.composite
def windows(draw):
    """A context of tokens, some of no width, cut into overlapping windows behind a question of two tokens."""
    count = draw(st.integers(1, 10))
    widths = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count).filter(any))
    ends = np.cumsum(widths)
    tokens = np.stack([ends - widths, ends], axis=1)
    size = draw(st.integers(1, count))
    step = draw(st.integers(1, size))
    begins = list(range(0, max(count - size, 0) + step, step))
    length = 2 + size + 1
    offsets = np.zeros((len(begins), length, 2), dtype=np.int64)
    allowed = np.zeros((len(begins), length), dtype=bool)
    for row, begin in enumerate(begins):
        part = tokens[begin : begin + size]
        offsets[row, 2 : 2 + len(part)] = part
        allowed[row, 2 : 2 + len(part)] = True
    numbers = st.integers(-40, 40).map(lambda number: number / 8)  # exact, and equal often enough to test ties
    shape = (2, len(begins), length)
    flat = draw(st.lists(numbers, min_size=math.prod(shape), max_size=math.prod(shape)))
    start, end = np.array(flat, dtype=np.float32).reshape(shape)
    return start, end, offsets, allowed


def brute_force(start, end, offsets, allowed, max_answer_length, top_k, with_null):
    """Every pair of tokens of every window, in plain Python."""
    found = {}
    for row in range(len(start)):
        for first in range(start.shape[1]):
            for last in range(first, min(first + max_answer_length, start.shape[1])):
                if allowed[row, first] and allowed[row, last]:
                    key = (int(offsets[row, first, 0]), int(offsets[row, last, 1]))
                    if key[1] > key[0]:
                        logit = float(start[row, first]) + float(end[row, last])
                        found[key] = max(logit, found.get(key, -math.inf))
    if with_null:
        found[0, 0] = min(float(start[row, 0]) + float(end[row, 0]) for row in range(len(start)))
    total = math.fsum(math.exp(logit) for logit in found.values())
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:top_k]
    return [(key, math.exp(logit) / total) for key, logit in ranked]


@settings(max_examples=150, deadline=None)
@given(windows(), st.integers(1, 6), st.integers(1, 8), st.booleans(), st.sampled_from([1, 7, 1 << 18]))
def test_equals_brute_force(case, max_answer_length, top_k, with_null, block):
    """Order, offsets and scores are those of a search over every pair, however small the blocks."""
    start, end, offsets, allowed = case
    null = np.zeros(len(start), dtype=np.int64) if with_null else None
    before, answer_spans.BLOCK_CELLS = answer_spans.BLOCK_CELLS, block
    try:
        spans = best_spans(
            start, end, offsets, allowed, max_answer_length=max_answer_length, top_k=top_k, null_positions=null
        )
    finally:
        answer_spans.BLOCK_CELLS = before
    expected = brute_force(start, end, offsets, allowed, max_answer_length, top_k, with_null)
    assert [(span.start, span.end) for span in spans] == [key for key, _ in expected]
    np.testing.assert_allclose([span.score for span in spans], [score for _, score in expected], rtol=1e-9)


@settings(max_examples=30, deadline=None)
@given(windows(), st.booleans())
def test_all_scores_add_up_to_one(case, with_null):
    """The scores are a distribution over all the spans that are allowed."""
    start, end, offsets, allowed = case
    null = np.zeros(len(start), dtype=np.int64) if with_null else None
    spans = best_spans(start, end, offsets, allowed, max_answer_length=4, top_k=10**6, null_positions=null)
    assert math.isclose(sum(span.score for span in spans), 1.0, rel_tol=1e-9)


def one_window(tokens, **logits):
    """Return a window of one-character tokens, all of them context."""
    offsets = np.stack([np.arange(tokens), np.arange(tokens) + 1], axis=1)[None]
    return (
        np.array(logits.get("start", np.zeros(tokens)), dtype=np.float32)[None],
        np.array(logits.get("end", np.zeros(tokens)), dtype=np.float32)[None],
        offsets,
        np.ones((1, tokens), dtype=bool),
    )


def test_longest_answer_is_allowed_and_a_longer_one_is_not():
    """`max_answer_length` is inclusive."""
    case = one_window(5, start=[9, 0, 0, 0, 0], end=[0, 0, 0, 9, 0])
    longest = best_spans(*case, max_answer_length=4)[0]
    shorter = best_spans(*case, max_answer_length=3)[0]
    assert (longest.start, longest.end) == (0, 4)
    assert (shorter.start, shorter.end) != (0, 4)


def test_never_ends_before_it_starts():
    """A high end logit before a high start logit is no answer."""
    spans = best_spans(*one_window(4, start=[0, 0, 0, 9], end=[9, 0, 0, 0]), max_answer_length=4, top_k=100)
    assert len(spans) == 10
    assert all(span.start < span.end for span in spans)


@pytest.mark.parametrize("scale", [1e4, -1e4])
def test_large_logits_do_not_overflow(scale):
    """The softmax is computed relative to the best span."""
    case = one_window(3, start=[scale] * 3, end=[scale] * 3)
    spans = best_spans(*case, max_answer_length=1, top_k=3)
    np.testing.assert_allclose([span.score for span in spans], [1 / 3] * 3)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_refused(bad):
    """There is no order among such spans, so none is invented."""
    with pytest.raises(ValueError, match="logits that are infinite or not a number"):
        best_spans(*one_window(2, start=[bad, 0]), max_answer_length=2)


def test_no_context_has_no_spans():
    """Where no token belongs to the context the result is empty."""
    start, end, offsets, allowed = one_window(3)
    assert best_spans(start, end, offsets, ~allowed, max_answer_length=2) == []


def test_null_answer_takes_the_smallest_logit():
    """One window that is sure of an answer outweighs another that has none."""
    offsets = np.tile(np.array([[0, 0], [0, 1], [1, 2]]), (2, 1, 1))
    allowed = np.array([[False, True, True]] * 2)
    start = np.array([[9, 0, 0], [-9, 0, 1]], dtype=np.float32)
    end = np.zeros((2, 3), dtype=np.float32)
    null = np.zeros(2, dtype=np.int64)
    assert best_spans(start, end, offsets, allowed, max_answer_length=2, null_positions=null)[0].end == 2
    start[1, 0] = 8
    assert best_spans(start, end, offsets, allowed, max_answer_length=2, null_positions=null)[0].end == 0


@pytest.mark.parametrize("max_answer_length", [15, 384])
def test_many_long_windows_stay_small_and_fast(max_answer_length):
    """64 windows of 384 tokens, whose full table would be 75 MB for the logits alone, run in bounded memory."""
    generator = np.random.default_rng(0)
    start, end = generator.standard_normal((2, 64, 384)).astype(np.float32)
    tokens = np.arange(384)[None] + np.arange(64)[:, None] * 256
    offsets = np.stack([tokens, tokens + 1], axis=-1)
    allowed = np.ones((64, 384), dtype=bool)
    began = time.process_time()
    spans = best_spans(start, end, offsets, allowed, max_answer_length=max_answer_length, top_k=5)
    assert time.process_time() - began < 5, "of the processor, whatever else runs"
    assert len(spans) == 5
    if max_answer_length == 384:
        tracemalloc.start()
        best_spans(start[:8], end[:8], offsets[:8], allowed[:8], max_answer_length=384)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 60 * 2**20


@pytest.mark.parametrize(
    ("offsets", "expected"),
    [((0, 2), (0, 2)), ((2, 5), (3, 5)), ((5, 8), (6, 7)), ((7, 8), (8, 7)), ((0, 0), (0, 0))],
)
def test_trimmed(offsets, expected):
    """White space at either end of a token is no part of an answer; a token of nothing else becomes empty."""
    assert tuple(trimmed(np.array(offsets), "ab cd e ")) == expected
