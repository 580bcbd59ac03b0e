"""The guide says what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuronkit.backends.neuron.flags import RECIPES
from neuronkit.backends.neuron.sdk import INSTALL
from neuronkit.backends.neuron.targets import TARGETS

GUIDE = Path(__file__).parents[2] / "docs/neuron.md"
ROWS = {
    cells[0].split(",")[0].strip("`"): cells
    for line in GUIDE.read_text().splitlines()
    if line.startswith("| ") and len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 5
}


def test_every_kind_has_a_row():
    assert set(ROWS) - {"kind"} == {kind or "none" for kind in RECIPES}


@pytest.mark.parametrize("kind", RECIPES)
def test_the_row_is_the_recipe(kind):
    recipe = RECIPES[kind]
    _, model_type, further, environment, loading = ROWS[kind or "none"]

    assert model_type == f"`{recipe.model_type}`"
    assert ("--enable-saturate-infinity" in further) is recipe.saturate_infinity
    assert ("--enable-fast-loading-neuron-binaries" in further) is recipe.fast_loading
    assert ("NEURON_FUSE_SOFTMAX=1" in environment) is recipe.fuse_softmax
    assert loading.split(", ") == [
        word for word, on in (("lazy", recipe.lazy_load), ("async", recipe.async_load)) if on
    ] or (loading == "" and not recipe.lazy_load and not recipe.async_load)


def test_the_install_command_is_the_one_of_the_errors():
    assert INSTALL in GUIDE.read_text()


def test_every_target_is_named():
    assert all(target in GUIDE.read_text() for target in TARGETS)
