"""What holds for the whole suite: a cache of its own, one thread, and no hub."""

from __future__ import annotations

import os

import pytest

pytest_plugins = ["neuronkit.testing.fixtures", "pytester"]

# torch and huggingface_hub read these when they are imported; processes that tests start inherit them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"


TOGETHER = {"generation", "image"}
"""Folders whose files share what they compile; elsewhere only the tests of one file do."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Give one process all tests that share fixtures: two processes would compile and load everything twice."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            folder = item.path.parent.name
            item.add_marker(pytest.mark.xdist_group(folder if folder in TOGETHER else item.path.name))


@pytest.fixture(scope="session", autouse=True)
def suite_cache(tmp_path_factory):
    """The cache's directory for the whole suite, so that no test reads or fills the developer's own."""
    path = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEURONKIT_CACHE", str(path))
        yield path
