"""Plugins that come and fail in ways that only whole processes and real packages show."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

import neuronkit
from neuronkit.testing.fixtures import FakeDist
from neuronkit_registry import PluginContractError, PluginLoadError, Registry, Status

GOOD = """
    from neuronkit import hookimpl

    class Plugin:
        @hookimpl
        def export_config(self, source):
            raise NotImplementedError

        @hookimpl
        def postprocess(self, outputs):
            return outputs

    plugin = Plugin()
"""


def resolve_there(key: str) -> tuple[int, object]:
    """Resolve a key in a worker, and send back what came of it."""
    return os.getpid(), neuronkit.get_registry().resolve(key).info


def test_plugins_and_their_errors_in_a_worker(
    fake_dist: FakeDist, isolated_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spawned worker finds the same plugin; records and errors come back whole, and the worker lives on."""
    fake_dist("acme", {"acme.some-task": "acme_good:plugin"}, modules={"acme_good": GOOD})
    fake_dist("worse", {"worse.some-task": "acme_missing:plugin"}, version="2.0")
    isolated_registry.refresh()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        worker, info = pool.submit(resolve_there, "acme.some-task").result(timeout=600)
        with pytest.raises(PluginLoadError) as caught:
            pool.submit(resolve_there, "worse.some-task").result(timeout=600)
        same_worker, again = pool.submit(resolve_there, "acme.some-task").result(timeout=600)

    assert worker == same_worker != os.getpid()
    assert info == again == isolated_registry.resolve("acme.some-task").info
    with pytest.raises(PluginLoadError) as here:
        isolated_registry.resolve("worse.some-task")
    assert str(caught.value) == str(here.value)
    assert (caught.value.summary, caught.value.reason, caught.value.hint) == (
        here.value.summary,
        here.value.reason,
        here.value.hint,
    )


def test_a_default_on_an_implementation_breaks_that_plugin_alone(
    fake_dist: FakeDist, isolated_registry: Registry
) -> None:
    """pluggy would never pass the argument; the message names the parameter, the file and the line."""
    bad = GOOD.replace("postprocess(self, outputs)", "postprocess(self, outputs, context=None)")
    fake_dist("acme", {"acme.some-task": "acme_bad:plugin"}, modules={"acme_bad": bad})
    fake_dist("zeta", {"zeta.some-task": "zeta_good:plugin"}, modules={"zeta_good": GOOD})
    isolated_registry.refresh()

    with pytest.raises(PluginContractError) as caught:
        isolated_registry.resolve("acme.some-task")

    assert "'context' has a default value, so its argument is never passed; remove the default" in str(caught.value)
    assert f"[{Path(sys.modules['acme_bad'].__file__ or '')}, line 8]" in str(caught.value)
    assert isolated_registry["acme.some-task"].status is Status.BROKEN
    assert isolated_registry.resolve("zeta.some-task").info.package == "zeta"
