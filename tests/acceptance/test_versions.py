"""Versions of the hook API: two majors side by side, what a minor may add, and what packages require of neuronkit."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pluggy
import pytest

from neuronkit import hooks
from neuronkit.cli import main
from neuronkit.plugins import MODELS
from neuronkit.testing.fixtures import FakeDist
from neuronkit_registry import Contract, PluginIncompatibleError, Registry, Status
from neuronkit_registry.contract import find_mistakes
from tests.acceptance.test_registry import GOOD

KEY = "acme.some-task"


def spying(file: Path) -> str:
    """Return a good plugin's source that leaves a file behind when it is imported."""
    return f"open({str(file)!r}, 'w').close()\n" + "\n".join(line[4:] for line in GOOD.splitlines())


def test_a_plugin_of_the_next_major_is_listed_and_never_imported(
    fake_dist: FakeDist, isolated_registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The listing, `--check` and a request for the key all leave it alone, and say what to upgrade."""
    imported = tmp_path / "imported"
    group = f"{MODELS.group}.v{hooks.API[0] + 1}"
    fake_dist("acme-next", {KEY: "acme_next:plugin"}, group=group, modules={"acme_next": spying(imported)})
    isolated_registry.refresh()

    assert main(["list-plugins", "--json", "--check", "--package", "acme-next"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["plugins"]
    with pytest.raises(PluginIncompatibleError, match="it uses hook API 2") as caught:
        isolated_registry.resolve(KEY)

    assert (found["key"], found["api"], found["status"]) == (KEY, 2, "incompatible")
    assert found["hint"] == "pip install --upgrade neuronkit"
    assert str(caught.value).endswith("Try: pip install --upgrade neuronkit.")
    assert not imported.exists()
    assert "acme_next" not in sys.modules


def test_two_majors_side_by_side(fake_dist: FakeDist, site: Path, tmp_path: Path) -> None:
    """A package may serve both with an object each; either neuronkit imports its own, and lists what is not for it."""
    spies = {name: tmp_path / name for name in ("for_one", "for_two", "only_two")}
    sources = {name: spying(file) for name, file in spies.items()}
    fake_dist(
        "acme",
        modules=sources,
        entry_points=f"[{MODELS.group}.v1]\n{KEY} = for_one:plugin\n[{MODELS.group}.v2]\n{KEY} = for_two:plugin\n",
    )
    fake_dist("later", {"later.some-task": "only_two:plugin"}, group=f"{MODELS.group}.v2")
    one = Registry(MODELS, environ={}, path=[str(site)])
    two = Registry(attrs.evolve(MODELS, api=(2, 0), version="2.0.0"), environ={}, path=[str(site)])

    assert one.resolve(KEY).info.target == "for_one:plugin"
    assert not spies["for_two"].exists()
    assert two.resolve(KEY).info.target == "for_two:plugin"
    assert one["later.some-task"].status is Status.INCOMPATIBLE
    assert not spies["only_two"].exists()
    assert two.resolve("later.some-task").info.api == 2


class Older:
    """Written for the hooks as they are."""

    @hooks.hookimpl
    def export_config(self, source: Any, shapes: Any) -> Any:
        return source, shapes

    @hooks.hookimpl
    def postprocess(self, outputs: Any, context: Any, options: Any) -> Any:
        return outputs, context, options


@pytest.fixture
def next_minor(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Specifications of a later minor: each hook of the present one has a parameter more, and there is one more hook."""
    module = ModuleType("tests_next_minor")
    source = ["import pluggy", "hookspec = pluggy.HookspecMarker('neuronkit')"]
    manager = pluggy.PluginManager(hooks.PROJECT)
    for name, function in vars(hooks).items():
        if callable(function) and manager.parse_hookspec_opts(hooks, name):
            parameters = function.__code__.co_varnames[: function.__code__.co_argcount]
            source += ["@hookspec(firstresult=True)", f"def {name}({', '.join([*parameters, 'added'])}): ..."]
    source += ["@hookspec(firstresult=True)", "def warm_up(session): ..."]
    exec("\n".join(source), module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_a_minor_may_add_parameters_and_hooks(next_minor: ModuleType) -> None:
    """An older plugin keeps the contract, is called with what it names, and is passed over by the new hook."""
    contract = Contract(specs=next_minor.__name__, project=hooks.PROJECT, required=hooks.REQUIRED_HOOKS)
    assert find_mistakes(Older(), contract) == []

    manager = pluggy.PluginManager(hooks.PROJECT)
    manager.add_hookspecs(next_minor)
    manager.register(Older())
    manager.check_pending()
    assert manager.hook.export_config(source=1, shapes=2, options=3, added=4) == (1, 2)
    assert manager.hook.postprocess(outputs=1, context=2, options=3, added=4) == (1, 2, 3)
    assert manager.hook.warm_up(session=None) is None


def test_a_newer_plugin_says_what_it_needs(next_minor: ModuleType, fake_dist: FakeDist, site: Path) -> None:
    """One that names an added parameter breaks the older contract, in words; what it requires keeps it from being tried."""

    class Newer(Older):
        @hooks.hookimpl
        def export_config(self, source: Any, added: Any) -> Any:
            return source, added

    assert MODELS.contract is not None
    (mistake,) = find_mistakes(Newer(), MODELS.contract)
    assert "the hook 'export_config' has no parameter 'added' (source, shapes, options)" in mistake
    contract = Contract(specs=next_minor.__name__, project=hooks.PROJECT, required=hooks.REQUIRED_HOOKS)
    assert find_mistakes(Newer(), contract) == []


@pytest.mark.parametrize(
    ("requires", "status"),
    [
        ("neuronkit>=0.1", Status.AVAILABLE),
        ("neuronkit>=7", Status.INCOMPATIBLE),
        ("neuronkit==0.0.*", Status.INCOMPATIBLE),
    ],
)
def test_what_a_package_requires_is_read_without_importing_it(
    requires: str, status: Status, fake_dist: FakeDist, isolated_registry: Registry, tmp_path: Path
) -> None:
    """``Requires-Dist`` decides; a package that needs another neuronkit is named with the requirement."""
    imported = tmp_path / "imported"
    fake_dist("acme", {KEY: "acme_spy:plugin"}, modules={"acme_spy": spying(imported)}, requires=["attrs", requires])
    isolated_registry.refresh()

    assert isolated_registry[KEY].status is status
    if status is Status.INCOMPATIBLE:
        assert requires in str(isolated_registry[KEY].reason)
        with pytest.raises(PluginIncompatibleError, match="requires neuronkit"):
            isolated_registry.resolve(KEY)
    assert not imported.exists()
