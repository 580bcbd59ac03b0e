"""
The hooks: the whole contract between the core, plugins and extensions.

The core's four (`compile`, `load`, `forward`, `remove_padding`) have defaults in `neuronkit.defaults`; a plugin may replace
them for its keys, an extension may wrap them. The others belong to the plugin alone, which must implement `export_config`
and `postprocess`. Every hook is ``firstresult``. An implementation may take fewer parameters than its specification.
"""

# mypy: disable-error-code="empty-body"
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import torch

    from neuronkit.artifact.reader import Artifact
    from neuronkit.backends.base import Backend, CompiledGraph
    from neuronkit.buckets import Bucket
    from neuronkit.export.config import ExportConfig, Graph
    from neuronkit.export.source import Source
    from neuronkit.options import CompileOptions
    from neuronkit.processors import Processors
    from neuronkit.session import Session

API = (1, 0)
"""Hook API as (major, minor). The major is in the names of the entry-point groups; parameters and hooks may be added in a minor."""

PROJECT = "neuronkit"
CORE_HOOKS = ("compile", "load", "forward", "remove_padding")
"""The hooks that extensions may wrap."""
REQUIRED_HOOKS = ("export_config", "postprocess")
"""The hooks that a model plugin must implement."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec(firstresult=True)
def compile(
    graph: Graph, bucket: Bucket, module: Any, backend: Backend, options: CompileOptions, directory: Path
) -> CompiledGraph:
    """
    Compile one graph for one bucket.

    Args:
        graph: What is compiled: named inputs and outputs with named axes.
        bucket: The size of every axis, and the bounds of those that stay dynamic.
        module: ``torch.nn.Module`` in eval mode whose ``forward`` takes the graph's inputs as positional tensors, in their
            declared order, and returns a tuple of tensors in the order of the outputs.
        backend: The backend that was asked for.
        options: The core's options, already checked.
        directory: Where the graph's files go; it is empty, and the core's.

    Returns:
        The files of the compiled graph and the constants that must be bound to it at load. Files in another directory are copied
        from there, and stay with whoever made them.

    Raises:
        neuronkit.CompileError: The backend could not compile the graph.
    """


@hookspec(firstresult=True)
def load(artifact: Artifact, backend: Backend, placement: str | None) -> Session:
    """
    Turn a verified artifact into a session that is ready to run.

    Args:
        artifact: The artifact on disk, its digests verified.
        backend: The backend that compiled it.
        placement: Where to put it, in the backend's own words; None lets the backend choose.

    Raises:
        neuronkit.ArtifactError: The artifact does not fit this machine or these versions.
    """


@hookspec(firstresult=True)
def forward(session: Session, graph: str, inputs: Mapping[str, torch.Tensor], row: int) -> dict[str, torch.Tensor]:
    """
    Run one graph on tensors of any size up to its largest bucket.

    Args:
        session: The loaded artifact.
        graph: Name of the graph.
        inputs: Tensors by input name, each with the axes that the graph declares; inputs with a default may be missing.
        row: The row of the graph's state that the call's first row uses; 0 for a graph without state.

    Returns:
        Tensors by output name, in declared order, in the sizes of the call and not of the bucket.

    Raises:
        neuronkit.InputError: An input is unknown, missing, empty, of a wrong rank or dtype, or longer than the largest bucket.
    """


@hookspec(firstresult=True)
def remove_padding(
    outputs: Mapping[str, torch.Tensor] | Sequence[torch.Tensor],
    dims: Sequence[int],
    indices: Sequence[int],
    padding_side: str,
) -> dict[str, torch.Tensor] | list[torch.Tensor]:
    """
    Cut padded outputs back to the sizes of the call.

    Called once per group of outputs that declare the same axes.

    Args:
        outputs: Tensors of equal rank, by name or as a list.
        dims: The axes to cut.
        indices: How many entries to keep along each of `dims`.
        padding_side: ``"right"`` keeps the first entries, ``"left"`` the last.

    Returns:
        The cut tensors, in the container's kind and order.

    Raises:
        ValueError: `dims` and `indices` differ in length, an index exceeds its axis, or the side is unknown.
    """


@hookspec(firstresult=True)
def export_config(source: Source, shapes: Mapping[str, list[int]], options: Any) -> ExportConfig:
    """
    Say what to export: how to load the model, its graphs, their axes. Called once per compile.

    Args:
        source: The checkpoint: ``source.path`` (directory) and ``source.config`` (the parsed ``config.json``).
        shapes: Sizes by shape name (``batch_size``, ``sequence_length``, ...), each a list with one entry per bucket.
        options: An instance of the class that the plugin's `options` returned, or an empty one.
    """


@hookspec(firstresult=True)
def default_shapes(source: Source) -> Mapping[str, list[int]]:
    """
    Return the sizes of shapes that the caller did not give. Optional: by default the core's own.

    Args:
        source: The checkpoint.

    Returns:
        Sizes by shape name, of axes that a graph has or names in the `shapes` of the export config.
    """


@hookspec(firstresult=True)
def preprocess(inputs: Mapping[str, Any], processors: Processors, options: Any) -> tuple[dict[str, torch.Tensor], Any]:
    """
    Turn raw input into tensors. Optional: by default tensors pass through and ``text`` is tokenized.

    Args:
        inputs: What the caller gave, by name.
        processors: The artifact's tokenizer and the like, loaded at first use.
        options: The plugin's options for this call.

    Returns:
        Tensors by graph input name, and a context that is handed to `postprocess` as it is.
    """


@hookspec(firstresult=True)
def call(shell: Any, tensors: Mapping[str, torch.Tensor], options: Any) -> Any:
    """
    Run the shell on preprocessed tensors. Optional: by default ``shell(**tensors)``.

    Args:
        shell: What `neuronkit.load` returned.
        tensors: What `preprocess` returned.
        options: The plugin's options for this call.
    """


@hookspec(firstresult=True)
def options() -> type:
    """
    Return the attrs class of the plugin's own options. Optional: by default there are none.

    A field made by `neuronkit.options.option` says at which stage it is accepted; a plain attrs field is accepted at both,
    and what was given at compile time is the default of every later call. What may be given at compile time is recorded, so
    its type is ``bool``, ``int``, ``float``, ``str``, ``Path``, ``Literal``, an ``Enum``, or lists, tuples, mappings and unions
    of these. No name is one of the core's options, nor, but for options of a call alone, a shape such as ``batch_size``.
    """


@hookspec(firstresult=True)
def shell(session: Session) -> Any:
    """
    Return the HF-facing object around a session. Optional: by default `neuronkit.models.NeuronBaseModel`.

    Args:
        session: The loaded artifact.

    Returns:
        An object that has the session as ``session`` and, for a pipeline, `neuronkit.processors.Processors` as ``processors``.
    """


@hookspec(firstresult=True)
def postprocess(outputs: Any, context: Any, options: Any) -> Any:
    """
    Turn the shell's outputs into the result that the user asked for: an answer, an embedding, an image.

    Args:
        outputs: What `call` returned.
        context: What `preprocess` returned beside the tensors.
        options: The plugin's options for this call.

    Returns:
        Anything but None, which is what a method gives that returns nothing.
    """
