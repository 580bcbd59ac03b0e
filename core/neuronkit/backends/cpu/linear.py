"""Linear layers by a library of neuronkit's own, which on AVX2 is faster than oneDNN and BLAS (docs/decisions/0022)."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch._ops import OpOverload

from neuronkit.backends.cpu import host
from neuronkit.errors import CompileError

LIBRARY = "linear.so"
"""The file of a compiled graph that holds the library."""
WEIGHTS = frozenset({torch.float32, torch.bfloat16, torch.float16, torch.int8})
"""The precisions in which it reads weights; rows and results are float32."""
_SOURCE = Path(__file__).with_suffix(".cpp")
_LINES = 8
"""Of what a compiler says, so many are shown."""


@cache
def operator() -> OpOverload:
    """
    Return the operator ``(rows, weight, bias or None)`` that compiled graphs call in the library.

    It is named by the library's source, so that graphs which were compiled with another one find their own.

    Rows are float32 ``[..., in]``, a weight ``[out, in]`` is in one of `WEIGHTS`, a bias float32 ``[out]``, and results float32
    ``[..., out]``. Outside of compiled graphs the same is computed by torch.
    """
    name = _name()
    library = torch.library.Library("neuronkit", "FRAGMENT")
    tags = (torch.Tag.pt2_compliant_tag, torch.Tag.needs_contiguous_strides)
    library.define(f"{name}(Tensor rows, Tensor weight, Tensor? bias) -> Tensor", tags=tags)
    library.impl(name, _by_torch, "CPU")
    torch.library.register_fake(f"neuronkit::{name}", _shape, lib=library)
    _kept.append(library)
    found: OpOverload = getattr(torch.ops.neuronkit, name).default
    return found


_kept: list[torch.library.Library] = []
"""An operator goes with the object that defined it."""


def _name() -> str:
    return f"linear_{hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:12]}"


def _by_torch(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return torch.nn.functional.linear(rows, weight.to(torch.float32), bias)


def _shape(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return rows.new_empty((*rows.shape[:-1], weight.shape[0]))


def calls() -> dict[OpOverload, list[str]]:
    """Return how a compiled graph calls the operator: what AOTInductor's ``custom_ops_to_c_shims`` takes."""
    handles = "AtenTensorHandle, AtenTensorHandle, AtenTensorHandle*, AtenTensorHandle*"
    return {operator(): [f"AOTITorchError {_function()}({handles})"]}


def _function() -> str:
    return f"aoti_torch_cpu_{_name()}"


def build(cache_directory: Path) -> Path:
    """
    Compile the library for this machine, or find it compiled.

    Args:
        cache_directory: Where compiled libraries are kept.

    Raises:
        CompileError: The C++ compiler failed.
    """
    with tempfile.TemporaryDirectory() as workdir:
        command = _command(workdir)
        depends = [_name(), torch.__version__, *host.instruction_sets(), *command]
        digest = hashlib.sha256("\n".join(depends).replace(workdir, "").encode()).hexdigest()
        kept = cache_directory / "linear" / f"{digest}.so"
        if kept.exists():
            return kept
        shutil.copy(_SOURCE, workdir)
        done = subprocess.run(command, cwd=workdir, capture_output=True, text=True, check=False)
        if done.returncode:
            said = "\n  ".join(done.stderr.strip().splitlines()[:_LINES])
            raise CompileError(f"{command[0]} could not compile {_SOURCE.name}:\n  {said}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        complete = kept.with_suffix(f".{os.getpid()}")
        shutil.copy(Path(workdir, LIBRARY), complete)
        complete.replace(kept)
    return kept


def _command(workdir: str) -> list[str]:
    from torch._inductor.cpp_builder import CppBuilder, CppTorchOptions
    from torch._inductor.cpu_vec_isa import pick_vec_isa

    flags: Any = [f"-DNEURONKIT_LINEAR={_function()}"]
    options = CppTorchOptions(vec_isa=pick_vec_isa(), aot_mode=True, extra_flags=flags)
    source = str(Path(workdir) / _SOURCE.name)
    builder = CppBuilder(Path(LIBRARY).stem, source, options, output_dir=workdir)
    return shlex.split(builder.get_command_line())


def open_library(file: Path) -> None:
    """Let compiled graphs that are opened from now on find the library."""
    ctypes.CDLL(str(file), mode=ctypes.RTLD_GLOBAL)
