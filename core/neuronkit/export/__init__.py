"""What a plugin imports to declare its model: ``from neuronkit.export import ExportConfig, Graph, Input, Output``."""

from neuronkit.export.axes import tensor_shape
from neuronkit.export.config import CompilerHints, ExportConfig, Graph, Input, Output, Probe, Tolerance
from neuronkit.export.series import members, numbered

__all__ = [
    "CompilerHints",
    "ExportConfig",
    "Graph",
    "Input",
    "Output",
    "Probe",
    "Tolerance",
    "members",
    "numbered",
    "tensor_shape",
]
