"""Import one plugin and check it; whatever goes wrong is one typed error that says where."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from neuronkit_registry.environment import DISABLE
from neuronkit_registry.errors import MalformedTargetError, PluginContractError, PluginLoadError
from neuronkit_registry.family import Contract
from neuronkit_registry.info import Origin, PluginInfo
from neuronkit_registry.names import closest
from neuronkit_registry.requirements import find_extra
from neuronkit_registry.targets import split_target

_DISTRIBUTIONS = {"PIL": "pillow", "cv2": "opencv-python", "sklearn": "scikit-learn", "yaml": "pyyaml"}
"""Packages that are imported by another name than they are installed by."""


def load_plugin(record: PluginInfo, contract: Contract | None, requires: Sequence[str] = ()) -> Any:
    """
    Import what an entry point names and check it.

    Args:
        record: The candidate.
        contract: What it must keep; None checks nothing.
        requires: The package's requirements, which may tell the extra that a missing module comes with.

    Raises:
        MalformedTargetError: The target is not ``module:attribute``.
        PluginLoadError: The import failed, even by `SystemExit`; only `KeyboardInterrupt` passes.
        PluginContractError: The object breaks its contract.
    """
    plugin = _import_target(record, requires)
    if contract is not None:
        check_plugin(record, plugin, contract)
    return plugin


def check_plugin(record: PluginInfo, plugin: object, contract: Contract) -> None:
    """
    Check an object against a contract.

    Raises:
        PluginContractError: With a line for each mistake.
    """
    from neuronkit_registry.contract import find_mistakes

    if mistakes := find_mistakes(plugin, contract):
        hint = None if record.origin is Origin.RUNTIME else f"pip install --upgrade {record.package}{ignoring(record)}"
        raise PluginContractError(f"Plugin {record.label} breaks its contract", "\n".join(mistakes), hint)


def ignoring(record: PluginInfo) -> str:
    """Return the end of a hint: how to go on without an installed plugin."""
    meant = record.qualified if record.origin is Origin.BUILTIN else record.package
    return f", or set {DISABLE}={meant} to ignore it"


def _import_target(record: PluginInfo, requires: Sequence[str]) -> Any:
    parts = split_target(record.target)
    if parts is None:
        raise MalformedTargetError(f"Plugin {record.label} has no target of the form module:attribute")
    module_name, path = parts
    try:
        found: Any = import_module(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin that calls sys.exit() must not end the program that looked at it
        raise _load_error(record, _describe(error), _advise(record, error, requires)) from error
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except KeyboardInterrupt:
            raise
        except AttributeError as error:
            advice = f"pip install --force-reinstall {record.package}{ignoring(record)}"
            raise _load_error(record, _describe_missing(found, name), advice) from error
        except BaseException as error:
            raise _load_error(record, _describe(error), _advise(record, error, requires)) from error
    return found


def _load_error(record: PluginInfo, reason: str, hint: str) -> PluginLoadError:
    return PluginLoadError(f"Cannot load plugin {record.label}", reason, hint)


def _describe(error: BaseException) -> str:
    text = str(error.msg if isinstance(error, SyntaxError) else error).strip()
    place = _place(error)
    described = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"{described}  [{place}]" if place else described


def _place(error: BaseException) -> str | None:
    """Return file and line of the failure: the innermost frame that is neither the import system's nor ours."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    from traceback import walk_tb

    place = None
    for frame, line in walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        if file != __file__ and file != import_module.__code__.co_filename and not file.startswith("<"):
            place = f"{file}, line {line}"
    return place


def _describe_missing(found: Any, name: str) -> str:
    is_module = isinstance(found, ModuleType)
    owner = found.__name__ if is_module else type(found).__name__
    guess = closest(name, [known for known in dir(found) if not known.startswith("_")])
    suggestion = f"; did it mean {guess!r}?" if guess else ""
    file = getattr(found, "__file__", None) if is_module else None
    return f"{owner} has no attribute {name!r}{suggestion}" + (f"  [{file}]" if file else "")


def _advise(record: PluginInfo, error: BaseException, requires: Sequence[str]) -> str:
    missing = next((item.name for item in _chain(error) if isinstance(item, ModuleNotFoundError) and item.name), None)
    if missing is None:
        return f"pip install --upgrade {record.package}{ignoring(record)}"
    top = missing.partition(".")[0]
    if top == record.target.partition(":")[0].strip().partition(".")[0] or top in sys.modules:
        # A part of an installed package is gone, the plugin's own or another's of the wrong version.
        return f"pip install --force-reinstall {record.package}{ignoring(record)}"
    needed = _DISTRIBUTIONS.get(top, top)
    extra = find_extra(requires, needed)
    wanted = f'"{record.package}[{extra}]"' if extra else needed
    return f"pip install {wanted}{ignoring(record)}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
