from __future__ import annotations

import importlib
import os
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from neuronkit_registry import (
    LoadedPlugin,
    MalformedKeyError,
    Origin,
    PluginConflictError,
    PluginContractError,
    PluginDisabledError,
    PluginLoadError,
    PluginWarning,
    Registry,
    Status,
    StrictError,
    UnknownPluginError,
)
from tests.registry.conftest import BACKENDS, EXTENSIONS, GOOD, MODELS, FakeDist, MakeRegistry
from tests.registry.specs import hookimpl

KEY = "bert.question-answering"


class Plugin:
    @hookimpl
    def export_config(self, source: Any) -> str:
        return "runtime"

    @hookimpl
    def postprocess(self, outputs: Any) -> Any:
        return outputs


def test_an_empty_environment(make_registry: MakeRegistry) -> None:
    registry = make_registry()

    assert list(registry) == registry.records() == registry.problems() == registry.load_all() == []
    assert len(registry) == 0
    with pytest.raises(UnknownPluginError, match=r"Available: nothing\.|there are: none\."):
        registry.resolve(KEY)


def test_it_is_a_read_only_mapping(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    fake_dist("acme", {KEY: "acme_a:plugin", "bert.fill-mask": "acme_a:plugin"})
    registry = make_registry()

    assert isinstance(registry, Mapping)
    assert list(registry) == ["bert.fill-mask", KEY]
    assert len(registry) == 2
    assert KEY in registry
    assert "bert.nothing" not in registry
    assert registry.get("bert.nothing") is None
    assert registry[KEY].status is Status.AVAILABLE
    with pytest.raises(KeyError):
        registry["bert.nothing"]
    with pytest.raises(TypeError):
        registry[KEY] = registry[KEY]  # type: ignore[index]
    assert registry == registry
    assert registry != make_registry()
    assert {registry: 1}[registry] == 1
    assert repr(registry) == "<Registry of neuronkit.models.v1>"


def test_listing_imports_nothing(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    fake_dist("acme", {KEY: "acme_a:plugin"}, modules={"acme_a": "raise SystemExit(1)"})
    registry = make_registry()

    assert registry.records()
    assert list(registry.items())
    assert registry.problems() == []
    assert "acme_a" not in sys.modules


def test_resolving_imports_only_the_chosen_one(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    for package in ("acme", "zeta"):
        fake_dist(package, {KEY: f"{package}_m:plugin"}, modules={f"{package}_m": GOOD})
    registry = make_registry(NEURONKIT_PREFER="zeta")

    loaded = registry.resolve(KEY)

    assert loaded.plugin is sys.modules["zeta_m"].plugin
    assert "acme_m" not in sys.modules
    assert (loaded.info.package, loaded.info.version, loaded.info.status) == ("zeta", "1.0", Status.LOADED)
    assert registry[KEY] == loaded.info
    assert registry.resolve(KEY) is loaded


@pytest.mark.parametrize(("name", "package"), [(f"{KEY}@acme", None), (KEY, "acme"), (f"{KEY}@Acme", "ACME")])
def test_a_named_package_comes_first(
    name: str, package: str | None, fake_dist: FakeDist, make_registry: MakeRegistry
) -> None:
    for brand in ("acme", "zeta", "neuronkit"):
        fake_dist(brand, {KEY: f"{brand}_m:plugin"}, modules={f"{brand}_m": GOOD})
    registry = make_registry(NEURONKIT_PREFER="zeta")

    loaded = registry.resolve(name, package)

    assert loaded.info.package == "acme"
    assert (loaded.info.status, loaded.info.reason, loaded.info.hint) == (Status.LOADED, None, None)
    assert registry[KEY].package == "zeta"
    assert [record.status.value for record in registry.records()] == ["shadowed", "shadowed", "available"]


def test_two_different_packages_in_one_question(make_registry: MakeRegistry) -> None:
    with pytest.raises(MalformedKeyError, match="already names a package, and package='zeta' names another"):
        make_registry().resolve(f"{KEY}@acme", "zeta")


def test_a_conflict_is_an_error_until_somebody_chooses(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    for package in ("zeta", "acme"):
        fake_dist(package, {KEY: f"{package}_m:plugin"}, modules={f"{package}_m": GOOD})
    registry = make_registry()

    with pytest.raises(PluginConflictError):
        registry.resolve(KEY)

    assert "acme_m" not in sys.modules
    assert (registry[KEY].package, registry[KEY].status) == ("acme", Status.CONFLICT)
    assert registry.resolve(KEY, "zeta").info.package == "zeta"
    with pytest.raises(PluginConflictError):
        registry.resolve(KEY)


def test_a_conflict_is_the_record_of_its_key_whatever_else_there_is(
    fake_dist: FakeDist, make_registry: MakeRegistry
) -> None:
    for package in ("zeta", "acme", "aaaa"):
        fake_dist(package, {KEY: f"{package}_m:plugin"})

    record = make_registry(NEURONKIT_DISABLE_PLUGINS="aaaa")[KEY]

    assert (record.package, record.status) == ("acme", Status.CONFLICT)


def test_what_was_imported_before_does_not_decide_a_conflict(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    fake_dist("acme", {KEY: "nix_a:plugin"})
    fake_dist("zeta", {KEY: "zeta_m:plugin"}, modules={"zeta_m": GOOD})
    registry = make_registry()

    with pytest.raises(PluginLoadError):
        registry.resolve(KEY, "acme")

    assert [record.status for record in registry.records()] == [Status.BROKEN, Status.CONFLICT]
    assert registry[KEY].status is Status.CONFLICT
    with pytest.raises(PluginConflictError):
        registry.resolve(KEY)


def test_the_builtin_wins_with_a_warning_at_the_callers_line(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    for package in ("acme", "neuronkit"):
        fake_dist(package, {KEY: f"{package}_m:plugin"}, modules={f"{package}_m": GOOD})
    registry = make_registry()

    with pytest.warns(PluginWarning, match="is built in and also offered by acme 1.0") as caught:
        loaded = registry.resolve(KEY)

    assert loaded.info.origin is Origin.BUILTIN
    assert "acme_m" not in sys.modules
    assert [warning.filename for warning in caught] == [__file__]


def test_the_warning_points_outside_the_owner_too(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    for package in ("acme", "neuronkit"):
        fake_dist(package, {KEY: f"{package}_m:plugin"}, modules={f"{package}_m": GOOD})
    owner = {"__name__": "neuronkit.api", "registry": make_registry(), "key": KEY}
    exec(compile("def load():\n    return registry.resolve(key)", "/neuronkit/api.py", "exec"), owner)

    with pytest.warns(PluginWarning) as caught:
        owner["load"]()  # type: ignore[operator]

    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize("prefer", ["neuronkit", "acme", f"{KEY}=neuronkit"])
def test_a_preference_silences_the_warning(prefer: str, fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    for package in ("acme", "neuronkit"):
        fake_dist(package, {KEY: f"{package}_m:plugin"}, modules={f"{package}_m": GOOD})

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = make_registry(NEURONKIT_PREFER=prefer).resolve(KEY)

    assert loaded.info.package == prefer.rpartition("=")[2]


def test_strict_makes_the_warning_an_error(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    for package in ("acme", "neuronkit"):
        fake_dist(package, {KEY: f"{package}_m:plugin"}, modules={f"{package}_m": GOOD})
    registry = make_registry(NEURONKIT_STRICT="1")

    for _ in range(2):
        with pytest.raises(StrictError, match="is built in and also offered by acme"):
            registry.resolve(KEY)

    assert registry.settings.strict
    assert registry.resolve(KEY, "neuronkit").info.package == "neuronkit"
    assert make_registry(NEURONKIT_STRICT="0").settings.strict is False


def test_disabled_code_is_never_imported(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    fake_dist("acme", {KEY: "acme_a:plugin"}, modules={"acme_a": GOOD})
    registry = make_registry(NEURONKIT_DISABLE_PLUGINS="acme")

    for package in (None, "acme"):
        with pytest.raises(PluginDisabledError):
            registry.resolve(KEY, package)

    assert registry.load_all() == []
    assert registry.try_load(KEY, "acme").status is Status.DISABLED
    assert "acme_a" not in sys.modules


def test_an_unknown_name_in_a_setting_warns_once(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    fake_dist("acme", {KEY: "acme_a:plugin"}, modules={"acme_a": GOOD})
    registry = make_registry(NEURONKIT_DISABLE_PLUGINS="acmee")

    assert registry.problems() == [
        "NEURONKIT_DISABLE_PLUGINS contains 'acmee', which matches no installed plugin. Did you mean 'acme'?"
    ]
    with pytest.warns(PluginWarning, match="'acmee', which matches no installed plugin") as caught:
        registry.resolve(KEY)
    assert [warning.filename for warning in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        registry.resolve(KEY)


def test_strict_refuses_an_unknown_name_every_time_and_lists_all_the_same(
    fake_dist: FakeDist, make_registry: MakeRegistry
) -> None:
    fake_dist("acme", {KEY: "acme_a:plugin"}, modules={"acme_a": GOOD})
    registry = make_registry(NEURONKIT_DISABLE_PLUGINS="xyz", NEURONKIT_STRICT="yes")

    for _ in range(2):
        with pytest.raises(StrictError, match="'xyz', which matches no installed plugin"):
            registry.resolve(KEY)

    assert [record.status for record in registry.records()] == [Status.AVAILABLE]
    assert "acme_a" not in sys.modules


def test_the_environment_and_the_path_are_read_at_first_use(
    fake_dist: FakeDist, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(MODELS)
    fake_dist("acme", {"acme.lazy": "acme_a:plugin"})
    monkeypatch.setenv("NEURONKIT_DISABLE_PLUGINS", "acme")

    assert registry["acme.lazy"].status is Status.DISABLED

    monkeypatch.delenv("NEURONKIT_DISABLE_PLUGINS")
    assert registry["acme.lazy"].status is Status.DISABLED
    registry.refresh()
    assert registry["acme.lazy"].status is Status.AVAILABLE


def test_refresh_after_an_installation(fake_dist: FakeDist, make_registry: MakeRegistry, site: Path) -> None:
    registry = make_registry()
    assert KEY not in registry
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("acme_a")

    fake_dist("acme", {KEY: "acme_a:plugin"}, modules={"acme_a": GOOD})
    assert KEY not in registry
    registry.refresh()

    assert registry.resolve(KEY).info.package == "acme"


def test_refresh_finds_modules_that_the_import_system_has_not_noticed(
    fake_dist: FakeDist, make_registry: MakeRegistry, site: Path
) -> None:
    fake_dist("acme", {KEY: "acme_a:plugin"})
    registry = make_registry()
    with pytest.raises(PluginLoadError):
        registry.resolve(KEY)
    noticed = site.stat()

    (site / "acme_a.py").write_text(textwrap.dedent(GOOD))
    os.utime(site, ns=(noticed.st_atime_ns, noticed.st_mtime_ns))
    registry.refresh()

    assert registry.resolve(KEY).info.status is Status.LOADED


def test_refresh_tries_the_broken_again_and_keeps_the_loaded(
    fake_dist: FakeDist, make_registry: MakeRegistry, site: Path
) -> None:
    fake_dist(
        "acme", {KEY: "acme_a:plugin"}, modules={"acme_a": "import acme_dependency\n" + "from acme_good import *"}
    )
    fake_dist("good", {"good.t": "acme_good:plugin"}, modules={"acme_good": GOOD})
    registry = make_registry()
    loaded = registry.resolve("good.t")
    with pytest.raises(PluginLoadError):
        registry.resolve(KEY)

    (site / "acme_dependency.py").write_text("")
    registry.refresh()

    assert registry[KEY].status is Status.AVAILABLE
    assert registry.resolve(KEY).plugin is loaded.plugin
    assert registry.resolve("good.t") is loaded


def test_an_upgrade_under_a_running_process_is_a_problem(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    old = fake_dist("acme", {KEY: "acme_a:plugin"}, modules={"acme_a": GOOD})
    registry = make_registry()
    registry.resolve(KEY)
    old.rename(old.with_name("acme-2.0.dist-info"))
    metadata = old.with_name("acme-2.0.dist-info") / "METADATA"
    metadata.write_text(metadata.read_text().replace("1.0", "2.0"))

    registry.refresh()

    assert registry[KEY].version == "1.0"
    assert registry.problems() == ["acme 2.0 was installed while this process uses 1.0. Try: restart it."]
    with pytest.warns(PluginWarning, match="acme 2.0 was installed"):
        assert registry.resolve(KEY).info.version == "1.0"


def test_register_and_undo(make_registry: MakeRegistry) -> None:
    registry, plugin = make_registry(), Plugin()

    undo = registry.register(plugin, KEY)

    info = registry[KEY]
    assert (info.origin, info.status, info.package, info.version) == (Origin.RUNTIME, Status.LOADED, None, None)
    assert info.target == f"{__name__}:Plugin"
    assert (info.architecture, info.task, info.api) == ("bert", "question-answering", 1)
    assert registry.resolve(KEY).plugin is plugin
    assert registry.resolve(KEY).info == info
    assert registry.try_load(KEY) == info
    undo()
    undo()
    assert KEY not in registry


def test_registering_for_a_package(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    fake_dist("acme", {"bert.fill-mask": "acme_a:plugin"}, version="0.3.1")
    registry, plugin = make_registry(), Plugin()
    registry.register(plugin, KEY, package="Acme")
    registry.register(Plugin(), KEY, package="other", replace=True)

    loaded = registry.resolve(f"{KEY}@acme")

    assert loaded.plugin is plugin
    assert (loaded.info.package, loaded.info.version) == ("Acme", "0.3.1")
    assert registry.resolve(KEY).info.package == "other"
    assert registry.resolve(KEY).info.version is None


def test_what_is_registered_for_a_package_comes_before_what_it_installed(
    fake_dist: FakeDist, make_registry: MakeRegistry
) -> None:
    fake_dist("acme", {KEY: "acme_a:plugin"}, modules={"acme_a": GOOD})
    registry, plugin = make_registry(NEURONKIT_PREFER="acme"), Plugin()

    undo = registry.register(plugin, KEY, package="acme", replace=True)

    assert registry.resolve(KEY).plugin is plugin
    assert registry.resolve(KEY, "acme").plugin is plugin
    undo()
    assert registry.resolve(KEY).info.origin is Origin.PACKAGE


def test_a_taken_key_needs_replace(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    fake_dist("neuronkit", {KEY: "acme_a:plugin"}, modules={"acme_a": GOOD}, version="1.2.0")
    registry, plugin = make_registry(), Plugin()

    with pytest.raises(PluginConflictError) as caught:
        registry.register(plugin, KEY)
    assert str(caught.value) == (
        "'bert.question-answering' is taken:\n"
        "  neuronkit 1.2.0 offers it (acme_a:plugin)\n"
        "Try: replace=True to use yours instead."
    )
    assert len(registry.records()) == 1

    undo = registry.register(plugin, KEY, replace=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert registry.resolve(KEY).plugin is plugin
    assert registry.resolve(KEY, "neuronkit").info.origin is Origin.BUILTIN
    undo()
    assert registry.resolve(KEY).info.origin is Origin.BUILTIN


def test_a_disabled_plugin_does_not_take_its_key(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    fake_dist("acme", {KEY: "acme_a:plugin"})
    registry = make_registry(NEURONKIT_DISABLE_PLUGINS=KEY)

    registry.register(Plugin(), KEY)

    assert registry[KEY].status is Status.LOADED


def test_registrations_are_undone_in_any_order(make_registry: MakeRegistry) -> None:
    registry, plugins = make_registry(), [Plugin(), Plugin(), Plugin()]
    undos = [registry.register(plugin, KEY, replace=True) for plugin in plugins]

    assert registry.resolve(KEY).plugin is plugins[2]
    undos[1]()
    assert registry.resolve(KEY).plugin is plugins[2]
    undos[2]()
    assert registry.resolve(KEY).plugin is plugins[0]


def test_a_bad_plugin_is_refused_at_once_and_leaves_nothing(make_registry: MakeRegistry) -> None:
    registry = make_registry()

    with pytest.raises(PluginContractError) as caught:
        registry.register(object(), KEY)
    with pytest.raises(PluginContractError, match="Plugin is a class"):
        registry.register(Plugin, KEY, replace=True)
    with pytest.raises(MalformedKeyError, match="'bert' is no key"):
        registry.register(Plugin(), "bert")

    assert str(caught.value) == (
        "Plugin 'bert.question-answering' from this process (builtins:object) breaks its contract:\n"
        "  export_config: required, and not implemented\n"
        "  postprocess: required, and not implemented"
    )
    assert registry.records() == []


def test_temporary(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    fake_dist("acme", {KEY: "acme_a:plugin"}, modules={"acme_a": GOOD})
    registry, plugin = make_registry(), Plugin()

    with registry.temporary(plugin, KEY) as loaded:
        assert registry.resolve(KEY) == loaded
        assert loaded.plugin is plugin
    assert registry.resolve(KEY).info.package == "acme"

    def fail() -> None:
        with registry.temporary(plugin, KEY):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert registry.resolve(KEY).info.package == "acme"
    with pytest.raises(PluginConflictError), registry.temporary(plugin, KEY, replace=False):
        pass


def test_snapshot_and_restore(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    fake_dist("acme", {KEY: "acme_a:plugin"}, modules={"acme_a": GOOD})
    fake_dist("zeta", {"zeta.t": "nix_z:plugin"})
    registry = make_registry()
    registry.register(Plugin(), "bert.fill-mask")
    before, state = registry.records(), registry.snapshot()

    registry.register(Plugin(), "gpt2.text-generation")
    registry.register(Plugin(), "bert.fill-mask", replace=True)
    registry.resolve(KEY)
    registry.try_load("zeta.t", "zeta")
    fake_dist("late", {"late.t": "late:plugin"})
    registry.refresh()
    assert registry.records() != before

    registry.restore(state)
    assert registry.records() == before
    registry.resolve(KEY)
    registry.restore(state)
    assert registry.records() == before


def test_extensions_are_active_together(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    extension = """
        from tests.registry.specs import hookimpl

        class Extension:
            @hookimpl(wrapper=True)
            def forward(self, session):
                return (yield)

        extension = Extension()
    """
    group = "neuronkit.extensions.v1"
    fake_dist(
        "tools",
        {"trace": "tools_m:extension", "timing": "tools_m:extension"},
        group=group,
        modules={"tools_m": extension},
    )
    fake_dist("bad", {"metrics": "nix_bad:extension"}, group=group)
    fake_dist("off", {"audit": "nix_off:extension"}, group=group)
    registry = make_registry(EXTENSIONS, NEURONKIT_DISABLE_PLUGINS="off")

    with pytest.warns(PluginWarning, match="Cannot load plugin 'metrics' from bad 1.0") as caught:
        loaded = registry.load_all()

    assert [item.info.key for item in loaded] == ["timing", "trace"]
    assert [warning.filename for warning in caught] == [__file__]
    strict = make_registry(EXTENSIONS, NEURONKIT_DISABLE_PLUGINS="off", NEURONKIT_STRICT="1")
    with pytest.raises(StrictError, match="Cannot load plugin 'metrics'"):
        strict.load_all()


def test_families_do_not_see_each_other(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    text = (
        "[neuronkit.models.v1]\na.b = m:p\n\n[neuronkit.backends.v1]\ncpu = m:p\n\n[neuronkit.models.v2]\nc.d = m:p\n"
    )
    fake_dist("acme", entry_points=text)

    assert list(make_registry()) == ["a.b", "c.d"]
    assert list(make_registry(BACKENDS)) == ["cpu"]
    assert list(make_registry(EXTENSIONS)) == []


def test_try_load_of_nothing(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    fake_dist("acme", {KEY: "acme_a:plugin"})

    with pytest.raises(UnknownPluginError, match="Package 'zeta' offers no plugin for"):
        make_registry().try_load(KEY, "zeta")
    with pytest.raises(UnknownPluginError):
        make_registry().try_load(KEY)


def test_try_load_of_a_shadowed_plugin(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    for package in ("acme", "neuronkit"):
        fake_dist(package, {KEY: f"{package}_m:plugin"}, modules={f"{package}_m": GOOD})
    registry = make_registry()

    assert registry.try_load(KEY, "acme").status is Status.LOADED
    assert registry[KEY].package == "neuronkit"


class Forgetful(Registry):
    """A registry that another thread refreshes the moment that it has looked."""

    _view = property(lambda self: None, lambda self, view: None)  # type: ignore[assignment]


def test_refresh_while_another_thread_looks(fake_dist: FakeDist, site: Path) -> None:
    fake_dist("acme", {KEY: "acme_a:plugin"}, modules={"acme_a": GOOD})
    registry = Forgetful(MODELS, environ={}, path=[str(site)])

    assert list(registry) == [KEY]
    assert registry.settings.strict is False
    assert registry.resolve(KEY).info.package == "acme"


class Interrupted(list[str]):
    """A path; what another thread does comes when it has been read for the first time."""

    meanwhile: Callable[[], object] | None = None

    def __iter__(self) -> Iterator[str]:
        yield from list.__iter__(self)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()


@pytest.mark.parametrize("change", ["refresh", "restore"])
def test_a_look_that_began_before_a_refresh_is_not_kept(change: str, fake_dist: FakeDist, site: Path) -> None:
    path = Interrupted([str(site)])
    registry = Registry(MODELS, environ={}, path=path)
    state = registry.snapshot()

    def install() -> None:
        fake_dist("acme", {KEY: "acme_a:plugin"})
        registry.refresh() if change == "refresh" else registry.restore(state)

    path.meanwhile = install

    assert list(registry) == []
    assert list(registry) == [KEY]


def test_a_failure_of_before_a_refresh_is_not_kept(
    fake_dist: FakeDist, make_registry: MakeRegistry, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_dist("acme", {KEY: "acme_a:plugin"}, modules={"acme_a": "import sys; sys.meanwhile()\n" + "import acme_b"})
    registry = make_registry()

    def repair() -> None:
        (site / "acme_a.py").write_text(textwrap.dedent(GOOD))
        registry.refresh()

    monkeypatch.setattr(sys, "meanwhile", repair, raising=False)
    with pytest.raises(PluginLoadError, match="acme_b"):
        registry.resolve(KEY)

    assert registry.resolve(KEY).info.status is Status.LOADED


class Version(str):
    """Another thread resolves a plugin at the moment at which this is compared."""

    registry: Registry

    def __ne__(self, other: object) -> bool:
        self.registry.resolve("good.t")
        return str.__ne__(self, other)

    __hash__ = str.__hash__


def test_problems_while_another_thread_resolves(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    fake_dist("acme", {KEY: "acme_a:plugin"}, modules={"acme_a": GOOD})
    fake_dist("good", {"good.t": "acme_good:plugin"}, modules={"acme_good": GOOD})
    registry = make_registry()
    registry.resolve(KEY)
    state = registry.snapshot()
    compared = Version("1.0")
    compared.registry = registry
    used = {
        identity: attrs.evolve(outcome, info=attrs.evolve(outcome.info, version=compared))
        for identity, outcome in state.outcomes.items()
        if isinstance(outcome, LoadedPlugin)
    }
    registry.restore(attrs.evolve(state, outcomes=used))

    assert registry.problems() == []
    assert registry["good.t"].status is Status.LOADED


def test_many_threads_get_one_plugin(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    slow = "import time\ntime.sleep(0.05)\n"
    fake_dist("acme", {KEY: "acme_a:plugin"}, modules={"acme_a": slow + "from acme_good import *", "acme_good": GOOD})
    registry, found = make_registry(), []
    threads = [threading.Thread(target=lambda: found.append(registry.resolve(KEY))) for _ in range(8)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 8
    assert all(item is found[0] for item in found)


def test_the_environment_is_not_changed(make_registry: MakeRegistry) -> None:
    before = dict(os.environ), list(sys.path)

    make_registry(NEURONKIT_STRICT="1").records()

    assert (dict(os.environ), list(sys.path)) == before
