"""`neuronkit list-plugins`: a listing that no plugin can get in the way of."""

from __future__ import annotations

import subprocess
import sys

import pytest

import neuronkit
from neuronkit.cli.probing import probe
from tests.cli.conftest import TIDE

FIELDS = [
    "key",
    "architecture",
    "task",
    "target",
    "package",
    "version",
    "api",
    "origin",
    "status",
    "reason",
    "hint",
]
BAD = {
    "acme-exits": "import os; os._exit(3)",
    "acme-killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "acme-hangs": "import time; time.sleep(600)",
    "acme-raises": "raise RuntimeError('the wrong moon')",
    "acme-leaves": "import sys; sys.exit(0)",
    "acme-empty": "",
}


@pytest.fixture
def bad_plugins(fake_dist):
    """Packages whose import ends in every bad way."""
    for name, source in BAD.items():
        module = name.replace("-", "_")
        fake_dist(name, {f"{name}.some-task": f"{module}:plugin"}, modules={module: source})


@pytest.fixture
def talkative(fake_dist):
    """A package that works, and prints while it is imported."""
    source = f"""
        print("hello from a plugin")
        from {TIDE.split(":")[0]} import plugin
    """
    fake_dist(
        "acme-tides", {"tide.level-prediction": "acme_tides:plugin"}, modules={"acme_tides": source}, version="2.1"
    )


def of_package(found, package):
    (plugin,) = [plugin for plugin in found["plugins"] if plugin["package"] == package]
    return plugin


def test_table(cli):
    ended = cli("list-plugins")
    assert (ended.status, ended.err) == (0, "")
    header, *lines = ended.out.splitlines()
    assert header.split() == ["KEY", "PACKAGE", "VERSION", "API", "STATUS"]
    rows = [line.split() for line in lines if not line.startswith(" ")]
    assert rows == sorted(rows)
    assert any(row[:2] == ["bert.question-answering", "neuronkit"] and row[3] == "v1" for row in rows)


def test_json(cli):
    """The documented schema, one record per candidate, sorted by key and package."""
    found = cli("list-plugins", "--json").json
    assert list(found) == ["schema", "neuronkit", "hook_api", "plugins", "problems"]
    assert (found["schema"], found["neuronkit"], found["hook_api"]) == (1, neuronkit.__version__, [1, 0])
    assert all(list(plugin) == FIELDS for plugin in found["plugins"])
    keys = [(plugin["key"], plugin["package"]) for plugin in found["plugins"]]
    assert keys == sorted(keys)
    assert found["problems"] == []


