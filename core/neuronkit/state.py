"""The tensors that graphs keep between calls: one set a session, shared by name, and used by one text after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from neuronkit.errors import ExportConfigError, InputError
from neuronkit.export.axes import tensor_shape
from neuronkit.turns import ForkedLock

if TYPE_CHECKING:
    from neuronkit.loaded_graph import LoadedGraph


def make_state(graphs: Iterable[LoadedGraph]) -> dict[str, torch.Tensor]:
    """
    Return a tensor of zeros for every state that the graphs declare, which calls in and outside of inference mode may change.

    Raises:
        ExportConfigError: Two graphs or two buckets want one of the same name and another shape or dtype.
    """
    wanted: dict[str, tuple[tuple[int, ...], str]] = {}
    for loaded in graphs:
        for input in loaded.graph.state:
            for bucket in loaded.buckets:
                shape = tensor_shape(input.axes, bucket.sizes)
                first = wanted.setdefault(input.name, (shape, input.dtype))
                if first != (shape, input.dtype):
                    raise ExportConfigError(
                        f"The state {input.name!r} is {first[1]} of {first[0]} in one graph or bucket, and {input.dtype} of "
                        f"{shape} in {loaded.name!r} ({bucket.label}): a session has one tensor for a name."
                    )
    with torch.inference_mode(False):  # what is made in it can be changed in it only
        return {name: torch.zeros(shape, dtype=getattr(torch, dtype)) for name, (shape, dtype) in wanted.items()}


class Turns:
    """
    Whose turn it is to use the states of a session: what is kept for one user would be overwritten by the next.

    A thread that wants them while another one is inside of a block waits; in a fork nobody is.
    """

    def __init__(self) -> None:
        self._lock = ForkedLock()
        self._user: object = None

    @contextmanager
    def begin(self, user: object = None) -> Iterator[None]:
        """Use the states from now on; whoever used them before has lost them."""
        with self._lock.own:
            self._user = user
            yield

    @contextmanager
    def resume(self, user: object) -> Iterator[None]:
        """
        Go on using the states.

        Raises:
            InputError: Another user has begun since.
        """
        with self._lock.own:
            if self._user is not user:
                raise InputError(
                    "Another call has used the model's cache since the last token of this text; a model has one.\n"
                    "Try: finish one call before the next, or give all prompts to one call, which divides them over the rows."
                )
            yield
