"""The library as a file: how it is compiled, kept and opened, and how operators and functions in it are named."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch._ops import OpOverload

from neuronkit.backends.cpu import host
from neuronkit.errors import CompileError

LIBRARY = "library.so"
"""The file of a compiled graph that holds the library."""
FUNCTIONS = ("linear", "attention")
"""What is in it: each has a source file, and is called by an operator of the same name."""
_SOURCES = Path(__file__).parent
_LINES = 8
"""Of what a compiler says, so many are shown."""


def define(
    function: str, arguments: str, layout: torch.Tag, by_torch: Callable[..., torch.Tensor], shape: Callable[..., Any]
) -> OpOverload:
    """
    Define an operator that compiled graphs call in the library.

    It is named by the library's sources, so that graphs which were compiled with others find their own.

    Args:
        function: One of `FUNCTIONS`.
        arguments: As in an operator's schema.
        layout: In which order in memory the tensors must come.
        by_torch: Computes the same, outside of compiled graphs.
        shape: Makes an empty result.
    """
    name = _name(function)
    library = torch.library.Library("neuronkit", "FRAGMENT")
    library.define(f"{name}({arguments}) -> Tensor", tags=(torch.Tag.pt2_compliant_tag, layout))
    library.impl(name, by_torch, "CPU")
    torch.library.register_fake(f"neuronkit::{name}", shape, lib=library)
    _kept.append(library)
    found: OpOverload = getattr(torch.ops.neuronkit, name).default
    return found


_kept: list[torch.library.Library] = []
"""An operator goes with the object that defined it."""


def c_function(function: str) -> str:
    """Return how a function of the library is called in C."""
    return f"aoti_torch_cpu_{_name(function)}"


def _name(function: str) -> str:
    return f"{function}_{_digest()}"


@cache
def _digest() -> str:
    digest = hashlib.sha256()
    for source in _sources():
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def _sources() -> list[Path]:
    return sorted(file for file in _SOURCES.iterdir() if file.suffix in (".cpp", ".h"))


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
        depends = [_digest(), torch.__version__, *host.instruction_sets(), *command]
        digest = hashlib.sha256("\n".join(depends).replace(workdir, "").encode()).hexdigest()
        kept = cache_directory / "library" / f"{digest}.so"
        if kept.exists():
            return kept
        for source in _sources():
            shutil.copy(source, workdir)
        done = subprocess.run(command, cwd=workdir, capture_output=True, text=True, check=False)
        if done.returncode:
            said = "\n  ".join(done.stderr.strip().splitlines()[:_LINES])
            raise CompileError(f"{command[0]} could not compile the library of linear layers and attention:\n  {said}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        complete = kept.with_suffix(f".{os.getpid()}")
        shutil.copy(Path(workdir, LIBRARY), complete)
        complete.replace(kept)
    return kept


def _command(workdir: str) -> list[str]:
    from torch._inductor.cpp_builder import CppBuilder, CppTorchOptions
    from torch._inductor.cpu_vec_isa import pick_vec_isa

    flags: Any = ["-g0", *(f"-DNEURONKIT_{function.upper()}={c_function(function)}" for function in FUNCTIONS)]
    options = CppTorchOptions(vec_isa=pick_vec_isa(), aot_mode=True, extra_flags=flags)
    sources = [str(Path(workdir, f"{function}.cpp")) for function in FUNCTIONS]
    builder = CppBuilder(Path(LIBRARY).stem, sources, options, output_dir=workdir)
    return shlex.split(builder.get_command_line())


def open_library(file: Path) -> None:
    """Let compiled graphs that are opened from now on find the library."""
    ctypes.CDLL(str(file), mode=ctypes.RTLD_GLOBAL)
