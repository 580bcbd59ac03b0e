"""What a backend is to the core."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import attrs

if TYPE_CHECKING:
    import torch

    from neuronkit.artifact.manifest import CompiledBucket
    from neuronkit.buckets import Bucket
    from neuronkit.export.config import Graph
    from neuronkit.options import CompileOptions
    from neuronkit.weights import Constant

Runner = Callable[[Sequence["torch.Tensor"]], Sequence["torch.Tensor"]]
"""A compiled graph on a device: tensors in the order of the inputs -> tensors in the order of the outputs."""


@attrs.frozen
class Capabilities:
    """
    What a backend can do.

    Args:
        dynamic_axes: One compiled graph may serve a range of sizes.
        state: Graphs may keep tensors between calls.
        weights_apart: Graphs may be compiled without their weights.
        targets: Names that the option ``target`` accepts; empty when there is nothing to choose.
    """

    dynamic_axes: bool = False
    state: bool = False
    weights_apart: bool = False
    targets: tuple[str, ...] = ()


@attrs.frozen
class CompiledGraph:
    """
    What compiling one graph for one bucket gave.

    Args:
        directory: Holds all of its files and nothing else.
        entry: The file to open, relative to `directory`.
        constants: The tensors that must be bound at load; empty when the weights are inside.
    """

    directory: Path
    entry: str
    constants: tuple[Constant, ...] = ()


class Backend(Protocol):
    """A compiler and its run time. Nothing of its stack is imported before one of these methods is called."""

    name: str
    capabilities: Capabilities

    def check_options(self, options: CompileOptions) -> None:
        """Refuse what cannot work on this machine (no compiler, unknown target) before any work is done."""
        ...

    def fingerprint(self, options: CompileOptions) -> dict[str, Any]:
        """Return what a compiled graph depends on beside the model: versions, target, instruction set. JSON only."""
        ...

    def incompatibility(self, fingerprint: Mapping[str, Any]) -> str | None:
        """Return why a graph with that fingerprint cannot run here, or None."""
        ...

    def compile(
        self, graph: Graph, bucket: Bucket, module: Any, options: CompileOptions, directory: Path
    ) -> CompiledGraph:
        """Compile a `TracedModule` into files in an empty directory."""
        ...

    def load(self, directory: Path, compiled: CompiledBucket, weights: Mapping[str, torch.Tensor]) -> Runner:
        """
        Open a compiled graph.

        Args:
            directory: The artifact, or the cache entry; files are relative to it.
            compiled: The manifest's record of the graph's bucket.
            weights: Tensors by name in the traced module, checked against the record's constants.
        """
        ...
