"""The packages that ``neuronkit new-plugin`` writes: their names, the sketch of each task, and the templates."""

from __future__ import annotations

from neuronkit.scaffold.sketch import Sketch

__all__ = ["Sketch"]
