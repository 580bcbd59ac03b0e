"""Padding in and out, on plain tensors of any shape."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import neuronkit
from neuronkit.errors import InputError
from neuronkit.export import Output
from neuronkit.padding import Trimmer, pad, remove_padding

AXES = ("batch", "sequence", "height", "num_choices")
SIDES = ("right", "left")


@st.composite
def padded_calls(draw):
    """Draw a tensor's axes, its sizes, the sizes of a bucket, a pad value and a side."""
    names = draw(st.lists(st.sampled_from(AXES), min_size=1, max_size=4, unique=True))
    axes = tuple(name if draw(st.booleans()) or name == "batch" else draw(st.integers(1, 4)) for name in names)
    sizes = {axis: draw(st.integers(1, 5)) for axis in axes if isinstance(axis, str)}
    wanted = {axis: size + draw(st.integers(0, 4)) for axis, size in sizes.items()}
    shape = [axis if isinstance(axis, int) else sizes[axis] for axis in axes]
    tensor = torch.arange(1, 1 + torch.Size(shape).numel()).reshape(shape)
    return tensor, axes, sizes, wanted, draw(st.sampled_from([0, -7])), draw(st.sampled_from(SIDES))


@settings(max_examples=200, deadline=None)
@given(padded_calls())
def test_removing_undoes_padding(call):
    """Whatever the axes, the side and the sizes, what was padded comes back."""
    tensor, axes, sizes, wanted, value, side = call
    padded = pad(tensor, axes, wanted, value, side)
    assert list(padded.shape) == [axis if isinstance(axis, int) else wanted[axis] for axis in axes]
    cut = Trimmer([Output("x", axes)]).trim({"x": padded}, sizes, wanted, padding_side=side)
    assert torch.equal(cut["x"], tensor)


@settings(max_examples=200, deadline=None)
@given(padded_calls())
def test_what_is_added(call):
    """New rows of the batch are copies of row 0, everything else is the pad value."""
    tensor, axes, sizes, wanted, value, side = call
    padded = pad(tensor, axes, wanted, value, side)
    if "batch" in axes:
        dim = axes.index("batch")
        for row in range(sizes["batch"], wanted["batch"]):
            assert torch.equal(padded.select(dim, row), padded.select(dim, 0))
        padded = padded.narrow(dim, 0, sizes["batch"])
    # The tensor itself has no zeros and no negative numbers.
    assert int((padded != value).sum()) == tensor.numel()


def windows(tensor, layers):
    """Sum windows as convolutions do; None where one does not fit."""
    for length, step in layers:
        if tensor.shape[-1] < length:
            return None
        tensor = tensor.unfold(-1, length, step).sum(-1)
    return tensor


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=3), st.data())
def test_what_convolutions_make_of_padding_is_cut(layers, data):
    """However many follow each other: what is left has seen nothing of the padding, and a call without a window is refused."""
    size = data.draw(st.integers(1, 40))
    axis = "samples"
    for length, step in layers:
        axis = f"({axis}-{length})/{step}+1"
    tensor = torch.arange(1, 1 + size)
    wanted = windows(tensor, layers)
    longer = size + data.draw(st.integers(50, 90))  # no layer without a window
    padded = windows(pad(tensor, ["samples"], {"samples": longer}), layers)
    trimmer = Trimmer([Output("x", [axis])])
    if wanted is None:
        with pytest.raises(
            InputError, match=f"^The call has {size} along 'samples', which is too short for an axis of "
        ):
            trimmer.trim({"x": padded}, {"samples": size}, {"samples": longer})
    else:
        assert torch.equal(trimmer.trim({"x": padded}, {"samples": size}, {"samples": longer})["x"], wanted)


def test_same_sizes_cost_nothing():
    """A call that fills its bucket is not copied, in or out."""
    tensor = torch.ones(2, 3)
    assert pad(tensor, ["batch", "sequence"], {"batch": 2, "sequence": 3}) is tensor
    assert remove_padding([tensor], [0, 1], [2, 3])[0] is tensor


def test_left_concerns_the_sequence_only():
    """Other axes grow on the right."""
    tensor = torch.tensor([[[1, 2]]])
    padded = pad(tensor, ["batch", "sequence", "height"], {"batch": 2, "sequence": 2, "height": 3}, 9, "left")
    assert padded.tolist() == [[[9, 9, 9], [1, 2, 9]]] * 2


