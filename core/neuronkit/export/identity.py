"""What a graph without weights depends on: the architecture, told apart without tracing it."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from neuronkit.export.source import Source

SHAPELESS_FIELDS = frozenset(
    {
        "_commit_hash",
        "_name_or_path",
        "architectures",
        "dtype",
        "finetuning_task",
        "id2label",
        "label2id",
        "problem_type",
        "task_specific_params",
        "torch_dtype",
        "transformers_version",
    }
)
"""Fields of a configuration that do not change the graph. Two checkpoints that differ only here share their graphs."""

_SHAPELESS_ATTRIBUTES = SHAPELESS_FIELDS | {"name_or_path"}
"""The same as attributes of a module: transformers keeps there the path that a model was loaded from."""

_SIMPLE = (str, int, float, bool, type(None))

_LIBRARIES = ("torch", "transformers", "diffusers")
"""Packages whose code is told apart by their version."""


def config_identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a configuration that may change the graph."""
    return {name: value for name, value in config.items() if name not in SHAPELESS_FIELDS}


def module_identity(module: nn.Module) -> list[Any]:
    """
    Return the classes of a module tree with their plain attributes, in a canonical order, and the sources of their packages.

    It tells apart what a configuration does not: a dropped pooler, another attention, the pooling of a wrapper, a changed forward.
    """
    found = [[name, _class_name(owner), _plain(vars(owner))] for name, owner in module.named_modules()]
    modules = {base.__module__ for owner in module.modules() for base in type(owner).__mro__}
    own = sorted(name for name in modules if name.partition(".")[0] not in {*_LIBRARIES, *sys.stdlib_module_names})
    return [found, {name: package_sources(name) for name in own}]


def _class_name(instance: object) -> str:
    return f"{type(instance).__module__}.{type(instance).__qualname__}"


def _plain(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in sorted(attributes.items(), key=lambda item: str(item[0])):
        if name in _SHAPELESS_ATTRIBUTES:
            continue
        if isinstance(value, _SIMPLE):
            found[str(name)] = value
        elif isinstance(value, (list, tuple)) and all(isinstance(item, _SIMPLE) for item in value):
            found[str(name)] = list(value)
        elif isinstance(value, Mapping):
            if plain := _plain(value):
                found[str(name)] = plain
        elif inspect.isroutine(value) or inspect.isclass(value):
            found[str(name)] = f"{value.__module__}.{value.__qualname__}"
        elif attention := getattr(value, "_attn_implementation", None):
            found[str(name)] = attention
    return found


def plugin_identity(plugin: object, source: Source) -> dict[str, Any]:
    """
    Return the source of the plugin and of the checkpoint's own code, and the versions of the model libraries.

    The plugin's source is its package's, for a wrapper may lie in another module than the plugin's class.
    """
    files = {str(path): _sha256(source.path / path) for path in source.side_files() if path.suffix == ".py"}
    owner, name = type(plugin).__module__, _class_name(plugin)
    if isinstance(plugin, ModuleType):
        owner = name = plugin.__name__
    return {
        "class": name,
        "source": package_sources(owner),
        "remote_code": files,
        "libraries": {name: _version(name) for name in _LIBRARIES},
    }


def package_sources(module_name: str) -> dict[str, str]:
    """Return the digests of an imported module and of all code beside and below it, by file name."""
    module = sys.modules[module_name]
    package = sys.modules.get(module.__package__ or "")
    folders = [Path(folder) for folder in getattr(package, "__path__", [])]
    files = {str(path.relative_to(folder)): path for folder in folders for path in sorted(folder.rglob("*.py"))}
    if not files and (file := getattr(module, "__file__", None)):
        files = {Path(file).name: Path(file)}
    return {name: _digest_once(path) for name, path in files.items()}


@cache
def _digest_once(path: Path) -> str:
    """Return a digest of code; what this process runs does not change with the file."""
    return _sha256(path)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
