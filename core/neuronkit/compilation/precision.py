"""The precision that a graph is compiled in, and how far that may be from eager."""

from __future__ import annotations

import attrs
import torch
from torch import nn

from neuronkit.backends.base import Backend
from neuronkit.export.capture import TracedModule
from neuronkit.export.config import ExportConfig, Graph
from neuronkit.options import CompileOptions
from neuronkit.weights import dtype_name, is_floating

_PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


def in_precision(graph: Graph, options: CompileOptions, backend: Backend) -> Graph:
    """Return a graph whose floating states have the precision of the module that is traced; see `trace_module`."""
    if not graph.state or options.auto_cast == "none" or computes_in_fp32(options, backend):
        return graph
    lowered = dtype_name(_PRECISIONS[options.auto_cast_type])
    inputs = [
        attrs.evolve(input, dtype=lowered) if input.state and is_floating(input.dtype) else input
        for input in graph.inputs
    ]
    return attrs.evolve(graph, inputs=inputs)


def computes_in_fp32(options: CompileOptions, backend: Backend) -> bool:
    """Tell whether what is traced stays in fp32 although a lower precision was asked for: the backend sees to it."""
    return backend.capabilities.casts or backend.emulates(options.auto_cast_type)


def trace_module(graph: Graph, wrapped: nn.Module, options: CompileOptions, backend: Backend) -> TracedModule:
    """
    Return what a backend compiles of a graph's module, in the precision that the options ask for.

    A backend whose compiler lowers the precision itself is given the module as it is. One whose machine has no arithmetic for
    that precision is given products in fp32 of operands that are rounded to it.

    Args:
        graph: The graph.
        wrapped: Its module.
        options: The core's.
        backend: The backend.
    """
    if options.auto_cast == "none" or graph.hints.keep_fp32 or backend.capabilities.casts:
        return TracedModule(wrapped, graph).eval()
    precision = _PRECISIONS[options.auto_cast_type]
    if backend.emulates(options.auto_cast_type):
        return TracedModule(wrapped, graph, precision, how="rounded").eval()
    if options.auto_cast == "all":
        return TracedModule(wrapped.to(precision), graph, precision, how="converted").eval()
    return TracedModule(wrapped, graph, precision, how="autocast").eval()


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
