"""A backend that runs the traced module as it is, and keeps what it was asked: the whole journey but the compiler."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from neuronkit.backends.base import Capabilities, CompiledGraph, Runner
from neuronkit.errors import OptionError
from neuronkit.plugins import BACKENDS, registry_of

if TYPE_CHECKING:
    import torch

    from neuronkit.artifact.manifest import CompiledBucket, Manifest
    from neuronkit.buckets import Bucket
    from neuronkit.export.config import Graph
    from neuronkit.options import CompileOptions

NAME = "recording"


@attrs.frozen
class Recorded:
    """
    One compiled graph.

    Args:
        graph: As it was declared.
        bucket: For which sizes.
        module: What a compiler would get.
    """

    graph: Graph
    bucket: Bucket
    module: Any


class RecordingBackend:
    """
    Keeps modules in this process, so an artifact of it lasts as long as the process, and compiling needs ``cache=False``.

    Attributes:
        compiled: Every graph that was compiled, in order.
        shapes: The shape of the first tensor of every call of a graph, in order.
    """

    name = NAME
    capabilities = Capabilities(dynamic_axes=True, state=True)

    def __init__(self) -> None:
        self.compiled: list[Recorded] = []
        self.shapes: list[tuple[int, ...]] = []

    def check_options(self, options: CompileOptions) -> None:
        """
        Accept all but a cache.

        Raises:
            OptionError: Another process could find in the cache what only this one has.
        """
        if options.cache:
            raise OptionError(
                f"cache: the {NAME} backend keeps graphs in this process, not in files. Try: cache=False."
            )

    def fingerprint(self, options: CompileOptions) -> dict[str, Any]:
        """Return nothing: a module depends on nothing else."""
        return {}

    def incompatibility(self, fingerprint: Mapping[str, Any]) -> str | None:
        """Return None."""
        return None

    def cannot_run(self) -> str | None:
        """Return None."""
        return None

    def emulates(self, precision: str) -> bool:
        """Return False."""
        return False

    def place(self, manifest: Manifest, placement: str | None) -> RecordingBackend:
        """Return the backend."""
        return self

    def compile(
        self, graph: Graph, bucket: Bucket, module: Any, options: CompileOptions, directory: Path
    ) -> CompiledGraph:
        """Keep the module and write its number."""
        self.compiled.append(Recorded(graph, bucket, module))
        (directory / "module.txt").write_text(str(len(self.compiled) - 1))
        return CompiledGraph(directory, "module.txt")

    def load(self, directory: Path, compiled: CompiledBucket, weights: Mapping[str, torch.Tensor]) -> Runner:
        """Return the module that the number means."""
        import torch

        module = self.compiled[int((directory / compiled.entry).read_text())].module

        def run(tensors: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
            self.shapes.append(tuple(tensors[0].shape))
            with torch.no_grad():
                outputs: Sequence[torch.Tensor] = module(*tensors)
            return outputs

        return run


@contextmanager
def offer_recording_backend() -> Iterator[RecordingBackend]:
    """Offer a backend as ``backend="recording"`` for the length of a block; within another such block, the same one."""
    registry = registry_of(BACKENDS)
    if NAME in registry:
        offered: RecordingBackend = registry.resolve(NAME).plugin
        yield offered
        return
    backend = RecordingBackend()
    remove = registry.register(backend, NAME)
    try:
        yield backend
    finally:
        remove()
