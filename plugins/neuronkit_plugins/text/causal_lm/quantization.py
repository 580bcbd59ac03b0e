"""Weights in eight bits: one scale an output channel, symmetric, activations as they are."""

from __future__ import annotations

import copy
from itertools import chain

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

_LARGEST = 127


class Int8Linear(nn.Module):
    """
    A linear layer whose weight is int8, cast where it is multiplied; its scales are applied to the product.

    Args:
        weight: ``[out, in]``, in floating point.
        bias: ``[out]`` or None.
    """

    weight: torch.Tensor
    scale: torch.Tensor

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        weight = weight.float()
        scale = weight.abs().amax(dim=1).clamp(min=1e-12) / _LARGEST
        rounded = (weight / scale[:, None]).round()
        self.register_buffer("weight", rounded.to(torch.int8).contiguous())
        self.register_buffer("scale", scale)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Multiply ``[..., in]`` to ``[..., out]``."""
        product = nn.functional.linear(hidden, self.weight.to(hidden.dtype)) * self.scale
        return product if self.bias is None else product + self.bias


def with_int8_weights(model: nn.Module) -> nn.Module:
    """
    Return a model whose linear layers, the head among them, have int8 weights. The given one stays as it is.

    Embeddings keep their precision: they are looked up, not read whole.
    """
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    copied = copy.deepcopy(model, shared)
    for owner in list(copied.modules()):
        for name, layer in list(owner.named_children()):
            if isinstance(layer, Conv1D):
                setattr(owner, name, Int8Linear(layer.weight.detach().t(), layer.bias))
            elif isinstance(layer, nn.Linear):
                setattr(owner, name, Int8Linear(layer.weight.detach(), layer.bias))
    return copied
