"""
Whether a plugin object implements hooks as they are specified.

pluggy takes any object and overlooks what it does not understand: a hook name with a typo, an implementation without
its decorator, a parameter with a default value, which it never passes. Each of these is a mistake here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any

import attrs
import pluggy

from neuronkit_registry.family import Contract
from neuronkit_registry.names import closest

_UNPASSED = {
    inspect.Parameter.KEYWORD_ONLY: "is keyword-only, and hooks are called by position; put it before the *",
    inspect.Parameter.VAR_POSITIONAL: "would receive nothing; name the parameters that you need",
    inspect.Parameter.VAR_KEYWORD: "would receive nothing; name the parameters that you need",
}


@attrs.frozen
class Implementation:
    """
    One decorated function of a plugin.

    Args:
        name: Its own name.
        hook: The hook that it implements.
        function: The function, bound.
        marks: What was given to ``hookimpl(...)``.
    """

    name: str
    hook: str
    function: Callable[..., Any]
    marks: Mapping[str, Any]

    @property
    def is_wrapper(self) -> bool:
        """Whether it runs around the others, in the new style or the old."""
        return bool(self.marks["wrapper"] or self.marks["hookwrapper"])


def find_mistakes(plugin: object, contract: Contract) -> list[str]:
    """
    Return every way in which a plugin breaks its contract, in words; nothing is called.

    Args:
        plugin: The object that the entry point names.
        contract: The hooks of its family.
    """
    if isinstance(plugin, type):
        name = plugin.__name__
        return [f"{name} is a class; the entry point must name an instance of it: plugin = {name}()"]
    if inspect.isfunction(plugin):
        name = plugin.__name__
        return [f"{name} is a function; the entry point must name an object with the hooks: plugin = {name}()"]
    hooks = _read_hooks(contract.specs, contract.project)
    implementations: list[Implementation] = []
    mistakes: list[str] = []
    for name, function in _functions(plugin):
        marks = pluggy.PluginManager(contract.project).parse_hookimpl_opts(plugin, name)
        if marks:
            implementations.append(Implementation(name, marks["specname"] or name, function, marks))
        elif name in hooks:
            mistakes.append(f"{name}{_place(function)}: named like a hook but not decorated; put @hookimpl above it")
    for implementation in implementations:
        found = _check_implementation(implementation, hooks, contract)
        mistakes += [f"{implementation.name}{_place(implementation.function)}: {text}" for text in found]
    done = {item.hook for item in implementations if not item.is_wrapper}
    mistakes += [f"{name}: required, and not implemented" for name in contract.required if name not in done]
    if contract.wrappers_only and not implementations:
        mistakes.append(f"it implements no hook; it may wrap {', '.join(contract.allowed or sorted(hooks))}")
    return mistakes


def _lacks_self(function: Callable[..., Any], parameters: tuple[str, ...]) -> bool:
    """Tell whether a method begins with a parameter of its hook, where it would be given the plugin itself."""
    if not inspect.ismethod(function) or isinstance(function.__self__, type):
        return False
    own = list(inspect.signature(function.__func__).parameters)
    return not own or own[0] in parameters


def _check_implementation(
    implementation: Implementation, hooks: Mapping[str, tuple[str, ...]], contract: Contract
) -> Iterator[str]:
    hook, marks = implementation.hook, implementation.marks
    if _lacks_self(implementation.function, hooks.get(hook, ())):
        yield "has no self, which a method of a class needs as its first parameter"
        return
    if hook not in hooks:
        if not marks["optionalhook"]:
            yield f"there is no hook {hook!r}{_suggest(hook, hooks)}"
        return
    if contract.allowed is not None and hook not in contract.allowed:
        yield f"{hook!r} is not for plugins of this kind, which may implement {', '.join(contract.allowed)}"
    if contract.wrappers_only and not implementation.is_wrapper:
        yield "must be a wrapper; write @hookimpl(wrapper=True)"
    if marks["hookwrapper"]:
        yield "hookwrapper=True is the old style; write @hookimpl(wrapper=True)"
    if implementation.is_wrapper and not inspect.isgeneratorfunction(inspect.unwrap(implementation.function)):
        yield "a wrapper must yield once, and return what the yield gave it"
    for parameter in inspect.signature(implementation.function).parameters.values():
        if parameter.kind in _UNPASSED:
            yield f"{str(parameter).partition(':')[0].partition('=')[0]!r} {_UNPASSED[parameter.kind]}"
        elif parameter.default is not parameter.empty:
            yield f"{parameter.name!r} has a default value, so its argument is never passed; remove the default"
        elif parameter.name not in hooks[hook]:
            known = ", ".join(hooks[hook]) or "none"
            suggestion = _suggest(parameter.name, hooks[hook])
            yield f"the hook {hook!r} has no parameter {parameter.name!r} ({known}){suggestion}"


@lru_cache
def _read_hooks(specs: str, project: str) -> Mapping[str, tuple[str, ...]]:
    """Return the parameters of every hook by its name."""
    module, manager = import_module(specs), pluggy.PluginManager(project)
    return {
        name: tuple(inspect.signature(function).parameters)
        for name, function in sorted(vars(module).items())
        if inspect.isfunction(function) and manager.parse_hookspec_opts(module, name) is not None
    }


def _functions(plugin: object) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the callable attributes of a plugin, without running its properties."""
    for name in dir(plugin):
        if name.startswith("__"):
            continue
        static = inspect.getattr_static(plugin, name, None)
        is_method = callable(static) or isinstance(static, (staticmethod, classmethod))
        if not is_method or _is_inherited_promise(plugin, name):
            continue
        yield name, getattr(plugin, name)


def _is_inherited_promise(plugin: object, name: str) -> bool:
    """Tell whether an attribute is only declared by a `typing.Protocol` that the plugin's class names as a base."""
    owner = next((base for base in type(plugin).__mro__ if name in vars(base)), None)
    return bool(getattr(owner, "_is_protocol", False))


def _place(function: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f" [{code.co_filename}, line {code.co_firstlineno}]" if code else ""


def _suggest(name: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    guess = closest(name, known)
    return f"; did you mean {guess!r}?" if guess else ""
