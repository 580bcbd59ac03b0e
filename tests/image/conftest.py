"""Checkpoints and what is compiled from them, made once for all tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("diffusers")

import neuronkit
from tests.image import checkpoints


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Callable[[str], Path]:
    """Return the directory of a checkpoint by the name of a recipe."""
    root = tmp_path_factory.mktemp("checkpoints")

    def make(name: str) -> Path:
        return root / name if (root / name).is_dir() else checkpoints.RECIPES[name](root / name)

    return make


@pytest.fixture(scope="session")
def artifact(checkpoint, tmp_path_factory) -> Callable[..., Path]:
    """Return the artifact of a recipe's checkpoint, compiled once for each set of options."""
    root = tmp_path_factory.mktemp("artifacts")
    made: dict[str, Path] = {}

    def make(name: str, **options: Any) -> Path:
        key = repr((name, sorted(options.items())))
        if key not in made:
            made[key] = root / str(len(made))
            neuronkit.compile(checkpoint(name), made[key], **{"optlevel": 1, **options})
        return made[key]

    return make
