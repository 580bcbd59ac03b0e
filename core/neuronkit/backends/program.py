"""The exported program as it is, without Inductor: quick to make, as fast as eager."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path

import torch
from torch.export import ExportedProgram

from neuronkit.backends.base import CompiledGraph, Runner
from neuronkit.turns import in_turn
from neuronkit.weights import Constant, constant

SUFFIX = ".pt2"
_KEPT_PROGRAMS = 16
"""As many programs without their weights stay in memory once they were read: torch takes a second and more to read one."""


def save(program: ExportedProgram, directory: Path, *, inline_weights: bool) -> CompiledGraph:
    """Write a program, without the contents of its parameters and buffers unless they are to be inside."""
    constants: list[Constant] = []
    if not inline_weights:
        for name, tensor in list(program.state_dict.items()):
            constants.append(constant(name, tensor))
            empty = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
            is_parameter = isinstance(tensor, torch.nn.Parameter)
            program.state_dict[name] = torch.nn.Parameter(empty, requires_grad=False) if is_parameter else empty
        # Small buffers that no state dict has stay inside, and are replaced at load by those of the weights' file.
        buffers = set(program.graph_signature.inputs_to_buffers.values())
        constants += [constant(name, program.constants[name]) for name in sorted(buffers & set(program.constants))]
    file = directory / f"program{SUFFIX}"
    # Written by Python: torch's own writer does not say why it failed, and a full disk is to be told apart.
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    file.write_bytes(buffer.getbuffer())
    return CompiledGraph(directory, file.name, tuple(constants))


def load(file: Path, constants: Sequence[Constant], weights: Mapping[str, torch.Tensor]) -> Runner:
    """Open a program and put its weights into place."""
    of_file = _read_once if constants else read
    program = _Program(of_file(file.read_bytes()).module(check_guards=False))
    program.rebind({wanted.name: weights[wanted.name] for wanted in constants})
    return program


@in_turn("read")
def read(contents: bytes) -> ExportedProgram:
    """Return the program that a file holds."""
    return torch.export.load(io.BytesIO(contents))


_read_once = lru_cache(maxsize=_KEPT_PROGRAMS)(read)


class _Program:
    """A program whose weights can be replaced. It computes in the precisions that it was exported with, in any autocast."""

    __slots__ = ("_module", "_own")

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module
        self._own: frozenset[int] = frozenset()

    def __call__(self, tensors: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            outputs = self._module(*tensors)
            # What the caller does to an output must not reach a weight.
            return [output.clone() if _address(output) in self._own else output for output in outputs]

    def rebind(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Use these tensors from now on; see `neuronkit.backends.base.Rebindable`."""
        bind(self._module, tensors)
        self._own = frozenset(map(_address, chain(self._module.parameters(), self._module.buffers())))


def _address(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def bind(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put tensors into a program's module, by name; whatever had these names is let go."""
    for name, tensor in tensors.items():
        path, _, leaf = name.rpartition(".")
        owner = module.get_submodule(path)
        if leaf in owner._parameters:
            owner._parameters[leaf] = torch.nn.Parameter(tensor, requires_grad=False)
        else:
            owner._buffers[leaf] = tensor
