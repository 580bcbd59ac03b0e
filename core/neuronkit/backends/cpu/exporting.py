"""From a traced module to an exported program, with weight casts folded into the weights."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from neuronkit.buckets import Bucket
from neuronkit.errors import CompileError
from neuronkit.export.capture import TracedModule, seeded_inputs
from neuronkit.export.config import Graph

_EXAMPLE_SIZES = (2, 7, 11, 13, 17, 19, 23)
"""Sizes of dynamic axes while tracing: distinct, and never 1, which ``torch.export`` would take for a constant."""


def export_program(graph: Graph, bucket: Bucket, module: TracedModule) -> ExportedProgram:
    """
    Trace a module for one bucket.

    Returns:
        A program whose dynamic axes are bounded as the bucket says. Parameters that the graph only ever casts to one lower
        precision are stored in that precision, and the casts are gone.

    Raises:
        CompileError: The module cannot be traced, or not with dynamic axes.
    """
    sizes, dims = _example(graph, bucket)
    example = tuple(seeded_inputs(graph, sizes, {}, seed=0).values())
    shapes = tuple(
        {position: dims[axis] for position, axis in enumerate(input.axes) if axis in dims} for input in graph.inputs
    )
    try:
        with torch.no_grad():
            program = torch.export.export(module, example, dynamic_shapes=(shapes,) if dims else None, strict=False)
            if module.lowers_precision:  # the casts to be folded appear with the core operators; else it is a trace for nothing
                with warnings.catch_warnings():
                    # copyreg asks torch's own tree specs a question that torch has deprecated.
                    warnings.filterwarnings("ignore", r".isinstance\(treespec, LeafSpec\). is deprecated", FutureWarning)
                    program = program.run_decompositions({})
    except Exception as error:
        if isinstance(error, (KeyboardInterrupt, MemoryError)):
            raise
        summary = "\n  ".join(str(error).strip().splitlines()[:12])
        hint = "\nTry: --static, which fixes every axis." if dims else ""
        raise CompileError(
            f"Graph {graph.name!r} could not be exported ({bucket.label}):\n  {summary}{hint}"
        ) from error
    if module.lowers_precision:
        _fold_weight_casts(program)
    return program


def _example(graph: Graph, bucket: Bucket) -> tuple[dict[str, int], dict[Any, Dim]]:
    sizes = dict(bucket.sizes)
    dims: dict[Any, Dim] = {}
    unused = iter(_EXAMPLE_SIZES)
    for axis in graph.axes:
        low, high = bucket.bounds.get(axis, (0, 0))
        if high > 1:
            sizes[axis] = min(next(unused), high)
            dims[axis] = Dim(axis, min=low, max=high)
    return sizes, dims


def _fold_weight_casts(program: ExportedProgram) -> None:
    """
    Store a parameter in the precision that the graph casts it to, where that is its only use.

    Autocast casts weights on every call; a graph that takes them as lower precision constants reads half the memory.
    """
    graph = program.graph_module.graph
    targets = program.graph_signature.inputs_to_parameters
    for node in list(graph.nodes):
        if node.op != "placeholder" or node.name not in targets or not node.users:
            continue
        casts = list(node.users)
        dtypes = {cast.kwargs.get("dtype") for cast in casts}
        is_cast = all(
            cast.target is torch.ops.aten._to_copy.default and set(cast.kwargs) == {"dtype"} for cast in casts
        )
        if not is_cast or len(dtypes) != 1:
            continue
        name, dtype = targets[node.name], dtypes.pop()
        tensor = program.state_dict[name].detach().to(dtype)
        program.state_dict[name] = torch.nn.Parameter(tensor, requires_grad=False)
        node.meta["val"] = node.meta["val"].to(dtype)
        for cast in casts:
            cast.replace_all_uses_with(node)
            graph.erase_node(cast)
    program.graph_module.recompile()
