"""
The conformance kit: what an author of a plugin runs to know that the plugin keeps every promise.

A test file with one subclass of `PluginConformance` gives one pytest item per promise. `neuronkit.testing.fixtures` is a
pytest plugin with fixtures for tests of one's own; nothing in it is automatic. Needs ``pip install "neuronkit[testing]"``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neuronkit.testing.conformance import PluginConformance

__all__ = ["PluginConformance"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'neuronkit.testing' has no attribute {name!r}")
    try:
        from neuronkit.testing.conformance import PluginConformance
    except ModuleNotFoundError as error:
        if error.name != "pytest":
            raise
        raise ImportError('neuronkit.testing needs pytest.\nTry: pip install "neuronkit[testing]"') from error
    globals()[name] = PluginConformance
    return PluginConformance
