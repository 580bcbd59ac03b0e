"""
The lowering of torch-xla, the very one that ``torch_neuronx.trace`` uses, on the CPU.

UNVERIFIED against the private build inside the Neuron packages: releases of torch-xla and of those may differ.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from torch.export import ExportedProgram

from neuronkit.errors import CompileError

_OPERATOR = re.compile(r"\bstablehlo\.(\w+)")


def lower(program: ExportedProgram) -> dict[str, int]:
    """
    Lower a program to StableHLO as the compiler's worker would trace it.

    Returns:
        How often each operator occurs, the most frequent first.

    Raises:
        CompileError: An operator has no lowering, or mixes devices.

    """
    from torch_xla import stablehlo

    counts = Counter(_OPERATOR.findall(_text(program, stablehlo)))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _text(program: ExportedProgram, stablehlo: Any) -> str:
    try:
        return str(stablehlo.exported_program_to_stablehlo(program).get_stablehlo_text())
    except Exception as error:
        if isinstance(error, MemoryError):
            raise
        summary = "\n  ".join(str(error).strip().splitlines()[:6])
        raise CompileError(f"torch-xla could not lower the graph:\n  {summary}") from error
