"""
Fixtures for the tests of a plugin, an extension or a backend. None of them acts unless a test asks for it.

Write ``pytest_plugins = ["neuronkit.testing.fixtures"]`` in the top ``conftest.py``, or import those that you want there.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import neuronkit
from neuronkit.testing.distributions import write_distribution
from neuronkit_registry import Registry

if TYPE_CHECKING:
    from neuronkit.testing.recording import RecordingBackend

_ITEM = re.compile(r"::\w+::(?P<name>\w+)(\[(?P<key>.*)\])?(@[^@\]]*)?$")
"""Class and method of an item; xdist adds its group after an @."""
_OUTCOMES = {"passed": "kept", "xfailed": "not kept, for a reason", "failed": "broken"}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many promises of plugins were checked, and what came of it."""
    from neuronkit.testing.conformance import PluginConformance
    from neuronkit.testing.promises import PREFIX, promises_of

    promises = {f"{PREFIX}{name}" for name in promises_of(PluginConformance)}
    counts: dict[str, int] = {}
    keys: set[str] = set()
    for outcome, words in _OUTCOMES.items():
        for report in terminalreporter.getreports(outcome):
            found = _ITEM.search(report.nodeid)
            if found and found["name"] in promises:
                counts[words] = counts.get(words, 0) + 1
                keys |= {found["key"]} - {None}
    if counts:
        said = ", ".join(f"{count} {words}" for words, count in counts.items())
        terminalreporter.write_sep("-", f"promises of plugins, {len(keys)} keys: {said}")


FakeDist = Callable[..., Path]
"""``fake_dist(name, plugins, into=None, **details)``: see `neuronkit.testing.distributions.write_distribution`."""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on `sys.path`, as ``site-packages``, whose modules are forgotten afterwards."""
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
    """
    A function that installs a distribution into `site`, or into `into`.

    ``fake_dist("acme", {"acme.fill-mask": "acme:plugin"}, modules={"acme": "..."}, version="1.0", requires=["neuronkit<2"])``.
    """

    def write(
        name: str, plugins: Mapping[str, str] | None = None, *, into: Path | None = None, **details: object
    ) -> Path:
        written = write_distribution(into or site, name, plugins, **details)  # type: ignore[arg-type]
        importlib.invalidate_caches()
        return written

    return write


@pytest.fixture
def isolated_registry(site: Path) -> Iterator[Registry]:
    """
    The process's registry of model plugins, for one test: it looks anew at what is installed, `site` included.

    What the test registers and imports is forgotten afterwards. Installed in the middle of a test, a package is found after
    ``isolated_registry.refresh()``.
    """
    registry = neuronkit.get_registry()
    state = registry.snapshot()
    registry.refresh()
    yield registry
    registry.restore(state)


@pytest.fixture
def echo_plugin(isolated_registry: Registry) -> Iterator[str]:
    """The key of a tiny plugin that is registered for the test; `neuronkit.testing.echo` writes its checkpoints."""
    from neuronkit.testing.echo import KEY, plugin

    with isolated_registry.temporary(plugin, KEY):
        yield KEY


@pytest.fixture
def echo_checkpoint(tmp_path: Path) -> Path:
    """A checkpoint for `echo_plugin`: ``neuronkit.compile(echo_checkpoint, output, task=echo_plugin, optlevel=1)``."""
    from neuronkit.testing.echo import write_checkpoint

    return write_checkpoint(tmp_path / "echo")


@pytest.fixture
def recording_backend() -> Iterator[RecordingBackend]:
    """The backend of ``neuronkit.compile(..., backend="recording", cache=False)``, which keeps what it was asked."""
    from neuronkit.testing.recording import offer_recording_backend

    with offer_recording_backend() as backend:
        yield backend
