"""
From a traced module to a program in a file, which the process that compiles reads.

The program holds ATen operators and weights but none of the model's classes, so that process needs neither transformers
nor the checkpoint's own code. It is not decomposed: composite operators (attention) reach the lowering whole.
"""

from __future__ import annotations

import torch
from torch.export import ExportedProgram

from neuronkit.buckets import Bucket
from neuronkit.errors import CompileError, ExportConfigError
from neuronkit.export.capture import seeded_inputs
from neuronkit.export.config import Graph

_ONE_OF_EACH = {"vocab_size": 1, "type_vocab_size": 1}
"""The worker's trace runs the graph on the example: the first id is one of every vocabulary."""


def export_program(graph: Graph, bucket: Bucket, module: torch.nn.Module) -> ExportedProgram:
    """
    Trace a module at the sizes of a bucket, all of them fixed.

    Raises:
        CompileError: Its control flow or a shape depends on data, or it cannot be traced for another reason.
        ExportConfigError: The module does not return what the graph declares.

    """
    example = tuple(seeded_inputs(graph, bucket.sizes, _ONE_OF_EACH, seed=0).values())
    try:
        with torch.no_grad():
            return torch.export.export(module, example, strict=False)
    except (MemoryError, ExportConfigError):
        raise
    except Exception as error:
        summary = "\n  ".join(str(error).strip().splitlines()[:12])
        raise CompileError(
            f"Graph {graph.name!r} could not be exported ({bucket.label}):\n  {summary}\n"
            "Try: neuronkit check, which names what Neuron does not take."
        ) from error


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
