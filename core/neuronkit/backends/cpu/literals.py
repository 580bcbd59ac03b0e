"""Constants that belong to a program, not to its weights: what the model's code creates, and what the cpu backend adds."""

from __future__ import annotations

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec, TensorArgument
from torch.fx import Node


class Literals:
    """Adds literals to a program, each once, as if the model's code had created them."""

    def __init__(self, program: ExportedProgram) -> None:
        self._program = program
        self._nodes: dict[str, Node] = {}

    def node(self, name: str, value: torch.Tensor) -> Node:
        """Return the node of a constant; one of this name is added at the first call."""
        if name not in self._nodes:
            self._nodes[name] = self._add(name, value)
        return self._nodes[name]

    def _add(self, name: str, value: torch.Tensor) -> Node:
        graph = self._program.graph_module.graph
        first = next(node for node in graph.nodes if node.op == "placeholder")
        with graph.inserting_before(first):
            node = graph.placeholder(name)
        mode = getattr(first.meta["val"], "fake_mode", None)
        node.meta["val"] = value if mode is None else mode.from_tensor(value, static_shapes=True)
        spec = InputSpec(InputKind.CONSTANT_TENSOR, TensorArgument(node.name), node.name)
        self._program.graph_signature.input_specs.insert(0, spec)
        self._program.constants[node.name] = value
        return node


def name_literals(program: ExportedProgram) -> set[str]:
    """
    Turn the literals of a program into buffers: AOTInductor forgets the names of other constants.

    Args:
        program: Changed in place.

    Returns:
        The names of the literals.
    """
    names = set()
    for spec in program.graph_signature.input_specs:
        if spec.kind is InputKind.CONSTANT_TENSOR and spec.target is not None:
            spec.kind, spec.persistent = InputKind.BUFFER, False
            names.add(spec.target)
    return names
