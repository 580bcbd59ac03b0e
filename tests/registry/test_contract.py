from __future__ import annotations

import functools
import re
import types
from collections.abc import Callable
from typing import Any, Protocol

import pytest

from neuronkit_registry import Contract
from neuronkit_registry.contract import find_mistakes
from tests.registry.conftest import EXTENSIONS, MODELS, SPECS
from tests.registry.specs import hookimpl

assert MODELS.contract
assert EXTENSIONS.contract
MODEL: Contract = MODELS.contract
EXTENSION: Contract = EXTENSIONS.contract
ANY = Contract(specs=SPECS, project="neuronkit")


class Good:
    """Keeps the contract."""

    @hookimpl
    def export_config(self, source: Any) -> Any: ...

    @hookimpl
    def postprocess(self, outputs: Any, context: Any, options: Any) -> Any: ...

    def helper(self, anything: int = 3, *more: int, **others: int) -> None: ...


def mistakes_of(plugin: object, contract: Contract = ANY) -> list[str]:
    """Return the mistakes without the places, each of which must be this file and a line."""
    place = rf" \[{re.escape(__file__)}, line \d+\]"
    return [re.sub(place, "", mistake) for mistake in find_mistakes(plugin, contract)]


def test_a_good_plugin_has_no_mistakes() -> None:
    assert mistakes_of(Good(), MODEL) == []


def test_a_module_can_be_a_plugin() -> None:
    module = types.ModuleType("acme")
    module.export_config = hookimpl(lambda source: None)  # type: ignore[attr-defined]
    module.postprocess = hookimpl(lambda outputs: outputs)  # type: ignore[attr-defined]

    assert mistakes_of(module, MODEL) == []


def test_a_class_is_not_an_instance() -> None:
    assert mistakes_of(Good, MODEL) == ["Good is a class; the entry point must name an instance of it: plugin = Good()"]


def test_a_function_is_no_object() -> None:
    def make() -> Good:
        return Good()

    assert mistakes_of(make, MODEL) == [
        "make is a function; the entry point must name an object with the hooks: plugin = make()"
    ]


def test_a_method_needs_self() -> None:
    class Plugin(Good):
        @hookimpl
        def export_config(source: Any) -> Any: ...  # type: ignore[override, misc]  # noqa: N805

        @hookimpl
        def postprocess() -> Any: ...  # type: ignore[override, misc]

    said = "has no self, which a method of a class needs as its first parameter"
    assert mistakes_of(Plugin(), MODEL) == [f"export_config: {said}", f"postprocess: {said}"]


def test_an_unknown_hook_gets_a_suggestion() -> None:
    class Plugin(Good):
        @hookimpl
        def postproces(self, outputs: Any) -> Any: ...

        @hookimpl
        def zzz(self) -> Any: ...

    assert mistakes_of(Plugin(), MODEL) == [
        "postproces: there is no hook 'postproces'; did you mean 'postprocess'?",
        "zzz: there is no hook 'zzz'",
    ]


def test_an_unmarked_function_of_the_specifications_is_no_hook() -> None:
    class Plugin:
        @hookimpl
        def helper(self) -> None: ...

    assert mistakes_of(Plugin()) == ["helper: there is no hook 'helper'"]


def test_an_optional_hook_may_be_unknown() -> None:
    class Plugin(Good):
        @hookimpl(optionalhook=True)
        def of_a_later_version(self, anything: Any = None) -> Any: ...

    assert mistakes_of(Plugin(), MODEL) == []


def test_a_hook_may_have_another_name() -> None:
    class Plugin(Good):
        @hookimpl(specname="forward")
        def run(self, session: Any, inputs: Any) -> Any: ...

        @hookimpl(specname="forwards")
        def walk(self, session: Any) -> Any: ...

    assert mistakes_of(Plugin(), MODEL) == ["walk: there is no hook 'forwards'; did you mean 'forward'?"]


def test_an_undecorated_method_is_a_mistake() -> None:
    class Plugin(Good):
        def forward(self, session: Any) -> Any: ...

        class options:  # noqa: N801
            """A class under the name of a hook."""

    assert mistakes_of(Plugin(), MODEL) == [
        "forward: named like a hook but not decorated; put @hookimpl above it",
        "options: named like a hook but not decorated; put @hookimpl above it",
    ]


def test_an_undecorated_callable_of_the_instance_is_a_mistake() -> None:
    plugin = Good()
    plugin.forward = functools.partial(print)  # type: ignore[attr-defined]

    assert mistakes_of(plugin, MODEL) == ["forward: named like a hook but not decorated; put @hookimpl above it"]


def test_data_and_properties_are_not_run_or_judged() -> None:
    class Plugin(Good):
        options = 3

        @property
        def forward(self) -> Any:
            raise RuntimeError("run")

        @property
        def anything(self) -> Any:
            raise SystemExit

    assert mistakes_of(Plugin(), MODEL) == []


def test_methods_of_a_protocol_are_only_promised() -> None:
    class ModelPlugin(Protocol):
        def export_config(self, source: Any) -> Any: ...

        def postprocess(self, outputs: Any) -> Any: ...

    class Plugin(ModelPlugin):
        @hookimpl
        def export_config(self, source: Any) -> Any: ...

    assert mistakes_of(Plugin(), MODEL) == ["postprocess: required, and not implemented"]


