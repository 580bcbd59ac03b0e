"""
``torch.compile`` on the native line, and the cache of compiled binaries (NEFF) that travels in the artifact.

EXPERIMENTAL and UNVERIFIED, see `neuronkit.backends.neuron_native.backend`. What is documented and used here: one compile
per shape at the first call; binaries are looked up by content in ``TORCH_NEURONX_NEFF_CACHE_DIR``, which public sources say
is read once in a process; inputs may lie on the CPU, outputs stay on the device; ``dynamic=True`` is refused.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from neuronkit.backends import program as programs
from neuronkit.backends.exporting import runnable
from neuronkit.backends.neuron.errors import NeuronCompileError, NeuronPackageError
from neuronkit.environment import temporarily
from neuronkit.errors import compile_failures

NEFF = "neff"
"""The folder of an artifact's graph that holds the binaries."""
VARIABLE = "TORCH_NEURONX_NEFF_CACHE_DIR"
DEFAULT_CACHE = "/tmp/neff_cache"  # noqa: S108  # the documented default of torch-neuronx
_LOCK = threading.RLock()
"""Held while the variable is changed, or a program runs for the first time."""


def compile_beside(file: Path, weights: Mapping[str, torch.Tensor], dynamo: str, device: str, own: Path) -> None:
    """
    Compile a program by running it on its own example inputs; the binaries land in ``neff`` beside it.

    torch-neuronx reads where its cache is once, when a process first compiles. So every program of a process compiles into the
    same directory, and what is new there afterwards is the program's; binaries of others do no harm beside it.

    Args:
        file: The program.
        weights: By name.
        dynamo: Name of the dynamo backend.
        device: Where the module goes.
        own: The directory of this process, empty when it first compiles.

    Raises:
        NeuronPackageError: The dynamo backend is not there.
        NeuronCompileError: It failed, or left no binary behind.

    """
    places = (own, _cache())
    with temporarily(VARIABLE, str(own)), _LOCK:
        before = {place: _files(place) for place in places}
        _opened(file, weights, dynamo, device)
        made = next((new for place in places if (new := _files(place) - before[place])), _files(own))
    if not made:
        raise NeuronCompileError(
            f"The dynamo backend {dynamo!r} ran and left nothing in {VARIABLE}: there is nothing to ship.\n"
            "Try: a process that has not compiled for Neuron before, or another release of torch-neuronx; this backend is "
            "experimental."
        )
    place = next(place for place in places if place in next(iter(made)).parents)
    for binary in made:
        target = file.with_name(NEFF) / binary.relative_to(place)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(binary, target)


def open_program(file: Path, weights: Mapping[str, torch.Tensor], dynamo: str, device: str) -> NativeRunner:
    """
    Open a program with the binaries beside it, and run it once, so that no later call compiles.

    A binary that the compiler has to make anew is told on stderr: it is right, and took minutes.

    Raises:
        NeuronPackageError: The dynamo backend is not there.
        NeuronCompileError: It failed.

    """
    with _LOCK:
        cache = _cache()
        shutil.copytree(file.with_name(NEFF), cache, dirs_exist_ok=True)
        before = _files(cache)
        runner = _opened(file, weights, dynamo, device)
        if made := _files(cache) - before:
            print(  # noqa: T201
                f"note: {file.parent} was compiled anew ({len(made)} files): the shipped binaries did not fit",
                file=sys.stderr,
            )
    return runner


def _opened(file: Path, weights: Mapping[str, torch.Tensor], dynamo: str, device: str) -> NativeRunner:
    """Open a program over weights that it does not change, and run it on its example inputs."""
    program = programs.read(file.read_bytes())
    if program.example_inputs is None:
        raise ValueError(f"{file.name} holds no example inputs.")
    module = runnable(program)
    programs.bind(module, weights)
    runner = NativeRunner(module, dynamo, device)
    with compile_failures("torch.compile failed for Neuron", NeuronCompileError):
        runner(list(program.example_inputs[0]))
    return runner


class NativeRunner:
    """
    A module under ``torch.compile``.

    Args:
        module: With its weights.
        dynamo: Name of the dynamo backend.
        device: Where it goes.
    """

    __slots__ = ("_call", "_device", "_module")

    def __init__(self, module: torch.nn.Module, dynamo: str, device: str) -> None:
        if dynamo not in torch._dynamo.list_backends(exclude_tags=None):
            raise NeuronPackageError(
                f"torch has no dynamo backend {dynamo!r}: torch-neuronx registers it when torch is imported.\n"
                "Try: neuronkit doctor, and TORCH_DEVICE_BACKEND_AUTOLOAD unset."
            )
        self._module = module.to(device)
        self._device = device
        self._call: Any = torch.compile(self._module, backend=dynamo, fullgraph=True, dynamic=False)

    def __call__(self, tensors: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        """Run on CPU tensors, and return CPU tensors."""
        with torch.no_grad():
            outputs = self._call(*(tensor.to(self._device) for tensor in tensors))
        return tuple(output.to("cpu") for output in outputs)

    def rebind(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Use these tensors from now on; see `neuronkit.backends.base.Rebindable`."""
        programs.bind(self._module, {name: tensor.to(self._device) for name, tensor in tensors.items()})


def _cache() -> Path:
    return Path(os.environ.get(VARIABLE) or DEFAULT_CACHE)


def _files(directory: Path) -> set[Path]:
    return {path for path in directory.rglob("*") if path.is_file()}
