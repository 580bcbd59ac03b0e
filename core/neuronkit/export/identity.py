"""What a graph without weights depends on: the architecture, told apart without tracing it."""

from __future__ import annotations

import enum
import functools
import hashlib
import inspect
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Set
from pathlib import Path, PurePath
from types import CodeType, ModuleType
from typing import Any

import attrs
import numpy as np
import torch
from torch import nn

from neuronkit.environment import version_of
from neuronkit.export.source import Source

SHAPELESS_FIELDS = frozenset(
    {
        "_commit_hash",
        "_diffusers_version",
        "_name_or_path",
        "_use_default_values",
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
"""
Fields of a configuration that do not change the graph. Two checkpoints that differ only here share their graphs.

diffusers lists the fields that it filled in itself, in an order of each process.
"""

_OF_NO_GRAPH = frozenset({"generation_config", "name_or_path"})
"""Attributes of a module that do not change its graph: transformers keeps there where it was loaded from, and how it generates."""

_OF_WEIGHTS = frozenset({"_buffers", "_parameters"})
"""Attributes in which torch keeps a module's weights, which may lie outside the graph."""
_HOOKS = frozenset(name for name, value in vars(nn.Module()).items() if isinstance(value, OrderedDict))
"""Attributes in which torch keeps a module's hooks, by numbers that it counts for the whole process."""

_SIMPLE = (str, int, float, bool, type(None))
_NAMED = (torch.dtype, torch.device, torch.layout, torch.memory_format, complex, bytes, range, slice)
"""Values that their `repr` tells apart."""

_PARAMETERS_AGAIN = ("_flat_weights", "_flat_weight_refs")
"""Where recurrent layers have their parameters in lists, which follow when a parameter is replaced, as an export does."""
_SOURCES = frozenset({".cpp", ".h", ".py"})
"""Suffixes of files whose code compiled graphs depend on."""
_LIBRARIES = ("torch", "transformers", "diffusers")
"""Packages whose code is told apart by their version."""


def config_identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a configuration that may change the graph."""
    return {name: value for name, value in config.items() if name not in SHAPELESS_FIELDS}


def module_identity(module: nn.Module) -> list[Any]:
    """
    Return the classes of a module tree with their attributes, in a canonical order, and the sources of their packages.

    It tells apart what a configuration does not: a dropped pooler, another attention, the pooling of a wrapper, a changed forward.
    Parameters and buffers are left to the signature of the weights.
    """
    modules = {base.__module__ for owner in module.modules() for base in type(owner).__mro__}
    own = sorted(name for name in modules if name.partition(".")[0] not in {*_LIBRARIES, *sys.stdlib_module_names})
    return [module_structure(module), {name: package_sources(name) for name in own}]


def module_structure(module: nn.Module) -> list[Any]:
    """Return the classes of a module tree with their attributes, in a canonical order."""
    tree = tuple(id(owner) for owner in module.modules())
    return [[name, _class_name(owner), _attributes(owner, tree)] for name, owner in module.named_modules()]


def _attributes(module: nn.Module, tree: tuple[int, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    again = _PARAMETERS_AGAIN if isinstance(module, nn.RNNBase) else ()
    for name, value in sorted(vars(module).items()):
        if name in again:
            continue
        if name in _HOOKS:
            value = list(value.values())
        if name in _OF_WEIGHTS:
            found[name] = {key: None if tensor is None else _kind(tensor) for key, tensor in value.items()}
        elif isinstance(value, torch.Tensor):
            found[name] = _kind(value)  # which becomes a buffer
        elif name not in _OF_NO_GRAPH:
            found[name] = canonical(value, without=SHAPELESS_FIELDS | _OF_NO_GRAPH, inside=tree)
    return found


def _kind(tensor: torch.Tensor) -> list[Any]:
    return [_class_name(tensor), str(tensor.dtype), list(tensor.shape)]


def canonical(value: Any, *, without: Set[str] = frozenset(), inside: tuple[int, ...] = ()) -> Any:
    """
    Return JSON-like data that tells a value apart from others, and is the same in every process.

    Objects are told apart by their class and state, functions by their names, what they compute, and what they hold of where they
    were made, tensors by their dtype, shape and values: these are written into a graph. Where a class keeps its state outside of
    Python's reach, and for paths, the class is all that counts.

    Args:
        value: Anything.
        without: Names of fields and keys that do not count.
        inside: The objects that hold this one, which ends a circle.
    """
    if isinstance(value, _SIMPLE) and type(value) in _SIMPLE:
        return value
    if isinstance(value, enum.Enum):
        return [_class_name(value), value.name]
    if isinstance(value, _NAMED):
        return repr(value)
    if isinstance(value, torch.Tensor):
        return [*_kind(value), _values(value)]
    if isinstance(value, (np.ndarray, np.generic)):
        return [str(value.dtype), list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
    if inspect.isclass(value) or (inspect.isroutine(value) and not _is_own_function(value)):
        return f"{value.__module__}.{value.__qualname__}"
    if id(value) in inside or isinstance(value, PurePath):
        return _class_name(value)
    part = functools.partial(canonical, without=without, inside=(*inside, id(value)))
    if inspect.isfunction(value):
        cells = [part(cell.cell_contents) for cell in value.__closure__ or () if cell != types.CellType()]
        named = [f"{value.__module__}.{value.__qualname__}", _instructions(value.__code__)]
        return [*named, part(value.__defaults__), part(value.__kwdefaults__), cells]
    if isinstance(value, Mapping):
        return {str(name): part(item) for name, item in value.items() if name not in without}
    if isinstance(value, (list, tuple)):
        return [part(item) for item in value]
    if isinstance(value, Set):
        return sorted((part(item) for item in value), key=repr)
    if isinstance(value, functools.partial):
        return [part(value.func), part(value.args), part(value.keywords)]
    plain = [
        kind.__repr__(value) for kind in (str, int, float) if isinstance(value, kind)
    ]  # of a subclass, what it is of these
    state = object.__getstate__(value)
    return [
        _class_name(value),
        *plain,
        *(part(fields) for fields in (state if isinstance(state, tuple) else [state]) if fields),
    ]


def _is_own_function(function: Any) -> bool:
    """Tell whether a function is of no library: two of the same name, such as lambdas, may compute and hold something else."""
    return inspect.isfunction(function) and function.__module__.partition(".")[0] not in _LIBRARIES


def _values(tensor: torch.Tensor) -> str | None:
    """Return a digest of a tensor's values; None for one of a kind that does not show them."""
    if type(tensor) not in (torch.Tensor, nn.Parameter) or tensor.is_meta or tensor.layout is not torch.strided:
        return None
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return hashlib.sha256(flat.view(torch.uint8).numpy().tobytes()).hexdigest()


def _class_name(instance: object) -> str:
    return f"{type(instance).__module__}.{type(instance).__qualname__}"


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
        "libraries": libraries(),
    }


def libraries() -> dict[str, str | None]:
    """Return the versions of the packages whose code is told apart by them; None for one that is not installed."""
    return {name: version_of(name) for name in _LIBRARIES}


def package_sources(module_name: str) -> dict[str, str]:
    """
    Return the digests of an imported module and of all code beside and below it, by file name.

    What was typed into an interpreter or a notebook is in no file: what it defined until now counts.
    """
    module = sys.modules[module_name]
    package = sys.modules.get(module.__package__ or "")
    folders = [Path(folder) for folder in getattr(package, "__path__", [])]
    files = {
        str(path.relative_to(folder)): path
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.suffix in _SOURCES
    }
    if not files and (file := getattr(module, "__file__", None)) and Path(file).is_file():
        files = {Path(file).name: Path(file)}
    if not files:
        defined = sorted(_code_of(module, module_name, set()))
        return {module_name: hashlib.sha256("\n".join(defined).encode()).hexdigest()}
    imports = {getattr(one, "__file__", None): getattr(one, "__spec__", None) for one in list(sys.modules.values())}
    return {name: _digest_once(path, _Import(imports.get(str(path)))) for name, path in files.items()}


def _code_of(owner: ModuleType | type, module_name: str, seen: set[int]) -> Iterator[str]:
    """Yield what functions compute, and those of classes, that a module defined, and its plain values."""
    for name, value in list(vars(owner).items()):
        if isinstance(value, _SIMPLE) and not name.startswith("_"):  # a notebook's own names change with every cell
            yield f"{name} = {value!r}"
        function = inspect.unwrap(getattr(value, "__func__", getattr(value, "fget", value)))
        if getattr(function, "__module__", None) != module_name or id(function) in seen:
            continue
        seen.add(id(function))
        if inspect.isfunction(function):
            yield f"{function.__qualname__} {_instructions(function.__code__)} {function.__defaults__}"
        elif inspect.isclass(function):
            yield f"{function.__qualname__} {[base.__qualname__ for base in function.__bases__]}"
            yield from _code_of(function, module_name, seen)


def _instructions(code: CodeType) -> str:
    inner = [_constant(part) for part in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {inner}"


def _constant(value: Any) -> str:
    if isinstance(value, CodeType):
        return _instructions(value)
    return repr(sorted(map(repr, value)) if isinstance(value, frozenset) else value)


@attrs.frozen(eq=False)
class _Import:
    """One import of a module: importing it again makes another spec."""

    spec: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Import) and other.spec is self.spec

    def __hash__(self) -> int:
        return id(self.spec)


@functools.cache
def _digest_once(path: Path, imported: _Import) -> str:
    """Return a digest of code; what this process runs does not change with the file, but with another import of it."""
    return _sha256(path)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
