"""
From a traced module to an exported program.

It holds ATen operators and weights but none of the model's classes, so a process that compiles it needs neither transformers nor
the checkpoint's own code. It is not decomposed: composite operators (attention) reach the compiler whole.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch._dynamo.exc import UserError, UserErrorType
from torch.export import Dim, ExportedProgram
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from neuronkit.buckets import Bucket
from neuronkit.errors import compile_failures
from neuronkit.export.capture import seeded_inputs
from neuronkit.export.config import Graph

_EXAMPLE_SIZES = (2, 7, 11, 13, 17, 19, 23)
"""Sizes of dynamic axes while tracing: distinct, and never 1, which ``torch.export`` would take for a constant."""
_ONE_OF_EACH = {"vocab_size": 1, "type_vocab_size": 1}
"""Who compiles may run the graph on the example: the first id is one of every vocabulary."""


def export_program(graph: Graph, bucket: Bucket, module: torch.nn.Module, *, advice: str = "") -> ExportedProgram:
    """
    Trace a module for one bucket: its axes are dynamic within the bucket's bounds, the others fixed.

    Args:
        graph: The graph.
        bucket: The bucket.
        module: What is traced.
        advice: What to type when it cannot be traced.

    Raises:
        CompileError: The module's control flow or a shape depends on data, it does not do for every size, or it cannot be traced
            for another reason.
        ExportConfigError: The module does not return what the graph declares.

    """
    sizes, dims = _example(graph, bucket)
    example = tuple(seeded_inputs(graph, sizes, _ONE_OF_EACH, seed=0).values())
    shapes = tuple(
        {position: dims[axis] for position, axis in enumerate(input.axes) if axis in dims} for input in graph.inputs
    )
    with export_failures(graph, bucket, advice), torch.no_grad():
        return torch.export.export(module, example, dynamic_shapes=(shapes,) if dims else None, strict=False)


def export_failures(graph: Graph, bucket: Bucket, advice: str = "") -> AbstractContextManager[None]:
    """Turn what the exporter ends with into a `CompileError` that names graph and bucket."""

    def hint(error: Exception) -> str:
        if isinstance(error, GuardOnDataDependentSymNode):
            return (
                "the same steps whatever the tensors hold, such as torch.where in place of an if, and a mask in place of a length "
                "that is read from a tensor; where the model is not yours, a Graph.wrap that puts such a module around its parts."
            )
        return "--static, which fixes every axis." if bucket.bounds and _fixes_an_axis(error) else advice

    return compile_failures(f"Graph {graph.name!r} could not be exported ({bucket.label})", hint=hint, say=_say)


def _say(error: Exception) -> str:
    """Return what the exporter said; where steps depend on values, the line of the model that does, which comes last."""
    said = str(error)
    if not isinstance(error, GuardOnDataDependentSymNode):
        return said
    first, *others = said.strip().splitlines()
    return "\n".join([first, *(line.strip() for line in others if line.lstrip().startswith('File "'))])


def _fixes_an_axis(error: Exception) -> bool:
    """Tell whether a module does not do for every size that an axis may have."""
    return isinstance(error, UserError) and error.error_type is UserErrorType.CONSTRAINT_VIOLATION


def _example(graph: Graph, bucket: Bucket) -> tuple[dict[str, int], dict[Any, Dim]]:
    sizes = dict(bucket.sizes)
    dims: dict[Any, Dim] = {}
    unused = iter(_EXAMPLE_SIZES)
    for axis in graph.axes:
        low, high = bucket.bounds.get(axis, (0, 0))
        if high > low:
            sizes[axis] = min(max(next(unused), 2 * low - 1), high)
            dims[axis] = Dim(axis, min=low, max=high)
    return sizes, dims


def runnable(program: ExportedProgram) -> torch.nn.Module:
    """
    Return a program as a module that follows its inputs to any device.

    Export writes the device of the host into operators that create tensors, and into checks; on another device they
    would fail.
    """
    module = _decomposed(program).module(check_guards=False)
    _register_constants(module)
    graph = module.graph
    first = next(node for node in graph.nodes if node.op == "placeholder")
    with graph.inserting_after(first):
        device = graph.call_function(getattr, (first, "device"))
    for node in list(graph.nodes):
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            graph.erase_node(node)
        elif node.op == "call_function" and node is not device:
            node.args = tuple(device if isinstance(value, torch.device) else value for value in node.args)
            node.kwargs = {
                name: device if isinstance(value, torch.device) else value for name, value in node.kwargs.items()
            }
    graph.eliminate_dead_code()
    module.recompile()
    return module


def _decomposed(program: ExportedProgram) -> ExportedProgram:
    """Return a program without the operators that the lowering lacks, and can do without."""
    table = torch._decomp.get_decompositions([torch.ops.aten.im2col])
    targets = {node.target for node in program.graph.nodes}
    return program.run_decompositions(table) if targets.intersection(table) else program


def _register_constants(module: torch.fx.GraphModule) -> None:
    """Make buffers of the tensors that the graph refers to and no module holds: they must move with it."""
    for node in module.graph.nodes:
        if node.op != "get_attr":
            continue
        path, _, name = str(node.target).rpartition(".")
        owner = module.get_submodule(path)
        value = getattr(owner, name)
        if isinstance(value, torch.Tensor) and name not in {*owner._parameters, *owner._buffers}:
            delattr(owner, name)
            owner.register_buffer(name, value, persistent=False)
