"""Imports go down only, and importing neuronkit loads nothing heavy."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = {"neuronkit_plugins": ROOT / "plugins", "neuronkit": ROOT / "core", "neuronkit_registry": ROOT / "registry"}
"""Top to bottom."""

PUBLIC = {
    "neuronkit",
    "neuronkit.buckets",
    "neuronkit.errors",
    "neuronkit.export",
    "neuronkit.export.source",
    "neuronkit.hooks",
    "neuronkit.images",
    "neuronkit.models",
    "neuronkit.models.decoder",
    "neuronkit.models.diffusion",
    "neuronkit.options",
    "neuronkit.padding",
    "neuronkit.paths",
    "neuronkit.processors",
    "neuronkit.scaffold",
    "neuronkit.session",
    "neuronkit.shells",
}
"""The modules of the core that a plugin may import: what it declares with, and what it is handed."""

HEAVY = {"diffusers", "huggingface_hub", "numpy", "safetensors", "tokenizers", "torch", "torch_neuronx"}
HEAVY |= {"torch_xla", "transformers"}


def read_modules(package: str) -> list[Path]:
    """Return every module of a layer."""
    return sorted((LAYERS[package] / package).rglob("*.py"))


def read_imports(file: Path) -> Iterator[tuple[str, bool]]:
    """Yield the modules that a file imports, at its top or in a function, and whether it is at import time."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    lazy = {
        id(node)
        for owner in ast.walk(tree)
        if isinstance(owner, (ast.FunctionDef, ast.AsyncFunctionDef))
        or (isinstance(owner, ast.If) and "TYPE_CHECKING" in ast.unparse(owner.test))
        for node in ast.walk(owner)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) not in lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield node.module or "", id(node) not in lazy


def test_layers_have_modules():
    """The walk finds something."""
    assert all(len(read_modules(package)) > 3 for package in LAYERS)


@pytest.mark.parametrize("package", LAYERS)
def test_imports_go_down_only(package):
    """A layer imports itself and those below it."""
    order = list(LAYERS)
    above = set(order[: order.index(package)])
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in read_modules(package)
        for name, _ in read_imports(file)
        if name.partition(".")[0] in above
    ]
    assert not wrong


@pytest.mark.parametrize("package", ["neuronkit", "neuronkit_registry"])
def test_no_file_names_the_plugins(package):
    """A template is a text to the walk above, and what it imports reaches up all the same."""
    files = [file for file in (LAYERS[package] / package).rglob("*") if file.is_file() and file.suffix != ".pyc"]
    assert any(file.suffix == ".tmpl" for file in files) == (package == "neuronkit")
    named = re.compile(r"\bneuronkit_plugins\b")
    wrong = [str(file.relative_to(ROOT)) for file in files if named.search(file.read_text(encoding="utf-8"))]
    assert not wrong


def test_plugins_use_public_modules_only():
    """What a built-in plugin can do, a third party's can."""
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in read_modules("neuronkit_plugins")
        for name, _ in read_imports(file)
        if name.partition(".")[0] in ("neuronkit", "neuronkit_registry") and name not in PUBLIC
    ]
    assert not wrong


def test_public_modules_are_documented():
    """In one table, for whoever writes a plugin."""
    page = (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(neuronkit[\w.]*)` \|", page, re.MULTILINE)) == PUBLIC


def test_registry_imports_no_model_library_anywhere():
    """Not even inside a function."""
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in read_modules("neuronkit_registry")
        for name, _ in read_imports(file)
        if name.partition(".")[0] in HEAVY
    ]
    assert not wrong


@pytest.mark.parametrize(
    "statement",
    [
        "import neuronkit",
        "import neuronkit; dir(neuronkit); list(neuronkit.get_registry())",
        "import neuronkit; neuronkit.hookimpl; neuronkit.ModelPlugin; neuronkit.NeuronkitError",
        "import neuronkit.cli",
    ],
)
def test_import_is_light(statement):
    """Neither importing, nor listing, nor the names of errors and hooks load a library of models."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}
    assert "neuronkit" in loaded
    assert not loaded & (HEAVY | {"neuronkit_plugins"})


def test_public_names_resolve():
    """Every name of ``__all__`` is there, and an unknown one is an AttributeError that names it."""
    import neuronkit

    for name in neuronkit.__all__:
        assert callable(getattr(neuronkit, name))
    with pytest.raises(AttributeError, match="module 'neuronkit' has no attribute 'compil'"):
        neuronkit.compil  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'NeuronModelForTides', and no installed plugin brings it"):
        neuronkit.NeuronModelForTides  # noqa: B018


def test_no_submodule_bears_the_name_of_a_function():
    """``import neuronkit.compile`` would replace the function by the module."""
    import neuronkit

    names = {file.stem for file in (LAYERS["neuronkit"] / "neuronkit").iterdir()}
    assert not names & set(neuronkit.__all__)
