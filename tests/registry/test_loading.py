from __future__ import annotations

import sys
from pathlib import Path

import pytest

from neuronkit_registry import (
    MalformedTargetError,
    Origin,
    PluginContractError,
    PluginInfo,
    PluginLoadError,
    Status,
    check_candidate,
)
from tests.registry.conftest import BACKENDS, GOOD, MODELS, FakeDist, MakeRegistry

KEY = "bert.question-answering"
IGNORE = "or set NEURONKIT_DISABLE_PLUGINS=acme to ignore it."


def failure_of(make_registry: MakeRegistry) -> PluginLoadError:
    with pytest.raises(PluginLoadError) as caught:
        make_registry().resolve(KEY)
    return caught.value


def test_a_module_that_is_not_there(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    fake_dist("acme", {KEY: "acme_missing:plugin"}, version="0.3.1")

    error = failure_of(make_registry)

    assert str(error) == (
        "Cannot load plugin 'bert.question-answering' from acme 0.3.1 (acme_missing:plugin):\n"
        "  ModuleNotFoundError: No module named 'acme_missing'\n"
        f"Try: pip install --force-reinstall acme, {IGNORE}"
    )
    assert isinstance(error.__cause__, ModuleNotFoundError)
    assert isinstance(error, ImportError)


def test_a_dependency_that_is_not_there(fake_dist: FakeDist, make_registry: MakeRegistry, site: Path) -> None:
    fake_dist(
        "acme", {KEY: "acme_a:plugin"}, modules={"acme_a": "import os\nimport acme_b", "acme_b": "x = 1\nimport nix.x"}
    )

    error = failure_of(make_registry)

    assert error.reason == f"ModuleNotFoundError: No module named 'nix'  [{site / 'acme_b.py'}, line 2]"
    assert error.hint is not None
    assert f"{error.hint}." == f"pip install nix, {IGNORE}"


def test_a_dependency_that_comes_with_an_extra(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    requires = ("torch", "senten.ce_piece>=1; extra == 'bert'", 'senten_ce-piece; extra == "all"')
    fake_dist("acme", {KEY: "acme_a:plugin"}, modules={"acme_a": "import senten_ce_piece"}, requires=requires)

    assert f"{failure_of(make_registry).hint}." == f'pip install "acme[bert]", {IGNORE}'


def test_an_extra_with_the_fewest_packages(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    """As a wheel lists it: the extra that names all others comes first, with all of their packages."""
    everything = [f'{name}; extra == "all"' for name in ("mypy", "pillow", "senten-ce-piece")]
    requires = (*everything, 'pillow; extra == "image"', 'senten-ce-piece; extra == "image"', 'mypy; extra == "types"')
    fake_dist("acme", {KEY: "acme_a:plugin"}, modules={"acme_a": "import senten_ce_piece"}, requires=requires)

    assert f"{failure_of(make_registry).hint}." == f'pip install "acme[image]", {IGNORE}'


@pytest.mark.parametrize(("requires", "wanted"), [((), "pillow"), (('pillow>=10; extra == "image"',), '"acme[image]"')])
def test_a_dependency_that_is_imported_by_another_name(
    requires: tuple[str, ...], wanted: str, fake_dist: FakeDist, make_registry: MakeRegistry
) -> None:
    missing = "raise ModuleNotFoundError(\"No module named 'PIL'\", name='PIL')"
    fake_dist("acme", {KEY: "acme_a:plugin"}, modules={"acme_a": missing}, requires=requires)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in sys.modules if name.partition(".")[0] == "PIL"]:
            patch.delitem(sys.modules, name)

        assert f"{failure_of(make_registry).hint}." == f"pip install {wanted}, {IGNORE}"


def test_a_dependency_of_the_wrong_version(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    fake_dist("acme", {KEY: "acme_a:plugin"}, modules={"acme_a": "import attrs.nothing"})

    assert f"{failure_of(make_registry).hint}." == f"pip install --force-reinstall acme, {IGNORE}"


@pytest.mark.parametrize(
    ("source", "described", "line"),
    [
        ("x = 1\nraise RuntimeError('no\\nway')", "RuntimeError: no\nway", 2),
        ("1 / 0", "ZeroDivisionError: division by zero", 1),
        ("import sys\n\nsys.exit(3)", "SystemExit: 3", 3),
        ("raise SystemExit", "SystemExit", 1),
        ("class Odd(BaseException): pass\nraise Odd('x')", "Odd: x", 2),
        ("raise GeneratorExit", "GeneratorExit", 1),
        ("from attrs import nothing_like_this", "ImportError: cannot import name 'nothing_like_this' from 'attrs'", 1),
    ],
)
def test_an_import_that_fails(
    source: str, described: str, line: int, fake_dist: FakeDist, make_registry: MakeRegistry, site: Path
) -> None:
    fake_dist("acme", {KEY: "acme_a:plugin"}, modules={"acme_a": source})

    error = failure_of(make_registry)

    assert error.reason is not None
    assert error.reason.startswith(described)
    assert error.reason.endswith(f"  [{site / 'acme_a.py'}, line {line}]")
    assert f"{error.hint}." == f"pip install --upgrade acme, {IGNORE}"
    assert error.__cause__ is not None


def test_a_module_with_a_syntax_error(fake_dist: FakeDist, make_registry: MakeRegistry, site: Path) -> None:
    fake_dist("acme", {KEY: "acme_a:plugin"}, modules={"acme_a": "x = 1\ndef f(:\n    pass"})

    error = failure_of(make_registry)

    assert error.reason is not None
    assert error.reason.startswith("SyntaxError: ")
    assert error.reason.endswith(f"  [{site / 'acme_a.py'}, line 2]")


def test_control_c_is_not_a_broken_plugin(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    fake_dist("acme", {KEY: "acme_a:plugin"}, modules={"acme_a": "raise KeyboardInterrupt"})
    registry = make_registry()

    with pytest.raises(KeyboardInterrupt):
        registry.resolve(KEY)

    assert registry[KEY].status is Status.AVAILABLE


def test_an_attribute_that_is_not_there(fake_dist: FakeDist, make_registry: MakeRegistry, site: Path) -> None:
    fake_dist("acme", {KEY: "acme_a:plugn"}, modules={"acme_a": GOOD})

    error = failure_of(make_registry)

    assert error.reason == f"acme_a has no attribute 'plugn'; did it mean 'plugin'?  [{site / 'acme_a.py'}]"
    assert f"{error.hint}." == f"pip install --force-reinstall acme, {IGNORE}"
    assert isinstance(error.__cause__, AttributeError)


def test_an_attribute_of_an_object_that_is_not_there(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    fake_dist("acme", {KEY: "acme_a:plugin.zzz"}, modules={"acme_a": GOOD})

    assert failure_of(make_registry).reason == "Plugin has no attribute 'zzz'"


def test_an_attribute_that_exits(fake_dist: FakeDist, make_registry: MakeRegistry, site: Path) -> None:
    fake_dist("acme", {KEY: "acme_a:plugin"}, modules={"acme_a": "def __getattr__(name):\n    raise SystemExit(name)"})

    assert failure_of(make_registry).reason == f"SystemExit: plugin  [{site / 'acme_a.py'}, line 2]"


def test_a_nested_attribute_is_found(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    fake_dist(
        "acme", {KEY: "acme_a : Home.plugin [bert]"}, modules={"acme_a": GOOD + "\n    class Home: plugin = plugin\n"}
    )

    assert make_registry().resolve(KEY).plugin.export_config("source") == "config"


def test_a_failure_is_remembered(fake_dist: FakeDist, make_registry: MakeRegistry, site: Path) -> None:
    source = f"open({str(site / 'count')!r}, 'a').write('x')\nraise RuntimeError('no')"
    fake_dist("acme", {KEY: "acme_a:plugin"}, modules={"acme_a": source})
    registry = make_registry()

    errors = []
    for name in (KEY, f"{KEY}@acme", KEY):
        with pytest.raises(PluginLoadError) as caught:
            registry.resolve(name)
        errors.append(caught.value)

    assert errors[0] is errors[1] is errors[2]
    assert (site / "count").read_text() == "x"
    assert registry[KEY].status is Status.BROKEN
    assert registry[KEY].reason == errors[0].reason
    assert registry[KEY].hint == errors[0].hint
    assert registry.records() == [registry[KEY]]


def test_a_broken_plugin_does_not_hide_the_others(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    fake_dist("acme", {"bert.fill-mask": "acme_missing:plugin"})
    fake_dist("good", {KEY: "good:plugin"}, modules={"good": GOOD})
    registry = make_registry()

    with pytest.raises(PluginLoadError):
        registry.resolve("bert.fill-mask")

    assert registry.resolve(KEY).info.package == "good"
    assert {key: record.status for key, record in registry.items()} == {
        "bert.fill-mask": Status.BROKEN,
        KEY: Status.LOADED,
    }


def test_an_environment_in_which_everything_is_broken(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    fake_dist("a", {"a.t": "nix_a:plugin"})
    fake_dist("b", {"b.t": "nix b"})
    fake_dist("c", {"c": "nix_c:plugin"})
    fake_dist("d", {"d.t": "nix_d:plugin"}, group="neuronkit.models.v3")
    fake_dist("e", {"e.t": "e:plugin"}, modules={"e": "raise SystemExit(9)"})
    fake_dist("f", {"f.t": "f:plugin"}, modules={"f": "plugin = type"})
    registry = make_registry()

    before = {record.key: record.status.value for record in registry.records()}
    for key in registry:
        record = registry[key]
        registry.try_load(key, record.package)
    after = {record.key: record.status.value for record in registry.records()}

    unchanged = {"b.t": "malformed", "c": "malformed", "d.t": "incompatible"}
    assert before == {"a.t": "available", "e.t": "available", "f.t": "available"} | unchanged
    assert after == {"a.t": "broken", "e.t": "broken", "f.t": "broken"} | unchanged
    assert all(record.reason and record.hint for record in registry.records())
    assert registry.problems() == []


def test_a_plugin_that_breaks_its_contract_is_broken(
    fake_dist: FakeDist, make_registry: MakeRegistry, site: Path
) -> None:
    typo = GOOD.replace("def postprocess", "def postproces")
    fake_dist("acme", {KEY: "acme_a:plugin"}, modules={"acme_a": typo})
    registry = make_registry()

    with pytest.raises(PluginContractError) as caught:
        registry.resolve(KEY)

    assert str(caught.value) == (
        "Plugin 'bert.question-answering' from acme 1.0 (acme_a:plugin) breaks its contract:\n"
        f"  postproces [{site / 'acme_a.py'}, line 7]: there is no hook 'postproces'; did you mean 'postprocess'?\n"
        "  postprocess: required, and not implemented\n"
        f"Try: pip install --upgrade acme, {IGNORE}"
    )
    assert registry[KEY].status is Status.BROKEN
    assert isinstance(caught.value, TypeError)


def test_a_half_good_plugin_is_not_half_registered(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    half = GOOD.replace("outputs, context)", "outputs, context=None)")
    fake_dist("acme", {KEY: "acme_a:plugin"}, modules={"acme_a": half})
    registry = make_registry()

    for _ in range(2):
        with pytest.raises(PluginContractError, match="'context' has a default value"):
            registry.resolve(KEY)
    assert "acme_a" in sys.modules
    assert [record.status for record in registry.records()] == [Status.BROKEN]


def test_without_a_contract_anything_is_a_plugin(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    fake_dist(
        "acme", {"cpu": "acme_a:Backend"}, group="neuronkit.backends.v1", modules={"acme_a": "class Backend: ..."}
    )

    assert isinstance(make_registry(BACKENDS).resolve("cpu").plugin, type)


def test_a_builtin_is_ignored_by_its_key_and_not_with_all_the_others(
    fake_dist: FakeDist, make_registry: MakeRegistry
) -> None:
    fake_dist("neuronkit", {KEY: "nix_a:plugin"})

    hint = failure_of(make_registry).hint

    assert hint is not None
    assert hint.endswith(f"or set NEURONKIT_DISABLE_PLUGINS={KEY}@neuronkit to ignore it")


def test_a_target_that_is_not_one_is_refused_before_any_import() -> None:
    from neuronkit_registry.loading import load_plugin

    record = PluginInfo(key=KEY, target="sys", package="acme", version="1.0", api=1, origin=Origin.PACKAGE)

    with pytest.raises(MalformedTargetError, match="has no target of the form module:attribute"):
        load_plugin(record, None)


def test_check_candidate_reports_one_candidate(fake_dist: FakeDist, site: Path) -> None:
    fake_dist("acme", {KEY: "acme_a:plugin"}, modules={"acme_a": GOOD})
    fake_dist("zeta", {KEY: "acme_z:plugin"}, modules={"acme_z": "raise SystemExit(1)"})
    fake_dist("off", {KEY: "acme_o:plugin"}, modules={"acme_o": "raise SystemExit(1)"})

    def check(package: str) -> PluginInfo:
        environ = {"NEURONKIT_DISABLE_PLUGINS": "off,unknown", "NEURONKIT_STRICT": "1"}
        return check_candidate(MODELS, KEY, package, environ=environ, path=[str(site)])

    assert check("acme").status is Status.LOADED
    assert (check("zeta").status, check("zeta").reason) == (
        Status.BROKEN,
        f"SystemExit: 1  [{site / 'acme_z.py'}, line 1]",
    )
    assert check("off").status is Status.DISABLED
    assert "acme_o" not in sys.modules
