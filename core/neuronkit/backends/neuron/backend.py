"""The neuron backend: options, versions, one compilation per graph and bucket, and loading on chosen cores."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from neuronkit.backends.base import Capabilities, CompiledGraph, Runner
from neuronkit.backends.neuron import flags, sdk
from neuronkit.backends.neuron.host import Host
from neuronkit.backends.neuron.placement import Placement, choose
from neuronkit.backends.neuron.targets import TARGETS, family, parse_target
from neuronkit.environment import compile_timeout
from neuronkit.errors import OptionError
from neuronkit.paths import named_path
from neuronkit.shape_names import BATCH

if TYPE_CHECKING:
    import torch

    from neuronkit.artifact.manifest import CompiledBucket, Manifest
    from neuronkit.buckets import Bucket
    from neuronkit.export.config import Graph
    from neuronkit.options import CompileOptions


@attrs.frozen
class NeuronBackend:
    """
    Compiles with ``torch_neuronx.trace`` and ``neuronx-cc``, with or without a device, and runs where there is one.

    Args:
        placement: The cores that `load` uses.

    """

    placement: Placement = attrs.field(factory=Placement)

    name = "neuron"
    capabilities = Capabilities(
        state=True,
        state_on_device=True,
        weights_apart=True,
        inline_weights=True,
        casts=True,
        targets=TARGETS,
        opened_first=("unet", "transformer"),
    )

    def check_options(self, options: CompileOptions) -> None:
        """
        Refuse what cannot be compiled here.

        Raises:
            NeuronPackageError: The packages are absent, placeholders or of the native line.
            OptionError: The target is unknown or cannot be told, or options contradict each other.

        """
        sdk.require(compiler=True)
        target = self.target(options)
        flags.logical_cores(options, target)
        flags.user_flags(options)
        if options.dynamic_batch_size and options.inline_weights is False:
            raise OptionError(
                "dynamic_batch_size: needs the weights inside the graphs. Try: without --no-inline-weights."
            )
        if os.environ.get(flags.VARIABLE):
            print(f"note: {flags.VARIABLE} is not used; --compiler-args takes flags", file=sys.stderr)  # noqa: T201

    def target(self, options: CompileOptions) -> str:
        """
        Return what to compile for: the caller's choice, or this machine.

        Raises:
            OptionError: The choice is unknown, or there is none and no device either.

        """
        if options.target is not None:
            return parse_target(options.target)
        if target := Host().target():
            return target
        raise OptionError(
            f"target: required, because this machine has no Neuron device to take it from. Try: --target inf2 (of "
            f"{', '.join(TARGETS)})."
        )

    def fingerprint(self, options: CompileOptions) -> dict[str, Any]:
        """Return versions, architecture, logical cores, and the flags of every kind: a change of the table counts."""
        found = sdk.installed()
        target = self.target(options)
        return {
            "torch_neuronx": found.torch_neuronx,
            "neuronx_cc": found.neuronx_cc,
            "architecture": family(target),
            "lnc": flags.logical_cores(options, target),
            "dynamic_batch_size": options.dynamic_batch_size,
            "flags": {kind or "": flags.compiler_flags(kind, options, target) for kind in flags.RECIPES},
        }

    def incompatibility(self, fingerprint: Mapping[str, Any]) -> str | None:
        """Return why a graph with that fingerprint cannot run here, or None."""
        if reason := self.cannot_run():
            return reason
        found, host = sdk.installed(), Host()
        if "exporter" in fingerprint:
            from neuronkit.backends.neuron import foreign

            return foreign.incompatibility(fingerprint, found.neuronx_cc, host.architecture())
        for name, compiled, here in (
            ("torch-neuronx", fingerprint.get("torch_neuronx"), found.torch_neuronx),
            ("neuronx-cc", fingerprint.get("neuronx_cc"), found.neuronx_cc),
        ):
            # A machine that only serves may do without the compiler.
            if here is not None and compiled != here:
                return f"it was compiled with {name} {compiled}, and this is {name} {here}"
        if (architecture := host.architecture()) and fingerprint.get("architecture") != architecture:
            return (
                f"it was compiled for {fingerprint.get('architecture')} cores, and this machine has {architecture}, which needs "
                f"--target {architecture}"
            )
        if (lnc := fingerprint.get("lnc")) != host.logical_cores():
            return (
                f"it was compiled for logical cores of {lnc} physical ones, and the run time makes them of "
                f"{host.logical_cores()}, which needs --lnc {host.logical_cores()}, or NEURON_LOGICAL_NC_CONFIG={lnc} here"
            )
        return None

    def emulates(self, precision: str) -> bool:
        """Tell that nothing is: every NeuronCore has both precisions."""
        return False

    def cannot_run(self) -> str | None:
        """Return why this machine cannot run any graph, or None."""
        found = sdk.installed()
        if found.problem:
            return f"{found.problem} ({found.cure})"
        if not Host().device_nodes():
            return "there is no Neuron device (/dev/neuron0) on this machine; its graphs run on inf2, trn1 and trn2"
        return None

    def place(self, manifest: Manifest, placement: str | None) -> NeuronBackend:
        """
        Return a backend that loads on cores of its own.

        Args:
            manifest: Its ``data_parallel_mode``, a plugin's option, says which graphs are split over the cores.
            placement: ``"1"``, ``"0-3"``, ``"0,1"``; None takes the next core in turn, as many as the mode needs.

        Raises:
            OptionError: There are no such cores.

        """
        mode = manifest.plugin_options.get("data_parallel_mode") or "none"
        return attrs.evolve(self, placement=choose(placement, str(mode), Host()))

    def compile(
        self, graph: Graph, bucket: Bucket, module: Any, options: CompileOptions, directory: Path
    ) -> CompiledGraph:
        """
        Compile into ``model.neuron``, in a process of its own.

        Raises:
            NeuronCompileError: The compiler failed, was killed, or took too long.

        """
        import torch

        from neuronkit.backends.exporting import export_program
        from neuronkit.backends.neuron import job as jobs
        from neuronkit.backends.neuron.errors import EXPORT_ADVICE
        from neuronkit.backends.neuron.running import GraphRecord, write_record
        from neuronkit.weights import constant

        chosen = flags.recipe(graph.kind)
        inline = options.inline_weights is not False
        states = [position for position, input in enumerate(graph.inputs) if input.state]
        if graph.hints.keep_fp32:
            options = attrs.evolve(options, auto_cast="none")
        target = self.target(options)
        arguments = flags.compiler_flags(graph.kind, options, target)
        job = jobs.Job(
            graph=graph.name,
            bucket=bucket.label,
            flags=arguments,
            inline_weights=inline,
            dynamic_batch=options.dynamic_batch_size,
            states=states,
            outputs=len(graph.outputs),
            lazy_load=chosen.lazy_load,
            async_load=chosen.async_load,
        )
        program = export_program(graph, bucket, module, advice=EXPORT_ADVICE)
        needed = {
            *program.graph_signature.inputs_to_parameters.values(),
            *program.graph_signature.inputs_to_buffers.values(),
        }
        constants = (
            []
            if inline
            else [constant(name, program.state_dict[name]) for name in sorted(needed & set(program.state_dict))]
        )
        with _work_directory(options, graph, bucket) as work:
            torch.export.save(program, work / jobs.PROGRAM)
            del program
            environment = flags.environment(graph.kind, target, Host().architecture())
            file = jobs.run_job(job, work, environment=environment, timeout=compile_timeout())
            shutil.move(file, directory / jobs.MODEL)
        axes = [*(input.axes for input in graph.inputs), *(output.axes for output in graph.outputs)]
        record = GraphRecord(
            graph=graph.name,
            kind=graph.kind,
            flags=arguments,
            inline_weights=inline,
            dynamic_batch=options.dynamic_batch_size,
            batch_first=all(own[:1] == (BATCH,) for own in axes),
            states=states,
        )
        write_record(record, directory)
        return CompiledGraph(directory, jobs.MODEL, tuple(constants))

    def load(self, directory: Path, compiled: CompiledBucket, weights: Mapping[str, torch.Tensor]) -> Runner:
        """Open a compiled graph on the cores of the placement; one without a record of ours is optimum-neuron's."""
        from neuronkit.backends.neuron.foreign import open_foreign
        from neuronkit.backends.neuron.running import RECORD, open_graph

        if not (directory / compiled.entry).with_name(RECORD).is_file():
            return open_foreign(directory, compiled, self.placement)
        return open_graph(directory, compiled, weights, self.placement)


@contextmanager
def _work_directory(options: CompileOptions, graph: Graph, bucket: Bucket) -> Iterator[Path]:
    if options.compiler_workdir is None:
        with tempfile.TemporaryDirectory(prefix="neuronkit-neuron-") as temporary:
            yield Path(temporary)
        return
    directory = named_path(options.compiler_workdir, "compiler_workdir").absolute() / graph.name
    directory.mkdir(parents=True, exist_ok=True)
    yield Path(tempfile.mkdtemp(prefix=f"{bucket.label}-", dir=directory))  # other processes may be at the same graph
