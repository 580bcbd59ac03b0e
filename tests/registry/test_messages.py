from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import neuronkit_registry
from neuronkit_registry import NeuronkitError, PluginError, PluginWarning, Registry, errors
from tests.registry.conftest import BACKENDS, GOOD, FakeDist, MakeRegistry

KEY = "bert.question-answering"

CASES: dict[str, tuple[Callable[[Registry], Any], type[Exception], str]] = {
    "UnknownPluginError": (
        lambda registry: registry.resolve("bert.question-anwsering"),
        KeyError,
        "No plugin is installed for 'bert.question-anwsering':\n"
        "  Available for the architecture 'bert': fill-mask, question-answering.\n"
        "  Nothing is available for the task 'question-anwsering'; "
        "there are: fill-mask, question-answering, text-generation. Did you mean 'question-answering'?\n"
        "  Not usable: 'bert.broken' from acme 0.3.1 (nix_acme:plugin) is broken: "
        "ModuleNotFoundError: No module named 'nix_acme'\n"
        "  Not usable: 'bert.off' from off 1.0 (off:plugin) is disabled: NEURONKIT_DISABLE_PLUGINS contains 'off'\n"
        "Try: 'bert.question-answering', or neuronkit list-plugins.",
    ),
    "MalformedKeyError": (
        lambda registry: registry.resolve("BERT.fill-mask"),
        ValueError,
        "'BERT.fill-mask' is no key:\n"
        "  A key is <architecture>.<task> in lower-case letters, digits, - and _, such as bert.question-answering.\n"
        "Try: 'bert.fill-mask'.",
    ),
    "MalformedTargetError": (
        lambda registry: registry.resolve("bad.target"),
        ValueError,
        "Plugin 'bad.target' from acme 0.3.1 (acme.bert) is declared wrongly:\n"
        "  'acme.bert' is not module:attribute\n"
        "Try: correct it in the pyproject.toml of acme, or pip install --upgrade acme.",
    ),
    "PluginLoadError": (
        lambda registry: registry.resolve("bert.broken"),
        ImportError,
        "Cannot load plugin 'bert.broken' from acme 0.3.1 (nix_acme:plugin):\n"
        "  ModuleNotFoundError: No module named 'nix_acme'\n"
        "Try: pip install --force-reinstall acme, or set NEURONKIT_DISABLE_PLUGINS=acme to ignore it.",
    ),
    "PluginContractError": (
        lambda registry: registry.register(print, "a.b", package="acme"),
        TypeError,
        "Plugin 'a.b' from acme 0.3.1 (builtins:print) breaks its contract:\n"
        "  export_config: required, and not implemented\n"
        "  postprocess: required, and not implemented",
    ),
    "PluginConflictError": (
        lambda registry: registry.resolve("gpt2.text-generation"),
        LookupError,
        "2 packages offer 'gpt2.text-generation' and nothing says which is meant:\n"
        "  acme 0.3.1 (acme_m:plugin)\n"
        "  zeta 1.0 (zeta_m:plugin)\n"
        "Try: NEURONKIT_PREFER=gpt2.text-generation=acme, or ask for 'gpt2.text-generation@acme'.",
    ),
    "PluginDisabledError": (
        lambda registry: registry.resolve("bert.off"),
        LookupError,
        "Plugin 'bert.off' from off 1.0 (off:plugin) is disabled:\n"
        "  NEURONKIT_DISABLE_PLUGINS contains 'off'\n"
        "Try: remove 'off' from NEURONKIT_DISABLE_PLUGINS.",
    ),
    "PluginIncompatibleError": (
        lambda registry: registry.resolve("new.t"),
        ImportError,
        "Plugin 'new.t' from next 3.0 (next:plugin) was written for another neuronkit:\n"
        "  it uses hook API 2, and neuronkit 1.2.0 has 1\n"
        "Try: pip install --upgrade neuronkit.",
    ),
    "StrictError": (
        lambda registry: Registry(registry.family, environ={"NEURONKIT_STRICT": "1"}, path=registry._path).resolve(KEY),
        RuntimeError,
        "NEURONKIT_STRICT turns a warning about plugins into an error:\n"
        "  'bert.question-answering' is built in and also offered by zeta 1.0; the built-in plugin is used. "
        "Try: NEURONKIT_PREFER=zeta to use the other, "
        "or NEURONKIT_PREFER=bert.question-answering=neuronkit to keep the built-in without this warning.\n"
        "Try: unset NEURONKIT_STRICT to go on with a warning.",
    ),
}


@pytest.fixture
def registry(fake_dist: FakeDist, make_registry: MakeRegistry, site: Path) -> Registry:
    """A registry with something of every kind."""
    (site / "good.py").write_text(inspect.cleandoc(GOOD))
    fake_dist("neuronkit", {KEY: "good:plugin", "bert.fill-mask": "good:plugin"}, version="1.2.0")
    acme = {"bert.broken": "nix_acme:plugin", "bad.target": "acme.bert", "gpt2.text-generation": "acme_m:plugin"}
    fake_dist("acme", acme, version="0.3.1")
    fake_dist("zeta", {"gpt2.text-generation": "zeta_m:plugin", KEY: "zeta_m:plugin"})
    fake_dist("off", {"bert.off": "off:plugin"})
    fake_dist("next", {"new.t": "next:plugin"}, group="neuronkit.models.v2", version="3.0")
    made = make_registry(NEURONKIT_DISABLE_PLUGINS="off")
    made.try_load("bert.broken", "acme")
    return made


