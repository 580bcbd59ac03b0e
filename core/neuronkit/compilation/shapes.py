"""Shapes: what a caller gives (``batch_size``), which axis it feeds (``batch``), and the defaults."""

from __future__ import annotations

from collections.abc import Mapping

from neuronkit.errors import OptionError
from neuronkit.export.source import Source


class Shapes(dict[str, list[int]]):
    """Sizes by shape name; asking for one that was not given is an error that names it."""

    def __missing__(self, name: str) -> list[int]:
        raise OptionError(f"{name}: required by the plugin, and it has no default. Try: --{name.replace('_', '-')} N")


def default_shapes(source: Source, given: Mapping[str, list[int]]) -> Shapes:
    """Return the given shapes, with ``batch_size`` and ``sequence_length`` filled in."""
    shapes = Shapes({name: list(sizes) for name, sizes in given.items()})
    shapes.setdefault("batch_size", [1])
    if "sequence_length" not in shapes:
        shapes["sequence_length"] = [source.longest_sequence]
    return shapes