def _default(self: Any, session: Any, graph: str = "encoder") -> Any: ...
def _keyword_only(self: Any, session: Any, *, graph: str) -> Any: ...
def _positions(self: Any, session: Any, *inputs: Any) -> Any: ...
def _keywords(self: Any, session: Any, **inputs: Any) -> Any: ...
def _unknown(self: Any, session: Any, input: Any) -> Any: ...
def _alien(self: Any, qqqqq: Any) -> Any: ...


@pytest.mark.parametrize(
    ("function", "mistake"),
    [
        (_default, "'graph' has a default value, so its argument is never passed; remove the default"),
        (_keyword_only, "'graph' is keyword-only, and hooks are called by position; put it before the *"),
        (_positions, "'*inputs' would receive nothing; name the parameters that you need"),
        (_keywords, "'**inputs' would receive nothing; name the parameters that you need"),
        (
            _unknown,
            "the hook 'forward' has no parameter 'input' (session, graph, inputs); did you mean 'inputs'?",
        ),
        (_alien, "the hook 'forward' has no parameter 'qqqqq' (session, graph, inputs)"),
    ],
)
def test_parameters_that_would_never_be_passed(function: Callable[..., Any], mistake: str) -> None:
    plugin = type("Plugin", (), {"forward": hookimpl(function)})()

    assert mistakes_of(plugin) == [f"{function.__name__}: {mistake}".replace(function.__name__, "forward", 1)]


def test_a_hook_without_parameters_says_so() -> None:
    class Plugin:
        @hookimpl
        def options(self, what: Any) -> Any: ...

    assert mistakes_of(Plugin()) == ["options: the hook 'options' has no parameter 'what' (none)"]


def test_static_and_class_methods_are_checked_too() -> None:
    class Plugin:
        @staticmethod
        @hookimpl
        def forward(session: Any, graph: str) -> Any: ...

        @classmethod
        @hookimpl
        def options(cls, what: Any) -> Any: ...

    assert mistakes_of(Plugin()) == ["options: the hook 'options' has no parameter 'what' (none)"]


def test_required_hooks_must_be_implemented_and_not_only_wrapped() -> None:
    class Plugin:
        @hookimpl(wrapper=True)
        def postprocess(self, outputs: Any) -> Any:
            return (yield)

    assert mistakes_of(Plugin(), MODEL) == [
        "export_config: required, and not implemented",
        "postprocess: required, and not implemented",
    ]


def test_an_extension_wraps_what_it_may() -> None:
    class Extension:
        @hookimpl(wrapper=True)
        def forward(self, session: Any) -> Any:
            return (yield)

    assert mistakes_of(Extension(), EXTENSION) == []


def test_an_extension_is_only_wrappers_of_allowed_hooks() -> None:
    class Extension:
        @hookimpl
        def forward(self, session: Any) -> Any: ...

        @hookimpl(wrapper=True)
        def postprocess(self) -> Any:
            return (yield)

    assert mistakes_of(Extension(), EXTENSION) == [
        "forward: must be a wrapper; write @hookimpl(wrapper=True)",
        "postprocess: 'postprocess' is not for plugins of this kind, which may implement forward",
    ]


def test_an_extension_without_hooks_is_a_mistake() -> None:
    assert mistakes_of(object(), EXTENSION) == ["it implements no hook; it may wrap forward"]


def test_a_wrapper_yields_and_is_of_the_new_style() -> None:
    class Extension:
        @hookimpl(wrapper=True)
        def forward(self) -> Any:
            return 1

        @hookimpl(hookwrapper=True)
        def options(self) -> Any:
            yield

    assert mistakes_of(Extension()) == [
        "forward: a wrapper must yield once, and return what the yield gave it",
        "options: hookwrapper=True is the old style; write @hookimpl(wrapper=True)",
    ]


def test_every_mistake_is_found_at_once_and_placed() -> None:
    class Plugin:
        @hookimpl
        def export_config(self, source: Any, shape: Any = None, *, options: Any) -> Any: ...

        def postprocess(self, outputs: Any) -> Any: ...

    line = Plugin.export_config.__code__.co_firstlineno

    mistakes = find_mistakes(Plugin(), MODEL)

    assert len(mistakes) == 4
    assert mistakes[0] == (
        f"postprocess [{__file__}, line {line + 3}]: named like a hook but not decorated; put @hookimpl above it"
    )
    assert mistakes[1].startswith(f"export_config [{__file__}, line {line}]: 'shape' has a default value")


def test_an_older_plugin_knows_fewer_parameters() -> None:
    class Plugin:
        @hookimpl
        def export_config(self) -> Any: ...

        @hookimpl
        def postprocess(self, outputs: Any) -> Any: ...

    assert mistakes_of(Plugin(), MODEL) == []


def test_the_hooks_of_neuronkit_are_a_contract() -> None:
    from neuronkit import hooks

    class Plugin:
        @hooks.hookimpl
        def export_config(self, source: Any, shapes: Any) -> Any: ...

        @hooks.hookimpl
        def postprocess(self, outputs: Any, context: Any) -> Any: ...

        @hooks.hookimpl
        def remove_paddin(self) -> Any: ...

        @hooks.hookimpl
        def forward(self, session: Any, graph: Any, inputs: Any) -> Any: ...

    contract = Contract(specs="neuronkit.hooks", project=hooks.PROJECT, required=hooks.REQUIRED_HOOKS)

    assert mistakes_of(Plugin(), contract) == [
        "remove_paddin: there is no hook 'remove_paddin'; did you mean 'remove_padding'?"
    ]
    assert mistakes_of(object(), contract) == [
        f"{name}: required, and not implemented" for name in hooks.REQUIRED_HOOKS
    ]