def test_nothing_heavy_is_imported():
    """Listing is for scripts and shells; the whole process may take a few times what an empty one takes."""
    code = (
        "import sys; from neuronkit.cli import main; status = main(['list-plugins', '--json']);"
        "heavy = {'torch', 'transformers', 'diffusers', 'torch_neuronx', 'rich', 'typer', 'numpy', 'neuronkit_plugins',"
        " 'huggingface_hub', 'cattrs', 'packaging', 'asyncio', 'shutil', 'subprocess'};"
        "print(sorted(heavy.intersection(sys.modules)), file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "[]\n")


def test_by_task_and_package(cli, talkative, registry):
    found = cli("list-plugins", "--task", "level-prediction", "--json").json
    assert [plugin["package"] for plugin in found["plugins"]] == ["acme-tides"]
    found = cli("list-plugins", "--package", "Acme_Tides", "--json").json
    assert [plugin["key"] for plugin in found["plugins"]] == ["tide.level-prediction"]
    older = cli("list-plugins", "--task", "sentence-transformers", "--json").json["plugins"]
    assert {plugin["task"] for plugin in older} == {"sentence-similarity"}
    for alias in ("sentiment-analysis", "sequence-classification", "text_classification"):
        named = cli("list-plugins", "--task", alias, "--json").json["plugins"]
        assert {plugin["task"] for plugin in named} == {"text-classification"}
    ended = cli("list-plugins", "--task", "nothing")
    assert (ended.status, ended.out) == (0, "")
    assert ended.err.startswith("no plugin matches. Tasks: feature-extraction, fill-mask, ")
    assert cli("list-plugins", "--task", "fill-mask", "--package", "nobody").err == "no plugin matches\n"
    ended = cli("list-plugins", "--task", "text_clasification")
    assert (ended.status, ended.out, ended.err) == (
        0,
        "",
        "no plugin matches. Did you mean text-classification?\n",
    )


@pytest.mark.parametrize("seconds", ["0", "-1", "nan"])
def test_no_time_at_all_is_refused(cli, seconds):
    """With it every plugin would be called broken."""
    ended = cli("list-plugins", "--check", f"--timeout={seconds}")
    assert (ended.status, ended.out) == (2, "")
    assert f"neuronkit list-plugins: error: --timeout must be more than 0 (got {seconds})\n" in ended.err


def test_verbose_table(cli, talkative, registry):
    ended = cli("list-plugins", "-v", "--package", "acme-tides")
    assert ended.out.splitlines()[1].split() == [
        "tide.level-prediction",
        "acme-tides",
        "2.1",
        "v1",
        "available",
        "package",
        "acme_tides:plugin",
    ]


def test_reasons_stand_below(cli, talkative, registry, monkeypatch):
    monkeypatch.setenv("NEURONKIT_DISABLE_PLUGINS", "acme-tides")
    ended = cli("list-plugins", "--package", "acme-tides")
    assert "disabled" in ended.out
    assert "    Try: " in ended.out


def test_problems_go_to_stderr(cli, registry, monkeypatch):
    monkeypatch.setenv("NEURONKIT_PLUGINS", "neuronkit,no-such-package")
    ended = cli("list-plugins")
    assert ended.status == 0
    assert ended.err.startswith("problem: ")
    assert "no-such-package" in cli("list-plugins", "--json").json["problems"][0]


def test_every_third_party_plugin_is_broken(cli, bad_plugins, registry):
    """Nothing is imported, so nothing happens."""
    found = cli("list-plugins", "--json").json
    assert {of_package(found, package)["status"] for package in BAD} == {"available"}


def test_check(cli, bad_plugins, talkative, registry):
    """A process each: what crashes, exits or hangs is a line of the result, and the exit status says so."""
    ended = cli("list-plugins", "--check", "--json", "--timeout", "8", "--task", "some-task")
    assert ended.status == 1
    found = ended.json
    assert {plugin["status"] for plugin in found["plugins"]} == {"broken"}
    reasons = {package: of_package(found, package)["reason"] for package in BAD}
    assert reasons["acme-exits"].startswith("Importing it ended the interpreter (exit status 3)")
    assert reasons["acme-killed"].startswith("Importing it killed the interpreter (SIGKILL)")
    assert reasons["acme-hangs"].startswith("Importing it took more than 8 s, and was given up")
    assert "the wrong moon" in reasons["acme-raises"]
    assert "SystemExit" in reasons["acme-leaves"]
    assert "has no attribute 'plugin'" in reasons["acme-empty"]
    assert all("NEURONKIT_DISABLE_PLUGINS=" in of_package(found, package)["hint"] for package in BAD)


def test_what_to_type_after_a_built_in_plugin_that_hangs():
    """One key is set aside, and not neuronkit."""
    record = neuronkit.get_registry()["bert.question-answering"]
    (outcome,) = probe([record], apart=True, seconds=0)
    assert (outcome.info.status, outcome.info.reason) == (
        "broken",
        "Importing it took more than 0 s, and was given up",
    )
    assert outcome.info.hint == (
        "pip install --upgrade neuronkit, or set NEURONKIT_DISABLE_PLUGINS=bert.question-answering@neuronkit to ignore it"
    )


def test_check_of_a_good_one(cli, talkative, registry):
    """What it prints is not part of the result."""
    ended = cli("list-plugins", "--check", "--package", "acme-tides")
    assert ended.status == 0
    assert ended.out.splitlines()[1].split()[-1] == "loaded"
    assert "hello" not in ended.out


def test_check_imports_no_disabled_plugin(cli, fake_dist, registry, monkeypatch, tmp_path):
    source = f"open({str(tmp_path / 'imported')!r}, 'w')"
    fake_dist("acme-spy", {"spy.some-task": "acme_spy:plugin"}, modules={"acme_spy": source})
    monkeypatch.setenv("NEURONKIT_DISABLE_PLUGINS", "acme-spy")
    ended = cli("list-plugins", "--check", "--json", "--package", "acme-spy")
    assert ended.status == 0
    assert [plugin["status"] for plugin in ended.json["plugins"]] == ["disabled"]
    assert not (tmp_path / "imported").exists()


def test_options(cli, fake_dist, talkative, registry):
    """`-v --json` has each plugin's options; in one process, and in another after one that crashes."""
    fake_dist("acme-exits", {"exits.fill-mask": "acme_exits:plugin"}, modules={"acme_exits": BAD["acme-exits"]})
    found = cli("list-plugins", "-v", "--json", "--task", "fill-mask").json
    assert all(list(plugin) == [*FIELDS, "options"] for plugin in found["plugins"])
    tide = of_package(cli("list-plugins", "-v", "--json", "--package", "acme-tides").json, "acme-tides")
    assert tide["status"] == "loaded"
    assert tide["options"]["properties"]["rounding"] == {
        "type": "integer",
        "description": "Digits of a score.",
        "default": 6,
        "minimum": 0,
        "x-stage": None,
    }
    assert of_package(found, "acme-exits")["options"] is None
    assert of_package(found, "acme-exits")["status"] == "broken"
    masked = next(plugin for plugin in found["plugins"] if plugin["key"] == "bert.fill-mask")
    assert "top_k" in masked["options"]["properties"]


@pytest.mark.parametrize("words", [["-v", "--json"], ["--check", "--json"]])
def test_options_that_fail(cli, fake_dist, registry, words):
    """A plugin whose `options` raises is broken, and says why."""
    source = f"""
        from neuronkit import hookimpl
        from {TIDE.split(":")[0]} import Tide

        class Odd(Tide):
            @hookimpl
            def options(self):
                raise ValueError("no options today")

        plugin = Odd()
    """
    fake_dist("acme-odd", {"tide.level-prediction": "acme_odd:plugin"}, modules={"acme_odd": source})
    (plugin,) = cli("list-plugins", *words, "--package", "acme-odd").json["plugins"]
    assert (plugin["status"], plugin.get("options")) == ("broken", None)
    assert "no options today" in plugin["reason"]
