"""What holds for the whole suite: a cache that its processes share, one thread, and no hub."""

from __future__ import annotations

import os
import signal
from pathlib import PurePosixPath

import pytest

pytest_plugins = ["neuronkit.testing.fixtures", "pytester"]

# torch and huggingface_hub read these when they are imported; processes that tests start inherit them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session", autouse=True)
def interruptible():
    """Interrupts reach tests that send them: a shell lets what it runs in the background ignore them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


TOGETHER = {"examples", "generation", "image"}
"""Folders whose files share what they compile; elsewhere only the tests of one file do."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give one process all tests that share fixtures: two processes would compile and load everything twice."""
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = PurePosixPath(nodeid.partition("::")[0])
            return file.parent.name if file.parent.name in TOGETHER else str(file)

    return Together(config, log)


@pytest.fixture(scope="session", autouse=True)
def suite_cache(tmp_path_factory):
    """The cache's directory for the whole suite, so that no test reads or fills the developer's own."""
    base = tmp_path_factory.getbasetemp()
    path = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    path.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEURONKIT_CACHE", str(path))
        yield path
