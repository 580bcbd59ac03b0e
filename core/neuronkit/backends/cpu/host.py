"""What a compiled graph depends on in this machine."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from neuronkit.errors import CompilerNotFoundError

if TYPE_CHECKING:
    import torch

INSTRUCTION_SETS = frozenset(
    "abm adx aes amx_bf16 amx_fp16 amx_int8 amx_tile avx avx2 avx512_bf16 avx512_bitalg avx512_fp16 avx512_vbmi2 avx512_vnni"
    " avx512_vp2intersect avx512_vpopcntdq avx512bw avx512cd avx512dq avx512f avx512ifma avx512vbmi avx512vl avx_ifma"
    " avx_ne_convert avx_vnni avx_vnni_int8 bmi1 bmi2 f16c fma fma4 gfni lzcnt movbe movdir64b movdiri pclmulqdq popcnt rdpid"
    " rdseed sha_ni sse4_1 sse4_2 sse4a ssse3 tbm vaes vpclmulqdq xop"
    " asimd asimdhp asimddp atomics bf16 i8mm sve sve2 svebf16 svei8mm".split()
)
"""CPU flags that ``-march=native`` lets a compiler rely on (the names of ``/proc/cpuinfo``)."""


@cache
def instruction_sets() -> tuple[str, ...]:
    """Return the instruction sets of this CPU that compiled code may rely on, sorted."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if name.strip() in ("flags", "Features"):
                    return tuple(sorted(INSTRUCTION_SETS.intersection(value.split())))
    except FileNotFoundError:
        import torch

        return (torch.backends.cpu.get_cpu_capability(),)
    return ()


def machine() -> str:
    """Return the machine's architecture, such as ``x86_64``."""
    return platform.machine()


def cores() -> int:
    """Return how many CPU cores this process may use, whatever number of threads it was told to run."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def has_arithmetic(precision: str) -> bool:
    """Return whether oneDNN multiplies in ``"bf16"`` or ``"fp16"`` on this CPU."""
    import torch

    supported: bool = getattr(torch.ops.mkldnn, f"_is_mkldnn_{precision}_supported")()
    return supported


def precisions() -> set[torch.dtype]:
    """Return the precisions that oneDNN multiplies in on this CPU; none where torch has no oneDNN."""
    import torch

    if not torch.backends.mkldnn.is_available():
        return set()
    lower = {torch.bfloat16: "bf16", torch.float16: "fp16"}
    return {torch.float32, *(dtype for dtype, precision in lower.items() if has_arithmetic(precision))}


def uses_library() -> bool:
    """Tell whether this CPU is of the kind on which neuronkit's own library is faster (docs/decisions/0022)."""
    found = set(instruction_sets())
    return found >= {"avx2", "f16c", "fma"} and "avx512f" not in found


def _compilers(variables: Mapping[str, str]) -> list[str]:
    """Return the C++ compilers that may be used: what ``CXX`` names, or else the usual ones."""
    return [chosen] if (chosen := variables.get("CXX")) else ["g++", "clang++"]


def find_compiler(variables: Mapping[str, str]) -> str | None:
    """Return the path of the C++ compiler; None where none of them can be run."""
    found = (shutil.which(name, path=variables.get("PATH")) for name in _compilers(variables))
    return next(filter(None, found), None)


def require_compiler() -> None:
    """
    Refuse to start when there is no C++ compiler.

    Raises:
        CompilerNotFoundError: ``CXX``, or where it is not set ``g++`` and ``clang++``, cannot be run.
    """
    if find_compiler(os.environ) is None:
        first, *rest = os.environ.get("CXX", "").split() or [""]
        if rest and shutil.which(first):
            raise CompilerNotFoundError(
                f"CXX names a program with arguments ({os.environ['CXX']}), and Inductor takes the name of a program alone.\n"
                "Try: CXX=FILE, an executable script that calls it with them."
            )
        raise CompilerNotFoundError(
            f"No C++ compiler found (looked for {', '.join(_compilers(os.environ))}): the cpu backend needs one to compile.\n"
            "Try: apt-get install g++, or --optlevel 1, which runs the exported program without compiling it."
        )
