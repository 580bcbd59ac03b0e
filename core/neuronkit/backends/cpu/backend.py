"""The cpu backend: options, files, and which of its two run times opens them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from neuronkit.backends.base import Capabilities, CompiledGraph, Runner
from neuronkit.backends.cpu import host
from neuronkit.backends.cpu.limits import FEW_ROWS, MANY_ROWS

if TYPE_CHECKING:
    import torch

    from neuronkit.artifact.manifest import CompiledBucket, Manifest
    from neuronkit.buckets import Bucket
    from neuronkit.export.capture import TracedModule
    from neuronkit.export.config import Graph
    from neuronkit.options import CompileOptions

_PLACEMENTS = ("packed", "mapped")


class CpuBackend:
    """
    Compiles with torch alone.

    ``optlevel`` 1 keeps the exported program and runs it without compiling, 2 compiles it with AOTInductor, 3 lets Inductor
    time several kernels for each matrix product, where weights are inside. They stay apart from the graph unless
    ``inline_weights`` freezes them in.

    Args:
        packs: Whether weights that graphs take packed are, when they are opened, or stay as they lie in the file.
    """

    name = "cpu"

    def __init__(self, *, packs: bool = True) -> None:
        self._packs = packs

    @property
    def capabilities(self) -> Capabilities:
        """What it can do; whether it wants a graph of its own for few rows depends on who multiplies on this CPU."""
        return Capabilities(
            dynamic_axes=True,
            state=True,
            weights_apart=True,
            channels_last=True,
            few_rows=0 if host.uses_library() else FEW_ROWS,
            many_rows=MANY_ROWS,
        )

    def check_options(self, options: CompileOptions) -> None:
        """Refuse a target, and compiling without a compiler."""
        from neuronkit.errors import OptionError

        if options.target is not None:
            raise OptionError(
                f"target: the cpu backend compiles for this machine only (got {options.target!r}). Try: --backend neuron."
            )
        for name in ("lnc", "compiler_args"):
            if (value := getattr(options, name)) is not None:
                raise OptionError(f"{name}: the neuron backend's, and this is the cpu backend (got {value!r}).")
        if options.optlevel > 1:
            host.require_compiler()

    def fingerprint(self, options: CompileOptions) -> dict[str, Any]:
        """Return torch's version and, for compiled code, this machine's architecture and instruction sets."""
        import torch

        found: dict[str, Any] = {"torch": torch.__version__}
        if options.optlevel > 1:
            found |= {"machine": host.machine(), "instruction_sets": list(host.instruction_sets())}
        return found

    def incompatibility(self, fingerprint: Mapping[str, Any]) -> str | None:
        """Return why a graph with that fingerprint cannot run here, or None."""
        import torch

        if fingerprint.get("torch") != torch.__version__:
            return f"it was compiled with torch {fingerprint.get('torch')}, and this is torch {torch.__version__}"
        if "machine" not in fingerprint:
            return None
        if fingerprint["machine"] != host.machine():
            return f"it was compiled for {fingerprint['machine']}, and this is {host.machine()}"
        if missing := sorted(set(fingerprint["instruction_sets"]) - set(host.instruction_sets())):
            return f"it was compiled for a CPU with {', '.join(missing)}, which this one lacks"
        return None

    def emulates(self, precision: str) -> bool:
        """Tell whether oneDNN has no kernels for a precision on this CPU; without them torch is several times slower than fp32."""
        return not host.has_arithmetic(precision)

    def cannot_run(self) -> str | None:
        """Return None: there is always a CPU."""
        return None

    def place(self, manifest: Manifest, placement: str | None) -> CpuBackend:
        """
        Choose where weights are: ``"packed"``, the default, or ``"mapped"``.

        Packed, those of linear layers are copied into the order that oneDNN multiplies from, where that is faster. Mapped, all of
        them stay in the pages of their file, which processes share.
        """
        from neuronkit.errors import OptionError

        if placement not in (None, *_PLACEMENTS):
            raise OptionError(
                f"placement: on the cpu backend it is one of {', '.join(_PLACEMENTS)} (got {placement!r})."
            )
        return self if placement is None else CpuBackend(packs=placement == "packed")

    def compile(
        self, graph: Graph, bucket: Bucket, module: TracedModule, options: CompileOptions, directory: Path
    ) -> CompiledGraph:
        """
        Compile into ``program.pt2`` (``optlevel`` 1) or a shared object.

        Raises:
            OptionError: ``optlevel`` is 3 and weights are to stay apart: the kernels that are timed pack them while compiling.
        """
        from neuronkit.backends import program
        from neuronkit.backends.cpu import aot
        from neuronkit.backends.cpu.folding import export_folded
        from neuronkit.errors import OptionError

        if options.optlevel == 3 and not options.inline_weights:
            raise OptionError(
                "optlevel: 3 times kernels that pack weights while compiling, and these stay apart from the graph (got 3).\n"
                "Try: --optlevel 2, or --inline-weights."
            )
        exported, rounded = export_folded(graph, bucket, module, inline_weights=bool(options.inline_weights))
        if options.optlevel == 1:
            compiled = program.save(exported, directory, inline_weights=bool(options.inline_weights))
        else:
            compiled = aot.compile(exported, directory, options)
        constants = [attrs.evolve(found, rounded=rounded.get(found.name)) for found in compiled.constants]
        return attrs.evolve(compiled, constants=tuple(constants))

    def load(self, directory: Path, compiled: CompiledBucket, weights: Mapping[str, torch.Tensor]) -> Runner:
        """Open a compiled graph and bind its weights."""
        from neuronkit.backends import program
        from neuronkit.backends.cpu import aot
        from neuronkit.backends.cpu.packing import shared_packer

        if compiled.entry.endswith(program.SUFFIX):
            return program.load(directory / compiled.entry, compiled.constants, weights)
        packer = shared_packer() if self._packs else None
        return aot.load(directory / compiled.entry, compiled.constants, weights, packer)
