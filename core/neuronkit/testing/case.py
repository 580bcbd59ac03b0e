"""The one case of a conformance class: made once, looked at by every promise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

import torch

import neuronkit
from neuronkit.compilation.declaration import load_eager
from neuronkit.compilation.precision import is_relative, tolerance
from neuronkit.export.config import ExportConfig
from neuronkit.running import Pipeline
from neuronkit.session import Session
from neuronkit.testing.calls import as_calls, expected_calls, run_all
from neuronkit.testing.exporting import Export, compile_into
from neuronkit.testing.fresh import FreshProcess
from neuronkit.validation.references import Reference

DEFAULTS: Mapping[str, Any] = {"optlevel": 1, "static": True, "validate": False}
"""
How cases are compiled unless they say otherwise: quickly, for fixed sizes, so that padding happens, and without the gate, because
the comparison with eager does all that the gate does, and more.
"""


def _once(make: Callable[[Any], Any]) -> Any:
    """Make a property whose value, or the exception that it raised, is kept."""
    name = make.__name__

    @wraps(make)
    def get(self: Any) -> Any:
        kept = self.__dict__.setdefault("_kept", {})
        if name not in kept:
            try:
                kept[name] = make(self), None
            except Exception as error:
                kept[name] = None, error
        value, failure = kept[name]
        if failure is not None:
            raise failure.with_traceback(None)
        return value

    return property(get)


class Case:
    """
    A plugin with a tiny checkpoint, what is compiled from it, and what eager gives.

    Args:
        suite: An instance of the conformance class.
        key: The plugin's key.
        folder: An empty directory.
        cache: The cache of compiled graphs, shared with other cases.
        fresh: Another process.
    """

    def __init__(self, suite: Any, key: str, folder: Path, cache: Path, fresh: FreshProcess) -> None:
        self.suite = suite
        self.key = key
        self.folder = folder
        self.cache = cache
        self.fresh = fresh
        self.given: dict[str, Any] = {**DEFAULTS, **suite.shapes, **suite.options}
        self.backend: str = self.given.pop("backend", "cpu")

    @property
    def request(self) -> dict[str, Any]:
        """The arguments of the fresh process's requests."""
        return {"key": self.key, "checkpoint": str(self.checkpoint), "given": self.given}

    @_once
    def checkpoint(self) -> Path:
        """The checkpoint's directory."""
        return Path(self.suite.checkpoint(self.folder / "checkpoint"))

    @_once
    def export(self) -> Export:
        """What the plugin says of the checkpoint."""
        return Export(self.key, self.checkpoint, self.given)

    @_once
    def config(self) -> ExportConfig:
        """The export config, not the one that was compiled."""
        return self.export.make_config()

    @_once
    def model(self) -> Any:
        """The eager model."""
        return load_eager(self.config)

    @_once
    def artifact(self) -> Path:
        """The compiled artifact's directory."""
        output = self.folder / "artifact"
        self.compile(output)
        return output

    @_once
    def shell(self) -> Any:
        """The loaded artifact."""
        return neuronkit.load(self.artifact)

    @property
    def session(self) -> Session:
        """The session of `shell`."""
        session: Session = self.shell.session
        return session

    @_once
    def pipeline(self) -> Pipeline:
        """Raw input to result."""
        return neuronkit.pipeline(self.shell)

    @_once
    def references(self) -> list[Reference]:
        """Calls of every graph with what the eager model gives."""
        torch.manual_seed(0)
        given = self.suite.inputs()
        return expected_calls(self.config, self.model, self.session, self.export.source.config, given)

    @_once
    def calls(self) -> list[Any]:
        """The calls of `references`."""
        return as_calls(self.references)

    @_once
    def results(self) -> list[dict[str, torch.Tensor]]:
        """What the compiled graphs give for `calls`."""
        return run_all(self.session, self.calls)

    @property
    def tolerance(self) -> tuple[float, bool]:
        """The largest difference from eager, and whether it grows with the values."""
        options = self.export.parsed.compile
        return tolerance(self.config, options), is_relative(self.config, options)

    def compile(self, output: Path, **changes: Any) -> None:
        """Compile the checkpoint."""
        compile_into(output, self.key, self.checkpoint, {**self.given, **changes}, self.backend, self.cache)

    def bad_calls(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Return calls that no graph may accept: what is wrong, the graph, and the tensors."""
        found: list[tuple[str, str, dict[str, Any]]] = []
        for name, loaded in self.session.graphs.items():
            call = next(call for call in self.calls if call["graph"] == name)
            good: dict[str, torch.Tensor] = call["inputs"]
            first, tensor = next((input.name, good[input.name]) for input in loaded.inputs if input.name in good)
            wrong = tensor.float() if not tensor.is_floating_point() else tensor.long()
            found += [
                ("an unknown input", name, {**good, f"{first}_": tensor}),
                ("no input at all", name, {}),
                ("one dimension too many", name, {**good, first: tensor.unsqueeze(-1)}),
                ("another kind of number", name, {**good, first: wrong}),
                ("something that is no tensor", name, {**good, first: tensor.tolist()}),
            ]
            found += [
                (
                    f"a number beyond the table of {input.name}",
                    name,
                    {**good, input.name: good[input.name] + input.table_size},
                )
                for input in loaded.inputs
                if input.table_size is not None and input.name in good
            ]
            if axis := next((one for one in loaded.graph.axes if one != "batch"), None):
                long = {
                    input.name: torch.cat([good[input.name]] * (loaded.limits[axis] + 1), input.axes.index(axis))
                    for input in loaded.inputs
                    if axis in input.axes and input.name in good
                }
                found.append((f"more {axis} than the largest bucket has", name, {**good, **long}))
        return found
