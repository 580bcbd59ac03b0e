"""The library, compiled, and a way to call what is in it."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from neuronkit.backends.cpu import aot, host
from neuronkit.backends.cpu.library.build import LIBRARY, build, c_function
from neuronkit.weights import fit, module_tensors

POINTER, CAPSULE = ctypes.pythonapi.PyCapsule_GetPointer, ctypes.pythonapi.PyCapsule_New
POINTER.restype, POINTER.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
CAPSULE.restype, CAPSULE.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
SUCCESS = 0


@pytest.fixture(scope="session")
def library(suite_cache) -> Path:
    return build(suite_cache / "inductor")


@pytest.fixture(scope="session")
def call(library):
    """Call a function as compiled graphs do: with tensors, a last one or None, and numbers. None is for what it refuses."""
    opened = ctypes.CDLL(str(library))

    def call(function: str, *tensors: torch.Tensor, optional: torch.Tensor | None, numbers: Sequence[int | float] = ()):
        every = [*tensors, *([] if optional is None else [optional])]
        capsules = [torch._C._aoti.unsafe_alloc_void_ptr_from_tensor(tensor) for tensor in every]
        handles = [ctypes.c_void_p(POINTER(capsule, None)) for capsule in capsules]
        last = None if optional is None else ctypes.byref(handles[-1])
        result = ctypes.c_void_p()
        others = [(ctypes.c_int32 if isinstance(number, int) else ctypes.c_double)(number) for number in numbers]
        arguments = [*handles[: len(tensors)], last, *others, ctypes.byref(result)]
        code = getattr(opened, c_function(function))(*arguments)
        for capsule in capsules:
            torch._C._aoti.alloc_tensor_by_stealing_from_void_ptr(capsule)
        if code != SUCCESS:
            return None
        return torch._C._aoti.alloc_tensor_by_stealing_from_void_ptr(CAPSULE(result, None, None))

    return call


@pytest.fixture
def compiled(tmp_path):
    """Compile and load a program, with the weights of its module; the library lies beside it."""

    def compiled(program, traced, options):
        found = aot.compile(program, tmp_path, options)
        assert (tmp_path / LIBRARY).exists()
        tensors = fit(module_tensors(traced), found.constants)
        weights = {name: tensor.make() for name, tensor in tensors.items()}
        return aot.load(tmp_path / found.entry, found.constants, weights)

    return compiled


@pytest.fixture
def with_the_library(monkeypatch):
    """Also on CPUs that have faster ways."""
    monkeypatch.setattr(host, "uses_library", lambda: True)


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)