@pytest.mark.parametrize("name", CASES)
def test_the_message_of_every_error(name: str, registry: Registry) -> None:
    act, builtin, message = CASES[name]

    with pytest.raises(builtin) as caught:
        act(registry)

    assert type(caught.value) is getattr(errors, name)
    assert isinstance(caught.value, NeuronkitError)
    assert str(caught.value) == message


def test_every_error_has_a_case() -> None:
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, PluginError)}

    assert kinds - {"PluginError"} == set(CASES)
    assert all(kind.__doc__ for kind in vars(errors).values() if isinstance(kind, type))
    assert issubclass(PluginWarning, UserWarning)


@pytest.mark.parametrize("name", CASES)
def test_every_error_survives_a_process_boundary(name: str, registry: Registry) -> None:
    act, builtin, message = CASES[name]
    with pytest.raises(builtin) as caught:
        act(registry)

    copy = pickle.loads(pickle.dumps(caught.value))

    assert (type(copy), str(copy)) == (type(caught.value), message)


def test_an_error_may_be_only_a_summary() -> None:
    assert str(PluginError("It failed")) == "It failed."
    assert str(PluginError("It failed", hint="again")) == "It failed.\nTry: again."


def test_nothing_for_either_half(registry: Registry) -> None:
    with pytest.raises(errors.UnknownPluginError) as caught:
        registry.resolve("bart.zzz")

    assert str(caught.value) == (
        "No plugin is installed for 'bart.zzz':\n"
        "  Nothing is available for the architecture 'bart'; there are: bert, gpt2. Did you mean 'bert'?\n"
        "  Nothing is available for the task 'zzz'; there are: fill-mask, question-answering, text-generation.\n"
        "Try: neuronkit list-plugins."
    )


def test_both_halves_but_not_together(registry: Registry) -> None:
    with pytest.raises(errors.UnknownPluginError) as caught:
        registry.resolve("gpt2.question-answering")

    assert caught.value.reason == (
        "Available for the architecture 'gpt2': text-generation.\nAvailable for the task 'question-answering': bert."
    )


def test_a_package_that_is_not_there(registry: Registry) -> None:
    with pytest.raises(errors.UnknownPluginError) as caught:
        registry.resolve("bert.fill-mask@acme-bert")

    assert str(caught.value) == (
        "Package 'acme-bert' offers no plugin for 'bert.fill-mask':\n"
        "  neuronkit 1.2.0 offers it (available)\n"
        "Try: pip install acme-bert, or 'bert.fill-mask@neuronkit'."
    )


def test_a_package_that_is_not_there_for_an_unknown_key(registry: Registry) -> None:
    with pytest.raises(errors.UnknownPluginError) as caught:
        registry.resolve("t5.translation@acme-t5")

    assert caught.value.summary == "No plugin is installed for 't5.translation' from 'acme-t5'"
    assert caught.value.hint == "pip install acme-t5, or neuronkit list-plugins"


def test_several_candidates_none_of_which_may_be_used(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    fake_dist("acme", {KEY: "acme"})
    fake_dist("off", {KEY: "off:plugin"})
    fake_dist("next", {KEY: "next:plugin"}, group="neuronkit.models.v2", version="3.0")

    with pytest.raises(errors.PluginDisabledError) as caught:
        make_registry(NEURONKIT_DISABLE_PLUGINS="off").resolve(KEY)

    assert caught.value.reason == (
        "NEURONKIT_DISABLE_PLUGINS contains 'off'\n"
        "'bert.question-answering' from acme 1.0 (acme) is malformed: 'acme' is not module:attribute\n"
        "'bert.question-answering' from next 3.0 (next:plugin) is incompatible: "
        "it uses hook API 2, and neuronkit 1.2.0 has 1"
    )


def test_a_key_that_its_package_declares_wrongly(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    fake_dist("acme", {"bert": "acme:plugin"})

    with pytest.raises(errors.MalformedKeyError, match=r"acme 1\.0 declares it wrongly: 'bert' is no key, which is"):
        make_registry().resolve("bert")


def test_a_family_of_plain_names(fake_dist: FakeDist, make_registry: MakeRegistry) -> None:
    for package, key in (("neuronkit", "cpu"), ("acme", "neuron")):
        fake_dist(package, {key: "m:p"}, group="neuronkit.backends.v1")

    with pytest.raises(errors.UnknownPluginError) as caught:
        make_registry(BACKENDS).resolve("neurom")

    assert str(caught.value) == (
        "No plugin is installed for 'neurom':\n  Available: cpu, neuron.\nTry: 'neuron', or neuronkit list-plugins."
    )


def test_the_public_names_are_sorted_and_there() -> None:
    constants = [name for name in neuronkit_registry.__all__ if name.isupper()]
    classes = [name for name in neuronkit_registry.__all__ if name[0].isupper() and not name.isupper()]
    functions = [name for name in neuronkit_registry.__all__ if name.islower()]

    assert neuronkit_registry.__all__ == sorted(constants) + sorted(classes) + sorted(functions)
    assert all(hasattr(neuronkit_registry, name) for name in neuronkit_registry.__all__)
