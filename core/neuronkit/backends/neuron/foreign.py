"""
Graphs that optimum-neuron compiled: TorchScript files without a record of ours beside them.

UNVERIFIED on a device: written from what optimum-neuron's sources say of its files, and run on the stand-in only.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from packaging.version import InvalidVersion, Version

from neuronkit.artifact import optimum
from neuronkit.artifact.manifest import CompiledBucket
from neuronkit.backends.neuron import sdk
from neuronkit.backends.neuron.errors import NeuronDeviceError
from neuronkit.backends.neuron.placement import LOCK, Placement
from neuronkit.backends.neuron.running import NeuronRunner
from neuronkit.errors import ArtifactCorruptError


def incompatibility(fingerprint: Mapping[str, Any], compiler: str | None, architecture: str | None) -> str | None:
    """
    Return why a graph cannot run here, or None.

    Its exporter records neither torch-neuronx nor the logical cores, and calls older compilers compatible; about those
    the run time decides when it opens the file.

    Args:
        fingerprint: Of the artifact.
        compiler: The version of neuronx-cc that is installed, if any.
        architecture: Of this machine's cores, if known.

    """
    made_with, made_for = str(fingerprint.get("neuronx_cc")), fingerprint.get("architecture")
    try:
        newer = compiler is not None and Version(made_with).release > Version(compiler).release
    except InvalidVersion:
        return f"its configuration names neuronx-cc {made_with}, which is no version"
    if newer:
        return f"it was compiled with neuronx-cc {made_with}, and this is the older {compiler}"
    if made_for and architecture and made_for != architecture:
        return f"it was compiled for {made_for} cores, and this machine has {architecture}"
    return None


def open_foreign(directory: Path, compiled: CompiledBucket, placement: Placement) -> NeuronRunner:
    """
    Put a graph on the first core of a placement. Only one thread at a time does it.

    Raises:
        NeuronPackageError: ``torch_neuronx`` is not usable.
        NeuronDeviceError: There is no free core, or not enough memory on it.
        ArtifactCorruptError: The graph does not take the inputs that the configuration tells.

    """
    manifest = optimum.read(directory)
    if manifest is None:
        raise ArtifactCorruptError(f"{directory} is no artifact of {optimum.EXPORTER} any more. Try: load it again.")
    package = sdk.package()
    made_with, here = manifest.fingerprint["neuronx_cc"], sdk.installed().neuronx_cc
    if here is not None and made_with != here:
        print(  # noqa: T201
            f"note: {directory} was compiled with neuronx-cc {made_with}, and {here} is installed; results were never "
            "compared with eager",
            file=sys.stderr,
        )
    core = placement.cores[0]
    with LOCK:
        try:
            with package.neuron_cores_context(core, 1):
                script = torch.jit.load(str(directory / compiled.entry))
            if not manifest.options["inline_weights"]:
                package.move_trace_to_device(script, core)
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
            raise NeuronDeviceError(
                f"{directory / compiled.entry} could not be put on core {core}: {reason}\nTry: neuronkit doctor."
            ) from error
    (graph,) = manifest.graphs
    _check_inputs(directory, script, [input.name for input in graph.inputs])
    return ForeignRunner(script, directory, graph.name, [output.name for output in graph.outputs])


class ForeignRunner(NeuronRunner):
    """
    A graph whose outputs are known by rule, and counted at every call.

    Args:
        script: A traced module.
        directory: Of the artifact.
        name: Of the graph, for errors.
        names: Of the outputs.

    """

    __slots__ = ("_directory", "_names")

    def __init__(self, script: Any, directory: Path, name: str, names: Sequence[str]) -> None:
        super().__init__(script, name)
        self._directory = directory
        self._names = list(names)

    def __call__(self, tensors: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        """Run; several threads may at the same time."""
        outputs = super().__call__(tensors)
        if len(outputs) != len(self._names):
            raise ArtifactCorruptError(
                f"The graph of {self._directory} returns {len(outputs)} tensors, and its configuration stands for "
                f"{len(self._names)}: {', '.join(self._names)}.\nTry: name them, in order, as output_names in the neuron "
                "section of config.json."
            )
        return outputs


def _check_inputs(directory: Path, script: Any, names: Sequence[str]) -> None:
    taken = len(script.forward.schema.arguments) - 1  # without self
    if taken != len(names):
        raise ArtifactCorruptError(
            f"The graph of {directory} takes {taken} inputs, and its configuration stands for {len(names)}: "
            f"{', '.join(names)}.\nTry: name them, in the order of tracing, as input_names in the neuron section of "
            "config.json."
        )
