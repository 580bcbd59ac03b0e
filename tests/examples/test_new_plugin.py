"""``neuronkit new-plugin``: names, refusals, and packages that install, compile, run and pass their own tests untouched."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable

import pytest

import neuronkit
from neuronkit.cli import main
from neuronkit.plugins import SKETCHES, registry_of
from neuronkit.scaffold.tasks import find_sketch, sketched_tasks
from neuronkit.testing.forms import mismatch
from tests.examples import generated
from tests.examples.conftest import GENERATED
from tests.examples.packages import Site

LAYERS = {"neuronkit", "neuronkit_plugins", "neuronkit_registry"}
TASKS = sketched_tasks()
ENCODERS = [
    task for task in TASKS if registry_of(SKETCHES)[task].target.partition(":")[0] == "neuronkit.scaffold.encoders"
]


@pytest.fixture
def new_plugin(capsys, tmp_path):
    """A function that runs the command on words and returns its status and what it prints."""

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["new-plugin", *words, "--directory", str(tmp_path)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_prints_the_directory_and_what_is_next(new_plugin, tmp_path):
    status, out, err = new_plugin("acme-bert", "--task", "question-answering")
    assert (status, out) == (0, f"{tmp_path / 'acme-bert'}\n")
    assert err.splitlines() == [
        "",
        "acme-bert.question-answering in 9 files. Next:",
        f"  cd {tmp_path / 'acme-bert'}",
        '  pip install --editable ".[test]"',
        "  python -m acme_bert.sample ./sample",
        "  neuronkit compile --model ./sample --task question-answering --sequence-length 64 -O1 ./artifact",
        '  neuronkit run ./artifact --question "Where is it?" --context "It is in the house."',
        "  pytest",
    ]


def test_writes_a_package(new_plugin, tmp_path):
    """The entry point is one key of one module, in the group of this hook API; programs parse, and nothing is left to fill in."""
    _, out, _ = new_plugin("acme-bert", "--task", "question-answering", "--json")
    printed = json.loads(out)
    root = tmp_path / "acme-bert"
    files = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    assert files == sorted(printed["files"])
    assert (printed["key"], printed["next"][-1]) == ("acme-bert.question-answering", "pytest")
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert project["entry-points"] == {
        "neuronkit.models.v1": {"acme-bert.question-answering": "acme_bert.plugin:plugin"}
    }
    assert project["dependencies"] == ["neuronkit>=0.1"]
    assert '"acme-bert.question-answering" = ' in (root / "pyproject.toml").read_text()
    texts = {path: (root / path).read_text() for path in files}
    for path, text in texts.items():
        assert "$" not in text.replace("$ ", "").replace("${{ matrix.python }}", ""), path
    assert all(ast.get_docstring(ast.parse(text)) for path, text in texts.items() if path.endswith(".py"))
    assert [path for path in tmp_path.iterdir() if path != root] == []


@pytest.mark.parametrize("task", TASKS)
def test_programs_need_no_formatting(task, new_plugin, tmp_path):
    """Whoever begins with a template finds nothing to tidy up first."""
    new_plugin("acme-bert", "--task", task)
    ruff = [sys.executable, "-m", "ruff"]
    rules = ["--isolated", "--no-cache", "--line-length", "120"]
    for command in (["format", "--check", *rules], ["check", "--select", "B,C4,E,F,I,N,RET,SIM,UP,W", *rules]):
        ended = subprocess.run([*ruff, *command], cwd=tmp_path / "acme-bert", capture_output=True, text=True)
        assert ended.returncode == 0, ended.stdout


def test_architecture_of_its_own(new_plugin, tmp_path):
    status, _, err = new_plugin("acme.models", "--architecture", "acme-gpt_2", "--task", "text-generation")
    assert status == 0
    assert err.splitlines()[1] == "acme-gpt_2.text-generation in 9 files. Next:"
    model = (tmp_path / "acme.models" / "src" / "acme_models" / "model.py").read_text()
    assert "class AcmeGpt2LMHeadModel(GPT2LMHeadModel):" in model
    assert 'model_type = "acme-gpt_2"' in model


def test_pipeline_is_found_by_its_class(new_plugin, tmp_path):
    """Diffusers writes the name of the class into the checkpoint, so the architecture is what that name gives."""
    from neuronkit.export.source import diffusers_slug

    new_plugin("acme-sd-xl", "--task", "stable-diffusion")
    project = tomllib.loads((tmp_path / "acme-sd-xl" / "pyproject.toml").read_text())["project"]
    assert list(project["entry-points"]["neuronkit.models.v1"]) == ["acme-sd-xl.text-to-image"]
    assert project["dependencies"] == ["neuronkit[diffusion]>=0.1"]
    assert diffusers_slug("AcmeSdXlPipeline") == "acme-sd-xl"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["Acme Bert!", "--task", "fill-mask"], "such as acme-bert (got 'Acme Bert!'). Try: acme-bert\n"),
        (["7", "--task", "fill-mask"], "such as acme-bert (got '7').\n"),
        (["acme", "--architecture", "7b", "--task", "fill-mask"], "architecture: must begin with a letter"),
        (["acme", "--architecture", "Acme", "--task", "fill-mask"], "(got 'Acme')."),
        (["json", "--task", "fill-mask"], "'json' is a word of Python itself. Try: json-plugin\n"),
        (["neuronkit", "--task", "fill-mask"], "there is a module 'neuronkit' already"),
        (["bert", "--task", "fill-mask"], "'bert.fill-mask' is a key of neuronkit"),
        (["acme", "--architecture", "acme-model", "--task", "text-to-image"], "diffusers would call it 'acme'"),
        (
            ["acme", "--task", "question-answerin"],
            "'question-answerin'. Did you mean 'question-answering'? There are: feat",
        ),
        (["acme", "--task", "inpainting"], "there is no template for 'inpainting'. There are: feature-extraction,"),
        (
            ["acme", "--task", "image-segmentation"],
            'A plugin may be for any task: it is in the key in pyproject.toml, which becomes "<architecture>.image-segmentation".',
        ),
        (["acme"], "required: --task"),
    ],
)
def test_refuses_names_and_tasks(new_plugin, tmp_path, words, message):
    status, out, err = new_plugin(*words)
    assert (status, out) == (2, "")
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_refuses_a_directory_that_is_not_empty(new_plugin, tmp_path):
    """What is there stays as it was; an empty directory is filled."""
    (tmp_path / "acme-bert").mkdir()
    (tmp_path / "acme-bert" / "mine.txt").write_text("mine")
    status, out, err = new_plugin("acme-bert", "--task", "fill-mask")
    assert (status, out) == (1, "")
    assert err == (
        f"error: {tmp_path / 'acme-bert'} exists already; nothing was written. "
        "Try: another name, or --directory of another place\n"
    )
    assert [path.name for path in (tmp_path / "acme-bert").iterdir()] == ["mine.txt"]
    (tmp_path / "acme-bert" / "mine.txt").unlink()
    assert new_plugin("acme-bert", "--task", "fill-mask")[0] == 0


def test_refuses_a_place_that_cannot_be_written(capsys, tmp_path):
    """A message, and no traceback."""
    (tmp_path / "file").touch()
    assert (
        main(["new-plugin", "acme-bert", "--task", "fill-mask", "--directory", str(tmp_path / "file" / "below")]) == 1
    )
    below = tmp_path / "file" / "below" / "acme-bert"
    assert capsys.readouterr() == ("", f"error: Cannot write beside {below}: Not a directory.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("task", ENCODERS)
def test_encoders_run(task, new_plugin, tmp_path, monkeypatch, recording_backend):
    """Every template, without a compiler; one of each kind goes through pip and the conformance kit."""
    (sketch, _), name = find_sketch(task), f"acme-{task}"
    new_plugin(name, "--task", task)
    monkeypatch.syspath_prepend(str(tmp_path / name / "src"))
    module = name.replace("-", "_")
    sample = importlib.import_module(f"{module}.sample").make_sample(tmp_path / "sample")
    plugin = importlib.import_module(f"{module}.plugin").plugin
    with neuronkit.get_registry().temporary(plugin, f"{name}.{task}"):
        neuronkit.compile(
            sample,
            tmp_path / "artifact",
            task=task,
            backend="recording",
            cache=False,
            static=True,
            **sketch.test_shapes,
        )
        pipe = neuronkit.pipeline(tmp_path / "artifact")
        one = pipe(**sketch.raw)
        assert mismatch(one, eval(sketch.result)) is None
        if "texts" in sketch.modules:
            several = pipe(text=[f"{sketch.raw['text']} And more of it.", sketch.raw["text"], sketch.raw["text"]])
            assert len(several) == 3
            assert mismatch(several[1], eval(sketch.result)) is None
        for bad in sketch.bad_raw:
            with pytest.raises(neuronkit.NeuronkitError):
                pipe(**bad)


def test_encoder_installs_compiles_and_runs(used):
    """Its own tests run with those of the examples, in `test_own_tests`."""
    generated.check(GENERATED, used.site, used.generated)


@pytest.mark.heavy
@pytest.mark.parametrize("task", [task for task in generated.FIELDS if task != GENERATED])
def test_decoder_and_diffusion_install_compile_run_and_pass_their_own_tests(task, tmp_path):
    """Half a minute of CPU time each, hence heavy."""
    site = Site(tmp_path / "site", tmp_path)
    package = generated.generate(task, tmp_path)
    site.install(package)
    generated.check(task, site, site.commands(*generated.commands(task)))
    counts, passed = site.run_tests(package)
    assert counts.keys() <= {"passed", "warning"}
    assert len(passed) >= 10


@pytest.mark.parametrize("task", TASKS)
def test_what_a_package_uses_of_neuronkit_is_there(task, tmp_path):
    """
    Packages import from the built-in plugins, too: renaming there what they were written with breaks them.

    So does another parameter: their calls have to fit what they call.
    """
    calls = 0
    for path in generated.generate(task, tmp_path).rglob("*.py"):
        tree = ast.parse(path.read_text())
        imported = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] in LAYERS:
                module = importlib.import_module(str(node.module))
                for name in node.names:
                    assert hasattr(module, name.name), f"{node.module} has no {name.name}"
                    imported[name.asname or name.name] = getattr(module, name.name)
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in imported:
                assert mistake_of(call, imported[call.func.id]) is None, f"{path.name}: {ast.unparse(call)}"
                calls += 1
    assert calls


def mistake_of(call: ast.Call, called: Callable[..., object]) -> str | None:
    """Return why the arguments that a program writes do not fit, or None; those that it unpacks may be any."""
    if isinstance(called, type) and issubclass(called, Exception):
        return None  # takes anything, and has no signature
    signature = inspect.signature(called)
    positional = [one for one in call.args if not isinstance(one, ast.Starred)]
    keywords = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    whole = len(positional) == len(call.args) and len(keywords) == len(call.keywords)
    try:
        (signature.bind if whole else signature.bind_partial)(*positional, **keywords)
    except TypeError as error:
        return str(error)
    return None
