"""The distribution: a wheel holds every file of the three packages, templates and type marks among them."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("core/neuronkit", "plugins/neuronkit_plugins", "registry/neuronkit_registry")


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """What a wheel of this tree holds."""
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(directory), str(ROOT)], check=True)
    (wheel,) = directory.glob("neuronkit-*.whl")
    with zipfile.ZipFile(wheel) as opened:
        return set(opened.namelist())


@pytest.mark.parametrize("package", PACKAGES)
def test_a_wheel_has_every_file(names, package):
    """Under the name that it is imported by."""
    folder = ROOT / package
    files = {path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path.relative_to(folder.parent).as_posix() for path in files} <= names


def test_a_wheel_has_nothing_else(names):
    """Neither tests nor benchmarks would be found under a name of their own."""
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {Path(package).name for package in PACKAGES}


def test_commands_and_plugins_are_declared(names):
    """What makes ``neuronkit`` a command, and the built-in plugins plugins."""
    assert any(name.endswith(".dist-info/entry_points.txt") for name in names)
