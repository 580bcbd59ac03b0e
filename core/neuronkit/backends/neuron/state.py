"""
State that stays on the device between calls: a key-value cache.

UNVERIFIED: written from the documented contract of ``input_output_aliases`` and run on the stand-in only; no device has
    run it.
``docs/neuron.md`` says how to verify it.

What is known about it decides the form: the keys are the module's own *parameters* (buffers are not enough), aliased
outputs stand after the real ones and do not come back to the host, and writes of the host do not reach the device.
Nothing can reset the state but loading again, so the graph must ignore old entries by itself: mask by position, never
by clearing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class StatefulModule(nn.Module):
    """
    Keeps the inputs that are state as parameters, and returns their new values after the outputs.

    Args:
        module: Takes every input, changes those that are state in place, and returns a tuple of tensors.
        examples: One tensor per input.
        positions: Which of them are state.
        outputs: Number of tensors that `module` returns.

    """

    def __init__(self, module: nn.Module, examples: Sequence[Tensor], positions: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.module = module
        self.positions = list(positions)
        self.states = nn.ParameterList(
            nn.Parameter(torch.zeros_like(examples[position]), requires_grad=False) for position in positions
        )
        self._count = len(examples)
        self._outputs = outputs

    @property
    def aliases(self) -> dict[Tensor, int]:
        """What ``input_output_aliases`` takes: each parameter with the number of the output that replaces it."""
        return {parameter: self._outputs + index for index, parameter in enumerate(self.states)}

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Run on the inputs that are not state."""
        remaining = iter(tensors)
        held = {position: state.clone() for position, state in zip(self.positions, self.states, strict=True)}
        inputs = [held[position] if position in held else next(remaining) for position in range(self._count)]
        return (*self.module(*inputs), *held.values())


def stateful_name(name: str) -> str:
    """Return what a tensor of the wrapped module is called in a `StatefulModule`, as ``replace_weights`` wants it."""
    return f"module.{name}"


def without_states(tensors: Sequence[Tensor], positions: Sequence[int]) -> list[Tensor]:
    """Return the inputs that a graph with state takes from the host."""
    left_out = set(positions)
    return [tensor for position, tensor in enumerate(tensors) if position not in left_out]
