"""What a backend is to the core."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import attrs

if TYPE_CHECKING:
    import torch

    from neuronkit.artifact.manifest import CompiledBucket, Manifest
    from neuronkit.buckets import Bucket
    from neuronkit.export.config import Graph
    from neuronkit.options import CompileOptions
    from neuronkit.weights import Constant

Runner = Callable[[Sequence["torch.Tensor"]], Sequence["torch.Tensor"]]
"""A compiled graph on a device: tensors in the order of the inputs -> tensors in the order of the outputs."""


def replicas(runner: Runner) -> int:
    """Return how many compiled batches a runner takes in one call: several, if it splits them over cores."""
    return int(getattr(runner, "replicas", 1))


@runtime_checkable
class Rebindable(Protocol):
    """A runner whose weights are apart and can be replaced between calls."""

    def rebind(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """
        Use these tensors in every later call, and the ones bound before for all other names. No call may be running.

        Args:
            tensors: By name in the traced module, in the dtype and strides of the graph's constants.
        """
        ...


@attrs.frozen
class Capabilities:
    """
    What a backend can do.

    Args:
        dynamic_axes: One compiled graph may serve a range of sizes.
        state: Graphs may keep tensors between calls.
        state_on_device: Every compiled graph keeps its own, which no other graph and no host can read or write; so one bucket
            of a graph with state has to serve all calls.
        weights_apart: Graphs may be compiled without their weights.
        inline_weights: What a graph gets when the caller does not say; None leaves it to the plugin.
        casts: The compiler lowers the precision itself, so that modules must reach it in float32, without autocast.
        channels_last: Weights of convolutions that are apart run faster with their channels last.
        targets: Names that the option ``target`` accepts; empty when there is nothing to choose.
        opened_first: Kinds of components that are opened before the others: the largest, while there is room.
        few_rows: Up to how many rows in a product it takes for bound by reading the weight; see `CompilerHints.memory_bound`.
        many_rows: By kind of component, how many rows (its dynamic batch times its other axes) a call gains nothing by having
            more of: more are divided over several calls.

    """

    dynamic_axes: bool = False
    state: bool = False
    state_on_device: bool = False
    weights_apart: bool = False
    inline_weights: bool | None = None
    casts: bool = False
    channels_last: bool = False
    targets: tuple[str, ...] = ()
    opened_first: tuple[str, ...] = ()
    few_rows: int = 0
    many_rows: Mapping[str, int] = attrs.field(factory=dict)


@attrs.frozen
class CompiledGraph:
    """
    What compiling one graph for one bucket gave.

    Args:
        directory: Holds all of its files and nothing else; the one that the backend was given.
        entry: The file to open, relative to `directory`.
        constants: The tensors that must be bound at load; empty when the weights are inside.

    """

    directory: Path
    entry: str
    constants: tuple[Constant, ...] = ()


@runtime_checkable
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

    def cannot_run(self) -> str | None:
        """Return why no graph at all can run on this machine (no device), or None. Compiling may work all the same."""
        ...

    def emulates(self, precision: str) -> bool:
        """
        Tell whether this machine has no arithmetic for a precision: products are then computed in fp32 on rounded operands.

        Args:
            precision: ``"bf16"`` or ``"fp16"``.
        """
        ...

    def place(self, manifest: Manifest, placement: str | None) -> Backend:
        """
        Return a backend whose `load` puts the graphs of one session where they are to run.

        Args:
            manifest: Of the artifact that will be loaded.
            placement: What the caller asked for, in the backend's words; None takes the backend's choice.

        Raises:
            OptionError: There is no such place, or no choice at all.

        """
        ...

    def compile(
        self, graph: Graph, bucket: Bucket, module: Any, options: CompileOptions, directory: Path
    ) -> CompiledGraph:
        """
        Compile a `TracedModule` into files in an empty directory.

        Args:
            graph: The graph.
            bucket: For which sizes.
            module: Where the graph's weights stay apart, only their names, shapes, dtypes and strides count: their values may be
                missing.
            options: The core's, with where the graph's weights go.
            directory: Empty.
        """
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
