"""A compiled model has no state of its own: who asks for it is told where it is, and who only passes by is not disturbed."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

import neuronkit
from neuronkit.errors import FixedGraphError


@pytest.fixture(scope="module")
def model(tide_artifact):
    """A compiled model."""
    return neuronkit.load(tide_artifact)


def test_state_dict_is_refused(model):
    """What would be written is empty, and what would be read is dropped."""
    graph = next(iter(model.session.graphs))
    with pytest.raises(FixedGraphError) as raised:
        model.state_dict()
    assert str(raised.value) == (
        "A compiled model has no parameters of its own, and its state_dict would be empty.\n"
        "Try: save_pretrained(directory), which keeps the weights and the graphs; "
        f"session.weights({graph!r}) returns the weights."
    )
    for state in ({}, {"weight": torch.zeros(1)}):
        with pytest.raises(FixedGraphError) as raised:
            model.load_state_dict(state)
        assert str(raised.value) == (
            "load_state_dict would change nothing: a compiled model has no parameters of its own.\n"
            "Try: replace_weights(checkpoint), or from_pretrained for what save_pretrained wrote."
        )


def test_a_larger_module_has_a_state(model):
    """That of its other parts: the compiled one has its artifact."""
    larger = nn.Sequential(model, nn.Linear(2, 3))
    state = larger.state_dict()
    assert list(state) == ["1.weight", "1.bias"]
    assert not larger.load_state_dict(state).missing_keys
    assert list(nn.DataParallel(model).state_dict()) == []


def test_copies_ask_for_no_state(model):
    """Neither pickled nor deep ones."""
    assert type(pickle.loads(pickle.dumps(model))) is type(copy.deepcopy(model)) is type(model)
