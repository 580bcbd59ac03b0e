"""Registries of packages that are written on the spot, and of nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from neuronkit.testing.fixtures import FakeDist as FakeDist
from neuronkit_registry import PLAIN_KEYS, Contract, Family, Registry

SPECS = "tests.registry.specs"
MODELS = Family(
    group="neuronkit.models",
    api=(1, 0),
    builtin="neuronkit",
    version="1.2.0",
    contract=Contract(specs=SPECS, project="neuronkit", required=("export_config", "postprocess")),
)
EXTENSIONS = Family(
    group="neuronkit.extensions",
    api=(1, 0),
    builtin="neuronkit",
    version="1.2.0",
    keys=PLAIN_KEYS,
    contract=Contract(specs=SPECS, project="neuronkit", allowed=("forward",), wrappers_only=True),
)
BACKENDS = Family(
    group="neuronkit.backends",
    api=(1, 0),
    builtin="neuronkit",
    version="1.2.0",
    keys=PLAIN_KEYS,
    builtins_always_allowed=True,
)
GOOD = """
    from tests.registry.specs import hookimpl

    class Plugin:
        @hookimpl
        def export_config(self, source): return "config"

        @hookimpl
        def postprocess(self, outputs, context): return outputs

    plugin = Plugin()
"""
MakeRegistry = Callable[..., Registry]


@pytest.fixture
def make_registry(site: Path) -> MakeRegistry:
    """A function that returns a registry of `site` alone; keywords are environment variables."""

    def make(family: Family = MODELS, path: Sequence[Path] | None = None, **environ: str) -> Registry:
        return Registry(family, environ=environ, path=[str(item) for item in path or [site]])

    return make
