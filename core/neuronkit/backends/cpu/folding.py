"""Weight casts, folded into the weights of an exported program."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.export import ExportedProgram

from neuronkit.backends.cpu.limits import FEW_ROWS
from neuronkit.backends.exporting import export_failures, export_program
from neuronkit.buckets import Bucket, memory_bound_bucket
from neuronkit.export.capture import TracedModule
from neuronkit.export.config import Graph
from neuronkit.weights import dtype_name


def export_folded(
    graph: Graph, bucket: Bucket, module: TracedModule, *, inline_weights: bool = True
) -> tuple[ExportedProgram, dict[str, str]]:
    """
    Trace a module for one bucket.

    Args:
        graph: The graph.
        bucket: The bucket.
        module: What is traced.
        inline_weights: Whether the values of the program's weights will be used.

    Returns:
        The program. Parameters that the graph only ever casts to one lower precision are stored in that precision, and the casts
        are gone. Beside it the precision that parameters' values must be rounded to, by name.

    Raises:
        CompileError: The module cannot be traced, or not with dynamic axes.
        ExportConfigError: The module does not return what the graph declares.
    """
    program = export_program(graph, bucket, module)
    if not module.lowers_precision:
        return program, {}
    with export_failures(graph, bucket), torch.no_grad():
        program = _with_core_operators(
            program
        )  # the casts to be folded appear with them; else it is a trace for nothing
    narrow = not inline_weights and memory_bound_bucket(graph, bucket, FEW_ROWS) is not None
    return program, _fold_weight_casts(program, inline=inline_weights, narrow=narrow)


def _with_core_operators(program: ExportedProgram) -> ExportedProgram:
    """
    Decompose a program into core operators.

    Beside example inputs, torch 2.9 writes checks of sizes into the program that it then cannot run (``name 'L' is not defined``).
    """
    example, program.example_inputs = program.example_inputs, None
    with without_warnings_of_copies():
        program = program.run_decompositions({})
    program.example_inputs = example
    return program


@contextmanager
def without_warnings_of_copies() -> Iterator[None]:
    """Silence copyreg, which asks torch's own tree specs a question that torch has deprecated."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".isinstance\(treespec, LeafSpec\). is deprecated", FutureWarning)
        yield


def _fold_weight_casts(program: ExportedProgram, *, inline: bool, narrow: bool) -> dict[str, str]:
    """
    Take the casts out of the graph that parameters alone go through, and leave them to the weights.

    Autocast casts weights on every call; a graph that takes them as lower precision constants reads half the memory. A graph
    of rounded products casts them there and back, and can take them rounded. A weight that something else takes as it is (an
    embedding tied to a head) keeps its values, and its casts there and back are dropped: rounding it at every call would cost
    more than the product.

    Args:
        program: Changed in place.
        inline: Whether the values of the program's weights will be used.
        narrow: Reading weights is what a call spends its time on. So a weight of rounded products is stored in the lower
            precision and cast back where it is multiplied, and lookups in a tied one see rounded values too.

    Returns:
        The precision that a parameter's values must be rounded to, by name.
    """
    graph = program.graph_module.graph
    targets = program.graph_signature.inputs_to_parameters
    rounded: dict[str, str] = {}
    for node in list(graph.nodes):
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            graph.erase_node(node)  # it guards a cast against inputs of another dtype, which the core has checked
    for node in list(graph.nodes):
        if node.op != "placeholder" or node.name not in targets:
            continue
        users = list(node.users)
        name = targets[node.name]
        held = program.state_dict[name].detach()
        if narrow and _narrow(program, node, name):
            continue
        gone = [step for cast in users if _is_cast(cast) for step in _there_and_back(cast, held.dtype)]
        dtype = _common_cast(users)
        if dtype is not None and gone:
            rounded[name] = dtype_name(dtype)
            if inline:  # weights that stay apart are rounded when they are fitted
                _hold(program, name, held.to(dtype).to(held.dtype))
        elif dtype is not None:
            _hold(program, name, held.to(dtype) if inline else torch.empty_like(held, dtype=dtype))
            node.meta["val"] = node.meta["val"].to(dtype)
            gone = users
        for cast in gone:
            cast.replace_all_uses_with(node)
        for cast in reversed(gone):
            graph.erase_node(cast)
    program.graph_module.recompile()
    return rounded


def _narrow(program: ExportedProgram, node: Any, name: str) -> bool:
    """Store a weight in the precision that products cast it to, if nothing but products and lookups takes it."""
    held = program.state_dict[name].detach()
    casts = [user for user in node.users if _is_cast(user)]
    lookups = [user for user in node.users if user.target is torch.ops.aten.embedding.default]
    dtype = _common_cast(casts)
    if dtype is None or len(casts) + len(lookups) < len(node.users):
        return False
    _hold(program, name, torch.empty_like(held, dtype=dtype))
    node.meta["val"] = node.meta["val"].to(dtype)
    for cast in casts:
        cast.replace_all_uses_with(node)
        program.graph_module.graph.erase_node(cast)
    for lookup in lookups:
        with program.graph_module.graph.inserting_after(lookup):
            back = program.graph_module.graph.call_function(
                torch.ops.aten._to_copy.default, (lookup,), {"dtype": held.dtype}
            )
        back.meta = dict(lookup.meta)
        lookup.replace_all_uses_with(back, delete_user_cb=lambda user, back=back: user is not back)
        lookup.meta = {**lookup.meta, "val": lookup.meta["val"].to(dtype)}
    return True


def _hold(program: ExportedProgram, name: str, tensor: torch.Tensor) -> None:
    program.state_dict[name] = torch.nn.Parameter(tensor, requires_grad=False)


def _is_cast(node: Any) -> bool:
    return node.target is torch.ops.aten._to_copy.default and set(node.kwargs) == {"dtype"}


def _there_and_back(cast: Any, dtype: torch.dtype) -> list[Any]:
    """Return a cast and those which undo it, if nothing else uses what it gives; else nothing."""
    back = list(cast.users)
    return [cast, *back] if _common_cast(back) == dtype else []


def _common_cast(users: list[Any]) -> torch.dtype | None:
    """Return the dtype that all users of a node cast it to; None if they are not casts, or not to the same one."""
    dtypes = {user.kwargs["dtype"] for user in users if _is_cast(user)}
    return dtypes.pop() if all(map(_is_cast, users)) and len(dtypes) == 1 else None
