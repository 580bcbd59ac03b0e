"""Will a model compile for Neuron? Answered without any Neuron package, and without compiling."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from neuronkit.backends.neuron.targets import CORE_BYTES, family, parse_target
from neuronkit.diagnosis.operators import Problem
from neuronkit.memory import expected_memory
from neuronkit.turns import in_turn

DEFAULT_TARGET = "inf2"


@attrs.frozen(kw_only=True)
class GraphCheck:
    """
    What is known about one graph at one bucket.

    Args:
        graph: Its name.
        kind: `Graph.kind`.
        bucket: Label of the bucket.
        failure: Why it cannot be exported at all, or None.
        problems: Operators that will be refused.
        operators: How often each operator occurs, the most frequent first.
        weight_bytes: Size of its parameters and buffers.
        lowering: Operators after the lowering of torch-xla, where that is installed; else None.
        lowering_failure: Why torch-xla could not lower it, or None.

    """

    graph: str
    kind: str | None
    bucket: str
    failure: str | None = None
    problems: tuple[Problem, ...] = ()
    operators: Mapping[str, int] = attrs.field(factory=dict)
    weight_bytes: int = 0
    lowering: Mapping[str, int] | None = None
    lowering_failure: str | None = None

    @property
    def passed(self) -> bool:
        """True when nothing speaks against it."""
        return self.failure is None and not self.problems and self.lowering_failure is None


@attrs.frozen(kw_only=True)
class Report:
    """
    What is known about a model.

    Args:
        key: ``<architecture>.<task>``.
        target: The device.
        graphs: One check per graph and bucket.
        device_bytes: Weights of all graphs and buckets together: with the weights inside, each has a copy of its own.
        core_bytes: Memory of one core.
        compile_bytes: A rough estimate of the memory that compiling the largest graph takes.
        lowered: Whether torch-xla is installed.

    """

    key: str
    target: str
    graphs: tuple[GraphCheck, ...]
    device_bytes: int
    core_bytes: int
    compile_bytes: int
    lowered: bool

    @property
    def fits(self) -> bool:
        """Whether the weights leave room on one core; what a graph needs beside them is not known."""
        return self.device_bytes < self.core_bytes

    @property
    def passed(self) -> bool:
        """True when it should compile and fit."""
        return self.fits and all(graph.passed for graph in self.graphs)


@in_turn("compile")
def check_model(model: str | Path, *, task: str | None = None, given: Mapping[str, Any] | None = None) -> Report:
    """
    Export every graph of a model at every fixed bucket and look for what Neuron refuses.

    Args:
        model: Directory or hub id.
        task: Task, alias, or ``task@package``; None infers it from the checkpoint.
        given: Shapes and options, as for `neuronkit.compile`; ``target`` is ``"inf2"`` unless given.

    Raises:
        OptionError: A shape or an option is unknown, missing or wrong.
        SourceError: The model was not found.
        ExportConfigError: Its graphs share a state.
        neuronkit_registry.PluginError: No plugin can export it.

    """
    prepared = prepare(model, task=task, given=given)
    checks = [check_graph(*work) for work in prepared.works]
    return Report(
        key=prepared.key,
        target=prepared.target,
        graphs=tuple(checks),
        device_bytes=sum(check.weight_bytes for check in checks),
        core_bytes=CORE_BYTES[family(prepared.target)],
        compile_bytes=max(expected_memory(check.weight_bytes) for check in checks),
        lowered=_has_lowering(),
    )


@attrs.frozen
class Prepared:
    """
    What would be compiled of a model.

    Args:
        key: ``<architecture>.<task>``.
        target: The device.
        config: The checkpoint's configuration.
        model: The eager model.
        works: Graph, fixed bucket, and the module that the graph is traced from.

    """

    key: str
    target: str
    config: Mapping[str, Any]
    model: Any
    works: tuple[tuple[Any, Any, Any], ...]


def prepare(model: str | Path, *, task: str | None = None, given: Mapping[str, Any] | None = None) -> Prepared:
    """Load a model and have its plugin say what there is to compile; see `check_model`."""
    from neuronkit.backends.neuron import backend
    from neuronkit.compilation.declaration import choose_buckets, declare, read_request, refuse_shared_states

    request = read_request(model, task, dict(given or {}))
    target = parse_target(request.parsed.compile.target or DEFAULT_TARGET)
    shapes, config, module = declare(request)
    refuse_shared_states(config.graphs, backend.capabilities)
    works = [
        (graph, bucket, graph.wrapped(module))
        for graph in config.graphs
        for bucket in choose_buckets(
            graph, shapes, backend.capabilities, static=True, optlevel=request.parsed.compile.optlevel
        )
    ]
    return Prepared(request.loaded.info.key, target, request.source.config, module, tuple(works))


def check_graph(graph: Any, bucket: Any, module: Any) -> GraphCheck:
    """
    Look at one graph at one bucket.

    Args:
        graph: A `Graph`.
        bucket: A `Bucket` whose sizes are all fixed.
        module: What `Graph.wrap` returned.

    """
    from neuronkit.backends.exporting import export_program
    from neuronkit.diagnosis import lowering, operators
    from neuronkit.errors import CompileError
    from neuronkit.export.capture import TracedModule

    traced = TracedModule(module, graph).eval()
    tensors = {id(tensor): tensor for tensor in (*traced.parameters(), *traced.buffers())}
    known: dict[str, Any] = {
        "graph": graph.name,
        "kind": graph.kind,
        "bucket": bucket.label,
        "weight_bytes": sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()),
    }
    try:
        program = export_program(graph, bucket, traced)
    except CompileError as error:
        return GraphCheck(**known, failure=_reason(error))
    known["operators"] = operators.count(program)
    known["problems"] = tuple(operators.find_refused(program))
    if _has_lowering():
        try:
            states = [position for position, input in enumerate(graph.inputs) if input.state]
            known["lowering"] = lowering.lower(program, states).operators
        except CompileError as error:
            known["lowering_failure"] = str(error)
    return GraphCheck(**known)


def _reason(error: Exception) -> str:
    """Return the beginning of an exporter's message."""
    cause = error.__cause__ or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[0] if lines else ''}"


def _has_lowering() -> bool:
    from importlib.util import find_spec

    return find_spec("torch_xla") is not None
