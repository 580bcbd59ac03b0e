"""Calls of graphs whose results are known: what the unwrapped eager model gives for the same tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch

from neuronkit.artifact.reader import open_artifact
from neuronkit.buckets import Bucket
from neuronkit.export.capture import TracedModule
from neuronkit.export.config import ExportConfig, Graph
from neuronkit.loading import open_with_plugin
from neuronkit.session import Session
from neuronkit.validation.references import Reference, difference, eager_failures, reference, scale, shorter

Call = Mapping[str, Any]
"""``graph``, ``inputs`` and ``state``: what `run_all` takes, and what a file can hold."""


def load_session(artifact: Path) -> Session:
    """Open an artifact through the hooks of its plugin."""
    return open_with_plugin(open_artifact(artifact))


def expected_calls(
    config: ExportConfig,
    model: Any,
    session: Session,
    settings: Mapping[str, Any],
    given: Mapping[str, Mapping[str, torch.Tensor]],
) -> list[Reference]:
    """
    Run the eager model for every bucket of every graph, at its own sizes and at shorter ones.

    Args:
        config: What the plugin declares.
        model: What its `load` returned.
        session: The loaded artifact, for its buckets.
        settings: The checkpoint's configuration.
        given: Tensors by graph and input, where random ones would not do.
    """
    found: list[Reference] = []
    for graph in config.graphs:
        module = graph.wrapped(model)
        if graph.name in given:
            found.append(_given_call(graph, module, model, given[graph.name]))
            continue
        for bucket in session.graphs[graph.name].buckets:
            wanted = [dict(bucket.sizes), shorter(bucket.sizes, graph)]
            for number, sizes in enumerate(wanted):
                if sizes not in wanted[:number]:
                    found += reference(graph, Bucket(sizes), module, settings, model)
    return found


def _given_call(graph: Graph, module: Any, model: Any, inputs: Mapping[str, torch.Tensor]) -> Reference:
    sizes = {
        axis: tensor.shape[position]
        for input in graph.inputs
        if (tensor := inputs.get(input.name)) is not None
        for position, axis in enumerate(input.axes)
        if isinstance(axis, str) and axis.isidentifier()
    }
    copies = {name: tensor.clone() for name, tensor in inputs.items()}
    with torch.no_grad(), eager_failures(graph, sizes):
        result = graph.probe.expected(model, copies) if graph.probe else module(**copies)
    names = [output.name for output in graph.outputs]
    outputs = dict(zip(names, TracedModule(module, graph).pick(result), strict=True))
    return Reference(graph, Bucket(sizes), sizes, dict(inputs), outputs)


def as_calls(references: Sequence[Reference]) -> list[Call]:
    """Return the calls that give the references' outputs."""
    calls: list[Call] = []
    for one in references:
        kept = {input.name for input in one.graph.state}
        parts: dict[str, dict[str, torch.Tensor]] = {"inputs": {}, "state": {}}
        for name, tensor in one.inputs.items():
            parts["state" if name in kept else "inputs"][name] = tensor
        calls.append({"graph": one.graph.name, **parts})
    return calls


def run_all(session: Session, calls: Sequence[Call]) -> list[dict[str, torch.Tensor]]:
    """Run calls, each on a state of its own: what it says, and zeros beyond."""
    results = []
    for call in calls:
        session.reset()
        for name, tensor in call["state"].items():
            session.state[name][tuple(slice(0, size) for size in tensor.shape)] = tensor
        outputs = session.forward(call["graph"], call["inputs"])
        results.append({name: tensor.clone() for name, tensor in outputs.items()})
    session.reset()
    return results


@attrs.frozen
class Difference:
    """
    How far one output is from the eager model's.

    Args:
        output: Its name.
        found: The largest absolute difference.
        allowed: What the plugin declares.
    """

    output: str
    found: float
    allowed: float


def differences(
    expected: Mapping[str, torch.Tensor], got: Mapping[str, torch.Tensor], atol: float, *, relative: bool
) -> list[Difference]:
    """Compare outputs of equal shapes; see `neuronkit.export.Tolerance` for `relative`."""
    return [
        Difference(name, difference(wanted, got[name]), atol * (scale(wanted) if relative else 1.0))
        for name, wanted in expected.items()
    ]
