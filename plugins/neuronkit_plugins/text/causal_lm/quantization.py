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
    A linear layer whose weight is int8, multiplied by torch's own kernel for such weights.

    The kernel is fast in bfloat16 alone (in float32 it is slower than the product that it replaces), so activations are
    rounded to it on the way in.

    Args:
        weight: ``[out, in]``, in floating point.
        bias: ``[out]`` or None.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        weight = weight.float()
        scale = (weight.abs().amax(dim=1).clamp(min=1e-12) / _LARGEST).to(torch.bfloat16)
        rounded = (weight / scale.float()[:, None]).round().clamp(-_LARGEST, _LARGEST)
        self.register_buffer("weight", rounded.to(torch.int8).contiguous())
        self.register_buffer("scale", scale)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Multiply ``[..., in]`` to ``[..., out]``."""
        flat = hidden.reshape(-1, hidden.shape[-1]).to(torch.bfloat16)
        product = torch.ops.aten._weight_int8pack_mm(flat, self.weight, self.scale).to(hidden.dtype)
        product = product.reshape(*hidden.shape[:-1], product.shape[-1])
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
