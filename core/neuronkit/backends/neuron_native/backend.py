"""
The neuron-native backend: an exported program, and the cache directory that compiling it filled.

EXPERIMENTAL and UNVERIFIED: written from AWS's documentation of ``torch.compile(backend="neuron")`` and run on a made-up
dynamo backend only; no device and no package of AWS's has seen it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from neuronkit.backends.base import Capabilities, CompiledGraph, Runner
from neuronkit.backends.neuron import sdk
from neuronkit.backends.neuron.errors import EXPORT_ADVICE, NeuronCompileError, NeuronDeviceError, NeuronPackageError
from neuronkit.backends.neuron.host import Host
from neuronkit.errors import OptionError

if TYPE_CHECKING:
    import torch

    from neuronkit.artifact.manifest import CompiledBucket, Manifest
    from neuronkit.buckets import Bucket
    from neuronkit.export.config import Graph
    from neuronkit.options import CompileOptions

NOTE = "note: neuron-native is experimental, and was never run on a device"
INSTALL = (
    f'python -m venv native && . native/bin/activate && pip install "torch-neuronx==2.14.*" "neuronx-cc==2.*" nki '
    f"--extra-index-url {sdk.INDEX}"
)
_FIXED = {"optlevel": 2, "target": None, "lnc": None, "compiler_args": None, "compiler_workdir": None}
"""Options of the neuron backend that the native compiler is not documented to take, by the value that leaves them alone."""


@attrs.frozen
class NeuronNativeBackend:
    """
    Compiles on the machine that runs, just in time, and ships what the compiler cached.

    Args:
        dynamo: Name of the dynamo backend.
        device: Where modules and inputs go.

    """

    dynamo: str = "neuron"
    device: str = "neuron"

    name = "neuron-native"
    capabilities = Capabilities(weights_apart=True, inline_weights=False)

    def check_options(self, options: CompileOptions) -> None:
        """
        Refuse what cannot be compiled here.

        Raises:
            NeuronPackageError: The native line of torch-neuronx is not installed.
            NeuronDeviceError: There is no device, and compiling without one is not documented.
            OptionError: An option that has no effect on this compiler.

        """
        require()
        if reason := self.cannot_run():
            raise NeuronDeviceError(f"neuron-native compiles on the machine that runs: {reason}.")
        for name, default in _FIXED.items():
            if (value := getattr(options, name)) != default:
                raise OptionError(f"{name}: torch.compile takes no such option for Neuron (got {value!r}).")
        if options.inline_weights:
            raise OptionError("inline_weights: neuron-native keeps them apart. Try: without --inline-weights.")
        if options.dynamic_batch_size:
            raise OptionError("dynamic_batch_size: shapes are fixed here; larger batches are split without it.")
        own_cache()  # before jobs fork, so that this process removes it
        print(NOTE, file=sys.stderr)  # noqa: T201

    def fingerprint(self, options: CompileOptions) -> dict[str, Any]:
        """Return versions, architecture and logical cores: the cached binaries are of no use to others."""
        import torch

        found, host = sdk.installed(), Host()
        return {
            "torch": torch.__version__,
            "torch_neuronx": found.torch_neuronx,
            "neuronx_cc": found.neuronx_cc,
            "architecture": host.architecture(),
            "lnc": host.logical_cores(),
        }

    def incompatibility(self, fingerprint: Mapping[str, Any]) -> str | None:
        """Return why a graph with that fingerprint cannot run here, or None."""
        if reason := self.cannot_run():
            return reason
        for name, here in self.fingerprint_here().items():
            if fingerprint.get(name) != here:
                return f"it was compiled with {name} {fingerprint.get(name)}, and this machine has {here}"
        return None

    def fingerprint_here(self) -> dict[str, Any]:
        """Return the fingerprint of what would be compiled on this machine."""
        from neuronkit.options import CompileOptions

        return self.fingerprint(CompileOptions())

    def emulates(self, precision: str) -> bool:
        """Tell that nothing is: every NeuronCore has both precisions."""
        return False

    def cannot_run(self) -> str | None:
        """Return why this machine cannot run any graph, or None."""
        if (problem := _problem()) is not None:
            return problem
        if not Host().device_nodes():
            return "there is no Neuron device (/dev/neuron0) on this machine"
        return None

    def place(self, manifest: Manifest, placement: str | None) -> NeuronNativeBackend:
        """Return itself: cores are chosen for the whole process."""
        if placement is not None:
            raise OptionError(
                f"placement: neuron-native has none (got {placement!r}). Try: NEURON_RT_VISIBLE_CORES for the process."
            )
        return self

    def compile(
        self, graph: Graph, bucket: Bucket, module: Any, options: CompileOptions, directory: Path
    ) -> CompiledGraph:
        """
        Export, compile by running once, and keep the program without its weights beside the compiler's cache.

        Raises:
            NeuronCompileError: The compiler failed, or the graph keeps a state.

        """
        if graph.state:
            names = ", ".join(input.name for input in graph.state)
            raise NeuronCompileError(
                f"Graph {graph.name!r} keeps a state between calls ({names}), which neuron-native cannot do: what happens to "
                "it on the device is not documented.\nTry: --backend neuron."
            )
        from neuronkit.backends import program as programs
        from neuronkit.backends.exporting import export_program
        from neuronkit.backends.neuron_native.running import compile_beside

        exported = export_program(graph, bucket, module, advice=EXPORT_ADVICE)
        tensors = {**exported.constants, **exported.state_dict}
        compiled = programs.save(exported, directory, inline_weights=False)
        weights = {constant.name: tensors[constant.name] for constant in compiled.constants}
        compile_beside(directory / compiled.entry, weights, self.dynamo, self.device, Path(own_cache().name))
        return compiled

    def load(self, directory: Path, compiled: CompiledBucket, weights: Mapping[str, torch.Tensor]) -> Runner:
        """Hand the cached binaries to this process, and run the program once, so that no call compiles."""
        from neuronkit.backends.neuron_native.running import open_program

        wanted = {constant.name: weights[constant.name] for constant in compiled.constants}
        return open_program(directory / compiled.entry, wanted, self.dynamo, self.device)


@cache
def own_cache() -> tempfile.TemporaryDirectory[str]:
    """Return the directory into which this process compiles; it goes with the process."""
    return tempfile.TemporaryDirectory(prefix="neuronkit-neff-")


def require() -> None:
    """
    Refuse to go on without the native line.

    Raises:
        NeuronPackageError: It is not installed; the message says how to.

    """
    if (problem := _problem()) is not None:
        raise NeuronPackageError(f"{problem}.\nTry: {INSTALL}")


def _problem() -> str | None:
    found = sdk.installed()
    if found.line == "native":
        return None
    return {
        "absent": "torch-neuronx is not installed",
        "placeholder": f"torch-neuronx {found.torch_neuronx} is a placeholder without code, from a public index",
        "xla": (
            f"torch-neuronx {found.torch_neuronx} is the XLA line, which the backend neuron drives; the native line never "
            "shares an environment with it"
        ),
    }[found.line]
