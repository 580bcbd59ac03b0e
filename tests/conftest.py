"""What holds for the whole suite: a cache of its own, one thread, and no hub."""

from __future__ import annotations

import os

import pytest

pytest_plugins = ["neuronkit.testing.fixtures", "pytester"]

# torch and huggingface_hub read these when they are imported; processes that tests start inherit them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session", autouse=True)
def suite_cache(tmp_path_factory):
    """The cache's directory for the whole suite, so that no test reads or fills the developer's own."""
    path = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEURONKIT_CACHE", str(path))
        yield path