def test_bool_masks_keep_their_dtype():
    """So do other dtypes."""
    for dtype in (torch.bool, torch.int32, torch.bfloat16):
        padded = pad(torch.ones(1, 2, dtype=dtype), ["batch", "sequence"], {"batch": 2, "sequence": 4})
        assert padded.dtype is dtype
        assert padded.tolist() == [[1, 1, 0, 0]] * 2


def test_pad_does_not_shrink():
    """A wanted size below the tensor's is a mistake of the caller."""
    with pytest.raises(ValueError, match=re.escape("A tensor of 3 along 'sequence' cannot be padded to 2.")):
        pad(torch.ones(1, 3), ["batch", "sequence"], {"batch": 1, "sequence": 2})


def test_remove_padding_keeps_container_and_order():
    """A dict gives a dict in its order, a sequence gives a list; the public name is the same function."""
    tensors = {"z": torch.arange(6).reshape(2, 3), "a": torch.arange(6, 12).reshape(2, 3)}
    cut = neuronkit.remove_padding(tensors, dims=[0, 1], indices=[1, 2])
    assert [(name, tensor.tolist()) for name, tensor in cut.items()] == [("z", [[0, 1]]), ("a", [[6, 7]])]
    assert [tensor.tolist() for tensor in remove_padding(tuple(tensors.values()), [-1], [1])] == [
        [[0], [3]],
        [[6], [9]],
    ]
    assert neuronkit.NeuronBaseModel.remove_padding(tensors, [1], [2], "left")["z"].tolist() == [[1, 2], [4, 5]]


def test_remove_padding_keeps_nothing_when_asked():
    """Zero is a number of entries too."""
    assert remove_padding([torch.ones(2, 3)], [0], [0])[0].shape == (0, 3)


@pytest.mark.parametrize(
    ("dims", "indices", "side", "message"),
    [
        ([0], [1, 2], "right", "dims and indices must have the same length (got [0] and [1, 2])."),
        ([0], [1], "top", "padding_side must be 'right' or 'left' (got 'top')."),
        ([2], [1], "right", "Output 'x' has 2 axes, so there is no axis 2 to cut."),
        ([-3], [1], "right", "Output 'x' has 2 axes, so there is no axis -3 to cut."),
        ([1], [4], "right", "Cannot keep 4 entries of output 'x' along axis 1, which has 3."),
        ([1], [4], "left", "Cannot keep 4 entries of output 'x' along axis 1, which has 3."),
        ([1], [-1], "right", "Cannot keep -1 entries of output 'x' along axis 1, which has 3."),
    ],
)
def test_remove_padding_refuses(dims, indices, side, message):
    """What cannot be cut is said to be so."""
    with pytest.raises(ValueError, match=re.escape(message)):
        remove_padding({"x": torch.ones(2, 3)}, dims, indices, side)


def test_trim_calls_once_per_group_of_equal_axes():
    """Tensors of mixed ranks are never cut by one list of dims, and the declared order is kept."""
    calls = []

    def remove(**given):
        calls.append((list(given["outputs"]), given["dims"], given["indices"], given["padding_side"]))
        return remove_padding(**given)

    declared = [
        Output("states", ["batch", "sequence", 4]),
        Output("pooled", ["batch", 4]),
        Output("logits", ["batch", "sequence", 4]),
    ]
    outputs = {"logits": torch.ones(3, 5, 4), "pooled": torch.ones(3, 4), "states": torch.ones(3, 5, 4)}
    sizes, padded = {"batch": 2, "sequence": 1}, {"batch": 3, "sequence": 5}
    cut = Trimmer(declared).trim(outputs, sizes, padded, remove, "left")
    assert {name: tuple(tensor.shape) for name, tensor in cut.items()} == {
        "states": (2, 1, 4),
        "pooled": (2, 4),
        "logits": (2, 1, 4),
    }
    assert list(cut) == ["states", "pooled", "logits"]
    assert calls == [
        (["states", "logits"], [0], [2], "right"),
        (["states", "logits"], [1], [1], "left"),
        (["pooled"], [0], [2], "right"),
    ]
