"""The page of the error classes."""

from __future__ import annotations

import inspect

import neuronkit.errors
import neuronkit_registry.errors
from neuronkit.backends.neuron import errors as neuron_errors
from neuronkit_registry.errors import NeuronkitError, PluginWarning
from tools.reference.text import docstring, page, summary, table

INTRO = """
Every error that neuronkit raises derives from `neuronkit.NeuronkitError`, so one `except` catches them all; where one
of Python's own errors fits, it derives from that too. A message
says what happened, to what, and what to type next. `neuronkit` on the command line prints the message and ends with
status 1, or 2 for wrong options; `--debug` shows the traceback.
"""
HOMES = {
    "Compiling, loading and running": neuronkit.errors,
    "Plugins": neuronkit_registry.errors,
    "The neuron backend": neuron_errors,
}


def classes() -> dict[str, list[type]]:
    """Return the error classes by the title of their section, in the order of their modules."""
    return {
        title: [
            item
            for item in vars(module).values()
            if inspect.isclass(item)
            and issubclass(item, NeuronkitError | PluginWarning)
            and item.__module__ == module.__name__
        ]
        for title, module in HOMES.items()
    }


def render() -> str:
    """Return the page."""
    parts = []
    for title, found in classes().items():
        home = HOMES[title].__name__
        rows = [[f"`{item.__name__}`", _bases(item), summary(item)] for item in found]
        parts += [f"## {title}", f"In `{home}`.", table(["class", "also a", "raised when"], rows)]
    parts += ["## Attributes", *(f"`{item.__name__}`\n\n{docstring(item)}" for item in _with_arguments())]
    return page("Errors", INTRO, *parts)


def _with_arguments() -> list[type]:
    return [item for found in classes().values() for item in found if "Args:" in (vars(item).get("__doc__") or "")]


def _bases(item: type) -> str:
    return ", ".join(f"`{base.__name__}`" for base in item.__bases__)
