"""What of the library a program calls, and how."""

from __future__ import annotations

from torch._ops import OpOverload
from torch.export import ExportedProgram

from neuronkit.backends.cpu.library import attention, linear
from neuronkit.backends.cpu.library.build import c_function


def calls(program: ExportedProgram) -> dict[OpOverload, list[str]]:
    """Return the operators that a program calls, and their functions in C: what AOTInductor's ``custom_ops_to_c_shims`` takes."""
    called = {node.target for node in program.graph.nodes}
    takes = {linear.operator(): ("linear", linear.TAKES), attention.operator(): ("attention", attention.TAKES)}
    return {
        operator: [f"AOTITorchError {c_function(function)}({handles})"]
        for operator, (function, handles) in takes.items()
        if operator in called
    }
