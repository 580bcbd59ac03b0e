"""
neuronkit: Hugging Face models as compiled, fixed-shape artifacts, one plugin per architecture and task.

Every public name imports from here, lazily: ``import neuronkit`` loads neither torch nor transformers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neuronkit.api import compile, load, pipeline
    from neuronkit.hooks import hookimpl
    from neuronkit.padding import remove_padding
    from neuronkit.plugins import ModelPlugin, get_registry
    from neuronkit_registry.errors import NeuronkitError

__version__ = "0.1.0"

_HOMES = {
    "ArtifactError": "neuronkit.errors",
    "CompileError": "neuronkit.errors",
    "InputError": "neuronkit.errors",
    "ModelPlugin": "neuronkit.plugins",
    "NeuronBaseModel": "neuronkit.models.base",
    "NeuronkitError": "neuronkit.errors",
    "OptionError": "neuronkit.errors",
    "ValidationError": "neuronkit.errors",
    "compile": "neuronkit.api",
    "get_registry": "neuronkit.plugins",
    "hookimpl": "neuronkit.hooks",
    "load": "neuronkit.api",
    "pipeline": "neuronkit.api",
    "remove_padding": "neuronkit.padding",
}

__all__ = [
    "ModelPlugin",
    "NeuronkitError",
    "compile",
    "get_registry",
    "hookimpl",
    "load",
    "pipeline",
    "remove_padding",
]


def __getattr__(name: str) -> Any:
    if home := _HOMES.get(name):
        value = getattr(import_module(home), name)
    elif name.startswith("Neuron"):
        from neuronkit.plugins import load_class

        value = load_class(name)
    elif name == "testing":
        value = import_module("neuronkit.testing")
    else:
        raise AttributeError(f"module 'neuronkit' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    from neuronkit.plugins import class_names

    return sorted({*globals(), *_HOMES, *class_names()})
