"""The precision that a graph is compiled in, and how far that may be from eager."""

from __future__ import annotations

import attrs
import torch
from torch import nn

from neuronkit.export.capture import TracedModule
from neuronkit.export.config import ExportConfig, Graph
from neuronkit.options import CompileOptions
from neuronkit.weights import dtype_name, is_floating

_PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


def in_precision(graph: Graph, options: CompileOptions, *, casts: bool = False) -> Graph:
    """Return a graph whose floating states have the precision of the module that is traced; see `trace_module`."""
    if casts or options.auto_cast == "none" or not graph.state:
        return graph
    lowered = dtype_name(_PRECISIONS[options.auto_cast_type])
    inputs = [
        attrs.evolve(input, dtype=lowered) if input.state and is_floating(input.dtype) else input
        for input in graph.inputs
    ]
    return attrs.evolve(graph, inputs=inputs)


def trace_module(graph: Graph, wrapped: nn.Module, options: CompileOptions, *, casts: bool = False) -> TracedModule:
    """
    Return what a backend compiles of a graph's module, in the precision that the options ask for.

    Args:
        graph: The graph.
        wrapped: Its module.
        options: The core's.
        casts: The backend's compiler lowers the precision itself.
    """
    if casts or options.auto_cast == "none" or graph.hints.keep_fp32:
        return TracedModule(wrapped, graph).eval()
    precision = _PRECISIONS[options.auto_cast_type]
    if options.auto_cast == "all":
        wrapped = wrapped.to(precision)
    return TracedModule(wrapped, graph, precision, autocast=options.auto_cast == "matmul").eval()


def tolerance(config: ExportConfig, options: CompileOptions) -> float:
    """Return the largest difference from eager that is allowed: the caller's, else the plugin's for the precision."""
    if options.atol is not None:
        return options.atol
    return (
        config.tolerance.fp32
        if options.auto_cast == "none"
        else float(getattr(config.tolerance, options.auto_cast_type))
    )


def is_relative(config: ExportConfig, options: CompileOptions) -> bool:
    """Tell whether the allowed difference grows with an output's largest value; never the caller's own."""
    return options.atol is None and (options.auto_cast != "none" or config.tolerance.relative)
