"""What a graph without weights depends on: the architecture, told apart without tracing it."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
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
        "task_specific_params",
        "torch_dtype",
        "transformers_version",
    }
)
"""Fields of a configuration that do not change the graph. Two checkpoints that differ only here share their graphs."""

_SHAPELESS_ATTRIBUTES = SHAPELESS_FIELDS | {"name_or_path"}
"""The same as attributes of a module: transformers keeps there the path that a model was loaded from."""

_SIMPLE = (str, int, float, bool, type(None))


def config_identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a configuration that may change the graph."""
    return {name: value for name, value in config.items() if name not in SHAPELESS_FIELDS}


def module_identity(module: nn.Module) -> list[Any]:
    """
    Return the classes of a module tree with their plain attributes, in a canonical order.

    It tells apart what a configuration does not: a dropped pooler, another attention, the pooling of a wrapper.
    """
    return [[name, _class_name(owner), _plain(vars(owner))] for name, owner in module.named_modules()]


def _class_name(instance: object) -> str:
    return f"{type(instance).__module__}.{type(instance).__qualname__}"


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in sorted(attributes.items()):
        if name in _SHAPELESS_ATTRIBUTES:
            continue
        if isinstance(value, _SIMPLE):
            found[name] = value
        elif isinstance(value, (list, tuple)) and all(isinstance(item, _SIMPLE) for item in value):
            found[name] = list(value)
        elif inspect.isroutine(value) or inspect.isclass(value):
            found[name] = f"{value.__module__}.{value.__qualname__}"
        elif attention := getattr(value, "_attn_implementation", None):
            found[name] = attention
    return found


def plugin_identity(plugin: object, source: Source) -> dict[str, Any]:
    """
    Return the source of the plugin and of the checkpoint's own code, and the versions of the model libraries.

    The plugin's source is its package's, for a wrapper may lie in another module than the plugin's class.
    """
    files = {str(path): _sha256(source.path / path) for path in source.side_files() if path.suffix == ".py"}
    return {
        "class": _class_name(plugin),
        "source": package_sources(type(plugin).__module__),
        "remote_code": files,
        "libraries": {name: _version(name) for name in ("torch", "transformers", "diffusers")},
    }


def package_sources(module_name: str) -> dict[str, str]:
    """Return the digests of an imported module and of those beside it, by file name."""
    module = sys.modules[module_name]
    package = sys.modules.get(module.__package__ or "")
    folders = [Path(folder) for folder in getattr(package, "__path__", [])]
    paths = [path for folder in folders for path in sorted(folder.glob("*.py"))]
    if not paths and (file := getattr(module, "__file__", None)):
        paths = [Path(file)]
    return {path.name: _sha256(path) for path in paths}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
