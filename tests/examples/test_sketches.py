"""Sketches of other packages: found by their entry points, used beside the built-in ones, and no harm to these when broken."""

from __future__ import annotations

import ast
import re
import tomllib
import warnings

import pytest

from neuronkit.cli import main
from neuronkit.plugins import SKETCHES, registry_of
from neuronkit.scaffold.names import Names
from neuronkit.scaffold.tasks import find_sketch
from neuronkit.scaffold.writing import substitutions
from tests.examples.packages import ROOT

GROUP = "neuronkit.sketches.v1"
TAGS = """
    from pathlib import Path
    from neuronkit.scaffold import Sketch

    tags = Sketch(
        templates=Path(__file__).parent / "templates",
        base="BertForSequenceClassification",
        suffix="ForTags",
        raw={"text": "caf\\u00e9 \\"1\\"", "exact": True, "limit": None},
        bad_raw=({"text": ""},),
        result="[str]",
        requires=("acme-graphs>=2",),
    )
"""
PLUGIN = '"""$key, a ${prefix}."""\n\nfrom acme_graphs import graph\n'


@pytest.fixture
def sketches(site):
    """The registry of sketches, for one test, which looks at `site` too."""
    registry = registry_of(SKETCHES)
    state = registry.snapshot()
    registry.refresh()
    yield registry
    registry.restore(state)


@pytest.fixture
def acme(fake_dist, site, sketches):
    """A package with a sketch for a task that neuronkit has none for."""
    folder = site / "templates"
    folder.mkdir()
    for name in ("tagging", "model", "sample"):
        (folder / f"{name}.py.tmpl").write_text(PLUGIN)
    fake_dist("acme-graphs", {"tagging": "acme_graphs:tags"}, group=GROUP, modules={"acme_graphs": TAGS})
    return folder


@pytest.fixture
def new_plugin(capsys, tmp_path):
    """A function that runs the command for a task and returns its status, what it prints and the package's folder."""

    def run(task: str):
        capsys.readouterr()
        status = main(["new-plugin", "zeta-kit", "--task", task, "--directory", str(tmp_path / task)])
        return status, capsys.readouterr().err, tmp_path / task / "zeta-kit"

    return run


def test_sketch_of_a_package(acme, new_plugin):
    """What it needs is a requirement, and its examples are Python, not JSON."""
    status, err, root = new_plugin("tagging")
    assert status == 0
    assert "zeta-kit.tagging in 9 files. Next:" in err
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert project["dependencies"] == ["neuronkit>=0.1", "acme-graphs>=2"]
    assert (root / "src/zeta_kit/plugin.py").read_text().startswith('"""zeta-kit.tagging, a ZetaKit."""')
    tests = ast.parse((root / "tests/test_conformance.py").read_text(encoding="utf-8"))
    returned = {
        function.name: function.body[0].value
        for function in ast.walk(tests)
        if isinstance(function, ast.FunctionDef) and isinstance(function.body[0], ast.Return)
    }
    assert ast.literal_eval(returned["raw"]) == {"text": 'café "1"', "exact": True, "limit": None}
    assert ast.literal_eval(returned["bad_raw"]) == [{"text": ""}]


def test_page_has_every_name_of_a_template():
    sketch, _ = find_sketch("fill-mask")
    values = substitutions(Names("acme-bert", "acme-bert", "fill-mask"), sketch)
    page = (ROOT / "docs/plugins/new-plugin.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`\$(\w+)`", page)) == set(values)


def test_its_task_is_listed_without_importing_it(acme, new_plugin, site):
    (site / "acme_graphs.py").write_text("raise SystemExit('imported')")
    status, err, _ = new_plugin("taging")
    assert status == 2
    assert "there is no template for 'taging'. Did you mean 'tagging'?" in err
    assert "sentence-similarity, tagging, text-classification" in err


BROKEN = {
    "fails when imported": (
        {"acme_graphs.py": "import acme_missing"},
        [
            "error: Cannot load plugin 'tagging' from acme-graphs 1.0 (acme_graphs:tags):",
            "No module named 'acme_missing'",
        ],
    ),
    "is no sketch": (
        {"acme_graphs.py": "tags = {}"},
        [
            "error: Sketch 'tagging' from acme-graphs 1.0 (acme_graphs:tags) cannot be used:",
            "it is dict, and has to be a neuronkit.scaffold.Sketch",
            "Try: pip install --upgrade acme-graphs, or set NEURONKIT_DISABLE_PLUGINS=acme-graphs to ignore it.",
        ],
    ),
    "asks for an unknown value": (
        {"templates/model.py.tmpl": "$colour"},
        ["Sketch 'tagging' from acme-graphs 1.0", "model.py.tmpl has $colour, and there are: architecture, bad_raw,"],
    ),
    "is no template": (
        {"templates/model.py.tmpl": "cost: 5 $"},
        ["model.py.tmpl cannot be read as a template: Invalid placeholder in string: line 1, col 9"],
    ),
    "has no template": (
        {"templates/sample.py.tmpl": None},
        ["sample.py.tmpl cannot be read as a template: [Errno 2] No such file"],
    ),
}


@pytest.mark.parametrize(("files", "messages"), BROKEN.values(), ids=BROKEN)
def test_broken_sketch(acme, new_plugin, site, files, messages):
    """It is an error for its own task, with nothing written, and nothing at all for the others."""
    for name, text in files.items():
        if text is None:
            (site / name).unlink()
        else:
            (site / name).write_text(text)
    status, err, root = new_plugin("tagging")
    assert status == 1
    for message in messages:
        assert message in err
    assert "Traceback" not in err
    assert not root.exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        status, err, root = new_plugin("fill-mask")
    assert status == 0, err
    assert "acme" not in err


def test_sketch_for_a_task_that_has_one(acme, new_plugin, fake_dist):
    """The built-in one is used, with a warning; the other is there for those who name its package."""
    (acme / "fill-mask.py.tmpl").write_text(PLUGIN)
    fake_dist("acme-more", {"fill-mask": "acme_graphs:tags"}, group=GROUP)
    status, err, root = new_plugin("fill-mask")
    assert status == 0
    assert err.startswith(
        "warning: 'fill-mask' is built in and also offered by acme-more 1.0; the built-in plugin is used."
    )
    assert "acme_graphs" not in (root / "src/zeta_kit/plugin.py").read_text()
    status, err, root = new_plugin("fill-mask@acme-more")
    assert status == 0
    assert err.startswith("\nzeta-kit.fill-mask in 9 files. Next:")
    assert "acme_graphs" in (root / "src/zeta_kit/plugin.py").read_text()


def test_malformed_and_incompatible_sketches(fake_dist, sketches, new_plugin):
    """Neither is imported; a task that only they are for is refused with the reason and what to do."""
    fake_dist("acme-old", {"tagging": "acme_old:tags"}, group=GROUP, requires=["neuronkit<0.0.1"])
    fake_dist("acme-odd", {"Parsing Trees": "acme_odd:tags"}, group=GROUP)
    status, err, _ = new_plugin("tagging")
    assert status == 1
    assert "requires neuronkit<0.0.1, and this is neuronkit" in err
    assert "pip install --upgrade acme-old" in err
    status, err, _ = new_plugin("parsing")
    assert status == 2
    assert "There are: feature-extraction, fill-mask, multiple-choice, question-answering, sentence-similarity, " in err
    assert "tagging" not in err
    assert "Parsing Trees" not in err
