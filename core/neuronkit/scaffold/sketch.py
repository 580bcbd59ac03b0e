"""What a generated package has for its task: which templates, which model, which example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


@attrs.frozen(kw_only=True)
class Sketch:
    """
    What ``neuronkit new-plugin`` begins a package with, for one task.

    It is an entry point in the group ``neuronkit.sketches.v1``, whose name is the task.

    Args:
        templates: Folder with ``<task>.py.tmpl``, which becomes ``plugin.py``, and one such file for each of `modules`. In
            them ``$name`` stands for a value, as for `string.Template`; `neuronkit.scaffold.writing.substitutions` has all.
        base: Class of the model that the package begins with.
        suffix: What the name of the package's own class of model ends with: ``ForQuestionAnswering``.
        raw: Keywords of one call.
        bad_raw: Keywords of calls that must be refused.
        result: The form of the result, as the conformance kit takes it, in Python.
        shapes: What a sample is compiled for on the command line.
        test_shapes: What the conformance kit compiles for.
        modules: The modules beside ``plugin.py``. ``sample`` saves a checkpoint with random weights.
        is_pipeline: Whether the model is a pipeline of diffusers, whose architecture follows from the name of its class.
        extra: The extra of neuronkit that the package needs, or none.
        requires: What else it needs, as pip knows it: ``acme-graphs>=2``.
    """

    templates: Traversable
    base: str
    suffix: str
    raw: Mapping[str, Any]
    bad_raw: tuple[Mapping[str, Any], ...]
    result: str
    shapes: Mapping[str, int] = attrs.field(factory=lambda: {"sequence_length": 64})
    test_shapes: Mapping[str, int] = attrs.field(factory=lambda: {"batch_size": 2, "sequence_length": 48})
    modules: tuple[str, ...] = ("model", "sample")
    is_pipeline: bool = False
    extra: str = ""
    requires: tuple[str, ...] = ()

    @property
    def example(self) -> str:
        """The options of ``neuronkit run``."""
        words = []
        for name, value in self.raw.items():
            for item in value if isinstance(value, list) else [value]:
                words.append(
                    f"--{name.replace('_', '-')} {chr(34) + item + chr(34) if isinstance(item, str) else item}"
                )
        return " ".join(words)

    @property
    def flags(self) -> str:
        """The options of ``neuronkit compile``."""
        return " ".join(f"--{name.replace('_', '-')} {size}" for name, size in self.shapes.items())
