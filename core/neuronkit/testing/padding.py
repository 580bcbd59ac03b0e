"""Whether a session's `remove_padding` takes away what padding added, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch

from neuronkit.export.axes import tensor_shape
from neuronkit.export.config import Output
from neuronkit.loaded_graph import LoadedGraph
from neuronkit.padding import Trimmer, pad
from neuronkit.session import Session
from neuronkit.validation.references import shorter

_SIDES: tuple[Literal["right", "left"], ...] = ("right", "left")


def find_mistakes(session: Session) -> list[str]:
    """
    Pad tensors of every declared form to every bucket, cut them back, and return what came back changed, in words.

    Args:
        session: The loaded artifact; its hooks cut.
    """
    return [
        mistake for loaded in session.graphs.values() for side in _SIDES for mistake in _mistakes(loaded, session, side)
    ]


def _mistakes(loaded: LoadedGraph, session: Session, side: Literal["right", "left"]) -> Iterator[str]:
    graph = loaded.graph
    tensors = {f"{item.name}_given": item for item in loaded.inputs} | {item.name: item for item in graph.outputs}
    declared = [Output(name, item.axes) for name, item in tensors.items()]
    for bucket in loaded.buckets:
        sizes = shorter(bucket.sizes, graph)
        generator = torch.Generator().manual_seed(1)
        made = {one.name: torch.rand(tensor_shape(one.axes, sizes), generator=generator) for one in declared}
        padded = {one.name: pad(made[one.name], one.axes, bucket.sizes, 7.0, side) for one in declared}
        cut = Trimmer(declared).trim(padded, sizes, bucket.sizes, session.hook.remove_padding, side)
        for name, tensor in made.items():
            if not tensor.equal(cut[name]):
                shapes = f"{tuple(tensor.shape)} came back as {tuple(cut[name].shape)}"
                yield f"Graph {graph.name!r}, {bucket.label}, padded on the {side}: {name} of shape {shapes}."
