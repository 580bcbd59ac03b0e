"""A backend that runs the traced module as it is: all of the journey but the export, which takes seconds a graph."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from neuronkit.backends.base import Capabilities, CompiledGraph
from neuronkit.plugins import BACKENDS, registry_of


class EagerBackend:
    """Keeps modules in this process; what it compiles must not come from a cache."""

    name = "eager"
    capabilities = Capabilities(dynamic_axes=True)

    def __init__(self) -> None:
        self.modules: list[torch.nn.Module] = []
        self.shapes: list[tuple[int, ...]] = []

    def check_options(self, options: Any) -> None:
        """Accept all."""
        assert not options.cache

    def fingerprint(self, options: Any) -> dict[str, Any]:
        """Return nothing that matters."""
        return {}

    def incompatibility(self, fingerprint: Any) -> str | None:
        """Return None."""
        return None

    def cannot_run(self) -> str | None:
        """Return None."""
        return None

    def place(self, manifest: Any, placement: str | None) -> EagerBackend:
        """Return the backend."""
        return self

    def compile(self, graph: Any, bucket: Any, module: Any, options: Any, directory: Path) -> CompiledGraph:
        """Keep the module and write its number."""
        self.modules.append(module)
        (directory / "module.txt").write_text(str(len(self.modules) - 1))
        return CompiledGraph(directory, "module.txt")

    def load(self, directory: Path, compiled: Any, weights: Any) -> Any:
        """Return the module that the number means."""
        module = self.modules[int((directory / compiled.entry).read_text())]

        def run(tensors: Any) -> Any:
            self.shapes.append(tuple(tensors[0].shape))
            with torch.no_grad():
                return module(*tensors)

        return run


@contextmanager
def eager_backend() -> Iterator[EagerBackend]:
    """Offer the backend as ``backend="eager"``; within another offer, the same one."""
    registry = registry_of(BACKENDS)
    if "eager" in registry:
        yield registry.resolve("eager").plugin
        return
    backend = EagerBackend()
    remove = registry.register(backend, "eager")
    try:
        yield backend
    finally:
        remove()
