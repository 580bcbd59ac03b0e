"""Distributions that are written on the spot: real metadata and modules in a folder of the test's own."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

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
FakeDist = Callable[..., Path]
MakeRegistry = Callable[..., Registry]


def write_distribution(
    site: Path,
    name: str,
    plugins: Mapping[str, str] = {},
    *,
    version: str = "1.0",
    group: str = "neuronkit.models.v1",
    entry_points: str | None = None,
    modules: Mapping[str, str] = {},
    requires: Sequence[str] = (),
) -> Path:
    """
    Write a distribution as pip leaves it.

    Args:
        site: Where, as ``site-packages``.
        name: Name of the package.
        plugins: Its entry points in `group`.
        version: Its version.
        group: The entry-point group.
        entry_points: The text of ``entry_points.txt`` instead.
        modules: Source by the name of the module.
        requires: Lines of ``Requires-Dist``.

    Returns:
        The metadata directory.
    """
    metadata = site / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir(parents=True)
    headers = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    headers += [f"Requires-Dist: {requirement}" for requirement in requires]
    (metadata / "METADATA").write_text("\n".join(headers) + "\n\nDescription\n")
    if entry_points is None:
        entry_points = f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in plugins.items())
    (metadata / "entry_points.txt").write_text(entry_points)
    for module, source in modules.items():
        (site / f"{module}.py").write_text(textwrap.dedent(source).lstrip("\n"))
    return metadata


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on `sys.path` whose modules are forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield folder
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture
def fake_dist(site: Path) -> FakeDist:
    """A function that writes a distribution into `site`, or into `into`."""

    def write(name: str, plugins: Mapping[str, str] = {}, *, into: Path | None = None, **details: object) -> Path:
        written = write_distribution(into or site, name, plugins, **details)  # type: ignore[arg-type]
        importlib.invalidate_caches()
        return written

    return write


@pytest.fixture
def make_registry(site: Path) -> MakeRegistry:
    """A function that returns a registry of `site` alone; keywords are environment variables."""

    def make(family: Family = MODELS, path: Sequence[Path] | None = None, **environ: str) -> Registry:
        return Registry(family, environ=environ, path=[str(item) for item in path or [site]])

    return make
