"""Weights in the order of channels last while a graph is traced."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from neuronkit.export.layout import channels_last


def test_weights_come_back():
    """Inside, convolutions have other strides; afterwards everything is what it was, whatever happened."""
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 2)).requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    places = [parameter.data_ptr() for parameter in module.parameters()]

    def trace():
        with channels_last(module):
            assert module[0].weight.is_contiguous(memory_format=torch.channels_last)
            assert module[0].weight.data_ptr() != places[0]
            assert module[1].weight.data_ptr() == places[2]
            raise KeyError

    with pytest.raises(KeyError):
        trace()
    assert [parameter.data_ptr() for parameter in module.parameters()] == places
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
