"""The compile journey in pieces, so that each can be looked at: the export config, and which graphs a compile adds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

import neuronkit
from neuronkit.compilation.declaration import declare_graphs
from neuronkit.export.config import ExportConfig
from neuronkit.export.source import resolve_source
from neuronkit.manager import make_manager, options_class
from neuronkit.options import split_options


class Export:
    """
    What a plugin says of a checkpoint.

    Args:
        key: The plugin's key, possibly with ``@package``.
        checkpoint: Its directory.
        given: Shapes and options.
    """

    def __init__(self, key: str, checkpoint: Path, given: Mapping[str, Any]) -> None:
        self.source = resolve_source(checkpoint)
        self.hook: Any = make_manager(neuronkit.get_registry().resolve(key).plugin).hook
        self.parsed = split_options(given, options_class(self.hook))

    def make_config(self) -> ExportConfig:
        """Ask the plugin for a new export config."""
        _, config = declare_graphs(self.source, self.hook, self.parsed)
        return config


def describe(config: ExportConfig) -> dict[str, Any]:
    """Return what an export config declares as JSON-like data, without its functions."""
    kept = attrs.asdict(
        config,
        filter=lambda field, _: field.name not in ("load", "wrap", "probe", "write_files"),
        value_serializer=lambda _, __, value: (
            f"{value.__module__}.{value.__qualname__}" if isinstance(value, type) else value
        ),
    )
    return _plain(kept)


def _plain(value: Any) -> Any:
    """Return what is left of a value after a journey through JSON."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


def compile_into(output: Path, key: str, checkpoint: Path, given: Mapping[str, Any], backend: str, cache: Path) -> None:
    """Compile a checkpoint for a key, with a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEURONKIT_CACHE", str(cache))
        neuronkit.compile(checkpoint, output, task=key, backend=backend, **given)


def graphs_in(cache: Path) -> dict[str, str]:
    """Return the keys of the graphs in a cache, with what each is."""
    from neuronkit.artifact.cache import GraphCache

    return {entry.key: entry.label for entry in GraphCache(cache).entries()}
