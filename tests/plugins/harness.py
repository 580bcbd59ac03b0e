"""Run a plugin without compiling: its graph's module in eager mode stands for the compiled one."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from neuronkit.artifact.manifest import CompiledBucket, CompiledGraphRecord
from neuronkit.export.capture import TracedModule
from neuronkit.export.source import resolve_source
from neuronkit.loaded_graph import LoadedGraph
from neuronkit.options import build, names
from neuronkit.processors import Processors
from neuronkit_plugins.text.sentence_similarity import NeuronModelForSentenceTransformers


class EagerShell:
    """Calls the graph's module as a compiled one would be: every declared input, every declared output."""

    def __init__(self, plugin: Any, path: Path, sequence: int) -> None:
        self.config = plugin.export_config(resolve_source(path), {}, plugin.options()())
        (self.graph,) = self.config.graphs
        module = self.config.load()
        self.module = TracedModule(self.graph.wrap(module) if self.graph.wrap else module, self.graph)
        self.batches: list[tuple[int, ...]] = []
        sizes = {"batch": 64, "sequence": sequence}
        bucket = CompiledBucket(sizes, {axis: (1, size) for axis, size in sizes.items()}, "none", [], [])
        record = CompiledGraphRecord("encoder", None, list(self.graph.inputs), list(self.graph.outputs), [bucket])
        self.session = SimpleNamespace(graphs={"encoder": LoadedGraph(record, [lambda tensors: self.module(*tensors)])})

    @torch.no_grad()
    def __call__(self, **tensors: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Run, with defaults filled in."""
        shape = tensors["input_ids"].shape
        self.batches.append(tuple(shape))
        filled = [tensors.get(input.name, torch.full(shape, input.default or 0)) for input in self.graph.inputs]
        values = self.module(*filled)
        return dict(zip((output.name for output in self.graph.outputs), values, strict=True))


class EagerSentenceModel(NeuronModelForSentenceTransformers):
    """The public class of sentence transformers over the eager graph."""

    def __init__(self, eager: EagerShell, processors: Processors) -> None:
        torch.nn.Module.__init__(self)
        self.eager, self.session = eager, eager.session
        vars(self)["processors"] = processors

    def forward(self, **tensors: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Run the graph."""
        return self.eager(**tensors)


class EagerPipeline:
    """
    A plugin's preprocess, call and postprocess around the eager model.

    Args:
        plugin: The plugin object.
        path: A checkpoint.
        sequence: The compiled length.
    """

    def __init__(self, plugin: Any, path: Path, sequence: int = 64) -> None:
        self.plugin = plugin
        self.shell = EagerShell(plugin, path, sequence)
        self.processors = Processors(path, {"batch": 64, "sequence": sequence})
        of_sentences = issubclass(plugin.model_class, NeuronModelForSentenceTransformers)
        self.called = EagerSentenceModel(self.shell, self.processors) if of_sentences else self.shell

    def __call__(self, **inputs: Any) -> Any:
        """Run raw input to result; names of the plugin's options are options."""
        options_class = self.plugin.options()
        own = {field for field in inputs if field in names(options_class)}
        options = build(options_class, {name: inputs.pop(name) for name in own}, "call")
        given = {"inputs": inputs, "processors": self.processors}
        tensors, context = self._call(self.plugin.preprocess, **given, options=options)
        outputs = self._call(self.plugin.call, shell=self.called, tensors=tensors, options=options)
        return self._call(self.plugin.postprocess, outputs=outputs, context=context, options=options)

    def _call(self, hook: Any, **given: Any) -> Any:
        """Give a hook the parameters that it takes, as pluggy does."""
        return hook(**{name: given[name] for name in inspect.signature(hook).parameters})
