"""The tutorial's files are written, its commands run, and what they print is what the page shows."""

from __future__ import annotations

import re
import runpy
import sys
import tomllib

import pytest

import neuronkit
from neuronkit.testing.distributions import write_distribution
from tests.docs.programs import DOCS, read_steps, run_steps

PAGE = "plugins/tutorial.md"
FILE = re.compile(r'^```\w+ title="(.*?)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def files():
    """Return the texts of the page's files by their names."""
    return dict(FILE.findall((DOCS / PAGE).read_text(encoding="utf-8")))


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A directory with the package, and stand-ins for pip and python that work on this process."""
    for name, text in {"acme_bytes/__init__.py": "", **files()}.items():
        (tmp_path / "acme-bytes" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "acme-bytes" / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def pip(words):
        assert words == ["install", "--editable", "./acme-bytes"]
        project = tomllib.loads(files()["pyproject.toml"])["project"]
        write_distribution(
            tmp_path / "site",
            project["name"],
            project["entry-points"]["neuronkit.models.v1"],
            version=project["version"],
        )
        paths = [str(tmp_path / "site"), str(tmp_path / "acme-bytes")]
        for path in paths:
            monkeypatch.syspath_prepend(path)
        monkeypatch.setenv("PYTHONPATH", ":".join(paths))
        neuronkit.get_registry().refresh()
        return ""

    def python(words):
        assert words[0] == "-m"
        monkeypatch.setattr(sys, "argv", words[1:])
        runpy.run_module(words[1], run_name="__main__")
        return ""

    (tmp_path / "acme-bytes/tests").mkdir()
    text = (DOCS / "plugins/new-plugin.md").read_text(encoding="utf-8")
    (tmp_path / "acme-bytes/tests/test_conformance.py").write_text(
        dict(FILE.findall(text))["tests/test_conformance.py"]
    )

    registry = neuronkit.get_registry()
    state = registry.snapshot()
    yield tmp_path, {"pip": pip, "python": python}
    registry.restore(state)
    for name in [name for name in sys.modules if name.split(".")[0] == "acme_bytes"]:
        del sys.modules[name]


def test_tutorial(package, exported_only):
    """Every output on the page is what is printed."""
    directory, stand_ins = package
    done = run_steps(PAGE, directory, commands=stand_ins)
    shown = 0
    for step in done:
        if step.step.shown:
            assert step.out.rstrip() == step.step.shown, step.step.text
            shown += 1
    assert shown >= 5
    program = next(step for step in done if step.step.kind == "python")
    page = (DOCS / PAGE).read_text(encoding="utf-8")
    assert page.partition(program.step.text)[2].partition("```text\n")[2].startswith(program.out)
    compiled = next(step for step in done if step.step.text.startswith("neuronkit compile"))
    assert "validated: max abs difference" in compiled.err


def test_the_mistake_that_the_page_names_is_found(package):
    """A parameter that the hook does not have is a line in the listing."""
    from neuronkit.cli import main

    directory, stand_ins = package
    plugin = directory / "acme-bytes/acme_bytes/plugin.py"
    plugin.write_text(
        plugin.read_text().replace("(self, outputs, context, options)", "(self, output, context, options)")
    )
    stand_ins["pip"](["install", "--editable", "./acme-bytes"])
    with pytest.raises(neuronkit.NeuronkitError, match="postprocess"):
        neuronkit.get_registry().resolve("byte-scores.text-classification")
    assert "broken" in (DOCS / PAGE).read_text(encoding="utf-8")
    assert main(["list-plugins", "--package", "acme-bytes"]) == 0


def test_the_page_has_files_and_steps():
    """The page is read at all."""
    assert set(files()) == {"pyproject.toml", "acme_bytes/model.py", "acme_bytes/train.py", "acme_bytes/plugin.py"}
    assert len(read_steps(PAGE)) >= 7
