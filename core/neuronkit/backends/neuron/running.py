"""A compiled graph on its cores: opening the file in the right order, and calling it with positional tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch

from neuronkit.artifact.manifest import CompiledBucket
from neuronkit.backends.neuron import sdk
from neuronkit.backends.neuron.errors import NeuronDeviceError
from neuronkit.backends.neuron.failures import run_failure
from neuronkit.backends.neuron.flags import recipe
from neuronkit.backends.neuron.placement import LOCK, Placement
from neuronkit.backends.neuron.state import stateful_name, without_states
from neuronkit.errors import OptionError

RECORD = "neuron.json"
_MARK = "RuntimeError:"


@attrs.frozen(kw_only=True)
class GraphRecord:
    """
    What loading a graph needs to know and the compiled file does not say.

    Args:
        graph: Its name.
        kind: `Graph.kind`.
        flags: It was compiled with these.
        inline_weights: The weights are in the binary.
        dynamic_batch: It takes any batch.
        batch_first: Every input and output has the batch as its first axis, so that calls can be split over cores.
        states: Positions of the inputs that stay on the device.

    """

    graph: str
    kind: str | None
    flags: list[str]
    inline_weights: bool
    dynamic_batch: bool
    batch_first: bool
    states: list[int] = attrs.field(factory=list)


def write_record(record: GraphRecord, directory: Path) -> None:
    """Put a record beside its graph."""
    (directory / RECORD).write_text(json.dumps(attrs.asdict(record), indent=1, sort_keys=True), encoding="utf-8")


def read_record(directory: Path) -> GraphRecord:
    """Read what `write_record` wrote."""
    return GraphRecord(**json.loads((directory / RECORD).read_text(encoding="utf-8")))


class NeuronRunner:
    """
    A graph on its cores.

    Args:
        script: A traced module, or ``DataParallel`` around one.
        name: Of the graph, for errors.
        states: Positions of the inputs that it does not take.
        replicas: How many compiled batches one call takes.

    """

    __slots__ = ("_name", "_script", "_states", "replicas")

    def __init__(self, script: Any, name: str, states: Sequence[int] = (), replicas: int = 1) -> None:
        self._script = script
        self._name = name
        self._states = list(states)
        self.replicas = replicas

    def __call__(self, tensors: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        """
        Run; several threads may at the same time.

        Raises:
            NeuronDeviceError: The run time failed, or a graph that loads in the background could not be put on its core.

        """
        if self._states:
            tensors = without_states(tensors, self._states)
        try:
            with torch.no_grad():
                result = self._script(*tensors)
        except (RuntimeError, ValueError) as error:
            raise _device_error(f"Graph {self._name!r} failed on its core", error, "neuronkit doctor") from error
        if isinstance(result, torch.Tensor):
            return (result,)
        return tuple(result.values()) if isinstance(result, Mapping) else tuple(result)


def open_graph(
    directory: Path, compiled: CompiledBucket, weights: Mapping[str, torch.Tensor], placement: Placement
) -> NeuronRunner:
    """
    Put a compiled graph on its cores. Only one thread at a time does it.

    Raises:
        NeuronPackageError: ``torch_neuronx`` is not usable.
        NeuronDeviceError: There is no free core, or not enough memory on it.
        OptionError: The graph cannot be split over cores.

    """
    file = directory / compiled.entry
    record = read_record(file.parent)
    split = placement.splits(record.kind)
    if split and not record.batch_first:
        raise OptionError(
            f"data_parallel_mode: graph {record.graph!r} has an input or output whose first axis is not the batch, so "
            "that its calls cannot be split over cores. Try: data_parallel_mode none, or unet."
        )
    package = sdk.package()
    with LOCK:
        try:
            if split:
                return _split(package, file, compiled, record, weights, placement)
            script = _open(package, file, compiled, record, weights, placement)
        except (RuntimeError, ValueError) as error:
            raise _device_error(
                f"Graph {record.graph!r} could not be put on core {placement.cores[0]}",
                error,
                "neuronkit doctor. A core belongs to one process until that process ends; NEURON_RT_VISIBLE_CORES chooses "
                "which cores this one takes",
            ) from error
    return NeuronRunner(script, record.graph, record.states)


def _device_error(what: str, error: Exception, cure: str) -> NeuronDeviceError:
    """Return an error with the cause and cure of the run time's status, or the given cure where there is none."""
    reason = _reason(error)
    if failure := run_failure(reason):
        return NeuronDeviceError(f"{what}: {reason}, which means that {failure.cause}.\nTry: {failure.cure}.")
    return NeuronDeviceError(f"{what}: {reason}\nTry: {cure}.")


def _reason(error: Exception) -> str:
    """Return what went wrong without TorchScript's traceback, which stands before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    marked = [line for line in lines if line.startswith(_MARK)]
    reason = marked[-1] if marked else lines[-1] if lines else type(error).__name__
    while reason.startswith(_MARK):
        reason = reason.removeprefix(_MARK).strip()
    return reason


def _open(
    package: Any,
    file: Path,
    compiled: CompiledBucket,
    record: GraphRecord,
    weights: Mapping[str, torch.Tensor],
    placement: Placement,
) -> Any:
    core, split = placement.cores[0], placement.splits(record.kind)
    with package.neuron_cores_context(core, 1):
        script = torch.jit.load(str(file))
    if recipe(record.kind).lazy_load and not split:
        # It loads at the first call, where the context is gone; `DataParallel` loads by itself.
        package.set_neuron_cores(script, core, 1)
    if not record.inline_weights:
        names = [constant.name for constant in compiled.constants]
        package.replace_weights(
            script, {stateful_name(name) if record.states else name: weights[name] for name in names}
        )
    if (not record.inline_weights or record.states) and not split:
        # Weights that stay on the host are sent to the device again at every call.
        package.move_trace_to_device(script, core)
    return script


def _split(
    package: Any,
    file: Path,
    compiled: CompiledBucket,
    record: GraphRecord,
    weights: Mapping[str, torch.Tensor],
    placement: Placement,
) -> NeuronRunner:
    count = len(placement.cores)
    script = _open(package, file, compiled, record, weights, placement)
    parallel = package.DataParallel(script, device_ids=list(placement.cores), dim=0, set_dynamic_batching=False)
    # Its own default is 2 for consecutive cores, whatever their number.
    parallel.num_workers = count
    return NeuronRunner(parallel, record.graph, record.states, replicas=count)
