"""What the hooks do when a plugin does not say otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuronkit import padding
from neuronkit.hooks import hookimpl

if TYPE_CHECKING:
    import torch

    from neuronkit.artifact.reader import Artifact
    from neuronkit.backends.base import Backend, CompiledGraph
    from neuronkit.buckets import Bucket
    from neuronkit.export.config import Graph
    from neuronkit.options import CompileOptions
    from neuronkit.processors import Processors
    from neuronkit.session import Session


@hookimpl(trylast=True)
def compile(
    graph: Graph, bucket: Bucket, module: Any, backend: Backend, options: CompileOptions, directory: Path
) -> CompiledGraph:
    """Let the backend compile."""
    return backend.compile(graph, bucket, module, options, directory)


@hookimpl(trylast=True)
def load(artifact: Artifact, backend: Backend, placement: str | None) -> Session:
    """Map the weights, open every graph."""
    from neuronkit.session import open_session

    return open_session(artifact, backend, placement)


@hookimpl(trylast=True)
def forward(session: Session, graph: str, inputs: Mapping[str, torch.Tensor], row: int) -> dict[str, torch.Tensor]:
    """Choose a bucket, pad, run, remove the padding."""
    return session.run(graph, inputs, row)


@hookimpl(trylast=True)
def remove_padding(
    outputs: Mapping[str, torch.Tensor] | Sequence[torch.Tensor],
    dims: Sequence[int],
    indices: Sequence[int],
    padding_side: str,
) -> dict[str, torch.Tensor] | list[torch.Tensor]:
    """Cut, as `neuronkit.remove_padding`."""
    return padding.remove_padding(outputs, dims, indices, padding_side)


@hookimpl(trylast=True)
def preprocess(inputs: Mapping[str, Any], processors: Processors) -> tuple[dict[str, torch.Tensor], Any]:
    """Tokenize ``text``; hand tensors on as they are."""
    return processors.prepare(inputs)


@hookimpl(trylast=True)
def call(shell: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """Call the shell with the tensors as keywords."""
    return shell(**tensors)


@hookimpl(trylast=True)
def shell(session: Session) -> Any:
    """Wrap the session into the general public class."""
    from neuronkit.models.base import NeuronBaseModel

    return NeuronBaseModel(session)
