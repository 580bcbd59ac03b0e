"""The tensors that graphs keep between calls: one set a session, shared by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

from neuronkit.errors import ExportConfigError

if TYPE_CHECKING:
    from neuronkit.loaded_graph import LoadedGraph


def make_state(graphs: Iterable[LoadedGraph]) -> dict[str, torch.Tensor]:
    """
    Return a tensor of zeros for every state that the graphs declare.

    Raises:
        ExportConfigError: Two graphs or two buckets want one of the same name and another shape or dtype.
    """
    wanted: dict[str, tuple[tuple[int, ...], str]] = {}
    for loaded in graphs:
        for input in loaded.graph.state:
            for bucket in loaded.buckets:
                shape = tuple(axis if isinstance(axis, int) else bucket.sizes[axis] for axis in input.axes)
                first = wanted.setdefault(input.name, (shape, input.dtype))
                if first != (shape, input.dtype):
                    raise ExportConfigError(
                        f"The state {input.name!r} is {first[1]} of {first[0]} in one graph or bucket, and {input.dtype} of "
                        f"{shape} in {loaded.name!r} ({bucket.label}): a session has one tensor for a name."
                    )
    return {name: torch.zeros(shape, dtype=getattr(torch, dtype)) for name, (shape, dtype) in wanted.items()}
