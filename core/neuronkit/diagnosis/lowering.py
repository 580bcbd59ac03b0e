"""
The lowering of torch-xla, the very one that ``torch_neuronx.trace`` uses, on XLA's CPU device.

UNVERIFIED against the private build inside the Neuron packages: releases of torch-xla and of those may differ.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import torch
from torch import nn
from torch.export import ExportedProgram

from neuronkit.errors import CompileError, compile_failures

_OPERATOR = re.compile(r"\bstablehlo\.(\w+)")
_FALLBACK = "aten::"
"""What torch-xla counts, by the operator's name, whenever it runs one on the host because it has no lowering for it."""


class Lowered:
    """
    A graph on XLA's CPU device.

    Args:
        module: Takes the inputs that are not state; has parameters named ``states`` for the others.
        states: Positions of the inputs that are state.
        operators: How often each StableHLO operator occurs, the most frequent first.

    """

    def __init__(self, module: nn.Module, states: Sequence[int], operators: dict[str, int]) -> None:
        self.operators = operators
        self._module = module
        self._states = list(states)

    def run(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return the graph's outputs, and behind them the new values of its states, as XLA computes them."""
        return [tensor.cpu() for tensor in _trace(self._module, tensors, self._states)]


def lower(program: ExportedProgram, states: Sequence[int] = ()) -> Lowered:
    """
    Lower a program as the compiler's worker would trace it.

    Args:
        program: From `neuronkit.backends.exporting.export_program`.
        states: Positions of the inputs that stay on the device.

    Raises:
        CompileError: An operator has no lowering, mixes devices, or reads a value on the host.

    """
    import torch_xla
    from torch_xla.core import xla_model
    from torch_xla.debug import metrics

    from neuronkit.backends.exporting import runnable
    from neuronkit.backends.neuron.state import StatefulModule

    if program.example_inputs is None:
        raise ValueError("The program holds no example inputs.")
    examples = tuple(program.example_inputs[0])
    module: nn.Module = runnable(program)
    if states:
        module = StatefulModule(module, examples, states, len(program.graph_signature.user_outputs))
    with compile_failures("torch-xla could not lower the graph"):
        module = module.to(torch_xla.device())
        metrics.clear_counters()
        text = xla_model.get_stablehlo(_trace(module, examples, states))
    if missing := sorted(
        name.removeprefix(_FALLBACK) for name in metrics.counter_names() if name.startswith(_FALLBACK)
    ):
        raise CompileError(f"torch-xla has no lowering, and would run these on the host: {', '.join(missing)}.")
    counts = Counter(_OPERATOR.findall(text))
    return Lowered(module, states, dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))))


def _trace(module: nn.Module, tensors: Sequence[torch.Tensor], states: Sequence[int]) -> list[torch.Tensor]:
    """Return outputs that XLA has recorded and not computed yet."""
    import torch_xla

    device = torch_xla.device()
    inputs = [tensor.to(device) for tensor in tensors]
    for parameter, position in zip(getattr(module, "states", ()), states, strict=True):
        parameter.data = inputs[position]
    with torch.no_grad():
        return list(module(*(tensor for position, tensor in enumerate(inputs) if position not in states)))
