"""
Padding in, padding out: from the sizes of a call to those of a bucket and back.

`pad` and `Trimmer.trim` run on every call, so they do no work where nothing is to be done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from neuronkit.export.axes import axis_size, base_axis, tensor_shape
from neuronkit.export.config import Axis, Output
from neuronkit.shape_names import BATCH

if TYPE_CHECKING:
    import torch

SEQUENCE = "sequence"
Side = Literal["right", "left"]


@overload
def remove_padding(
    outputs: Mapping[str, torch.Tensor], dims: Sequence[int], indices: Sequence[int], padding_side: str = "right"
) -> dict[str, torch.Tensor]: ...


@overload
def remove_padding(
    outputs: Sequence[torch.Tensor], dims: Sequence[int], indices: Sequence[int], padding_side: str = "right"
) -> list[torch.Tensor]: ...


def remove_padding(
    outputs: Mapping[str, torch.Tensor] | Sequence[torch.Tensor],
    dims: Sequence[int],
    indices: Sequence[int],
    padding_side: str = "right",
) -> dict[str, torch.Tensor] | list[torch.Tensor]:
    """
    Cut padded tensors back to the sizes of a call; the results are views.

    Args:
        outputs: Tensors of equal rank, by name or as a sequence.
        dims: The axes to cut.
        indices: How many entries to keep along each of `dims`.
        padding_side: ``"right"`` keeps the first entries, ``"left"`` the last.

    Returns:
        A dict in the order of the mapping, or a list.

    Raises:
        ValueError: `dims` and `indices` differ in length, the side is unknown, a tensor lacks one of `dims`, or an index is
            negative or larger than the axis.
    """
    if len(dims) != len(indices):
        raise ValueError(f"dims and indices must have the same length (got {list(dims)} and {list(indices)}).")
    if padding_side not in ("right", "left"):
        raise ValueError(f"padding_side must be 'right' or 'left' (got {padding_side!r}).")
    if isinstance(outputs, Mapping):
        return {name: _cut(name, tensor, dims, indices, padding_side) for name, tensor in outputs.items()}
    return [_cut(position, tensor, dims, indices, padding_side) for position, tensor in enumerate(outputs)]


def _cut(name: str | int, tensor: torch.Tensor, dims: Sequence[int], indices: Sequence[int], side: str) -> torch.Tensor:
    shape = tensor.shape
    for dim, keep in zip(dims, indices, strict=True):
        if not -len(shape) <= dim < len(shape):
            raise ValueError(f"Output {name!r} has {len(shape)} axes, so there is no axis {dim} to cut.")
        size = shape[dim]
        if keep == size:
            continue
        if not 0 <= keep < size:
            raise ValueError(f"Cannot keep {keep} entries of output {name!r} along axis {dim}, which has {size}.")
        tensor = tensor.narrow(dim, 0 if side == "right" else size - keep, keep)
    return tensor


def pad(
    tensor: torch.Tensor,
    axes: Sequence[Axis],
    sizes: Mapping[str, int],
    pad_value: int | float | bool = 0,
    padding_side: Side = "right",
) -> torch.Tensor:
    """
    Enlarge a tensor to the sizes of a bucket.

    Missing rows of the batch are copies of row 0, so that no row is masked everywhere (which would be NaN).

    Args:
        tensor: Not empty.
        axes: The name or the fixed size of each of its axes, or what it follows from.
        sizes: The wanted size of every named axis, none smaller than the tensor's.
        pad_value: Fills the new positions of every axis but ``batch``.
        padding_side: Where ``sequence`` grows; every other axis grows on the right.

    Returns:
        The tensor itself where it has these sizes already, otherwise a new one.

    Raises:
        ValueError: A wanted size is smaller than the tensor's.
    """
    wanted = tensor_shape(axes, sizes)
    if tensor.shape == wanted:
        return tensor
    import torch

    amounts: list[int] = []
    for axis, size, target in zip(reversed(axes), reversed(tensor.shape), reversed(wanted), strict=True):
        if size > target:
            raise ValueError(f"A tensor of {size} along {axis!r} cannot be padded to {target}.")
        grow = 0 if axis == BATCH else target - size
        amounts += [grow, 0] if axis == SEQUENCE and padding_side == "left" else [0, grow]
    if any(amounts):
        tensor = torch.nn.functional.pad(tensor, amounts, value=pad_value)
    for dim, axis in enumerate(axes):
        if axis == BATCH and (missing := wanted[dim] - tensor.shape[dim]):
            first = tensor.narrow(dim, 0, 1)
            tensor = torch.cat([tensor, first.expand(*(missing if d == dim else -1 for d in range(tensor.dim())))], dim)
    return tensor


class Trimmer:
    """
    Cuts a graph's outputs back to the sizes of a call.

    Args:
        declared: The graph's outputs.
    """

    def __init__(self, declared: Sequence[Output]) -> None:
        self._names = [output.name for output in declared]
        groups: dict[tuple[Axis, ...], list[str]] = {}
        for output in declared:
            groups.setdefault(output.axes, []).append(output.name)
        self._groups = [
            (names, [(dim, axis, base_axis(axis)) for dim, axis in enumerate(axes) if isinstance(axis, str)])
            for axes, names in groups.items()
        ]

    def trim(
        self,
        outputs: Mapping[str, torch.Tensor],
        sizes: Mapping[str, int],
        padded: Mapping[str, int],
        remove: Callable[..., Any] = remove_padding,
        padding_side: Side = "right",
    ) -> dict[str, torch.Tensor]:
        """
        Cut the outputs of one call.

        `remove` is called once per group of outputs that declare the same axes, even where nothing is to be cut: one flat list
        of dims over tensors of mixed ranks would cut features. Left padding needs a second call, for the batch grows on the
        right.

        Args:
            outputs: Tensors by output name.
            sizes: Of the call, by axis.
            padded: Of the tensors, by axis.
            remove: `remove_padding`, or a hook with the same parameters, called with keywords.
            padding_side: Where ``sequence`` was padded.

        Returns:
            Tensors by output name, in declared order.
        """
        cut: dict[str, torch.Tensor] = {}
        for names, axes in self._groups:
            group = {name: outputs[name] for name in names}
            right = [one for one in axes if one[2] in padded and (padding_side == "right" or one[1] != SEQUENCE)]
            group = remove(
                outputs=group,
                dims=[dim for dim, _, _ in right],
                indices=[sizes[axis] if axis == base else axis_size(axis, sizes) for _, axis, base in right],
                padding_side="right",
            )
            if padding_side == "left" and (
                left := [(dim, sizes[axis]) for dim, axis, _ in axes if axis == SEQUENCE and SEQUENCE in padded]
            ):
                group = remove(
                    outputs=group,
                    dims=[dim for dim, _ in left],
                    indices=[keep for _, keep in left],
                    padding_side="left",
                )
            cut.update(group)
        return cut if len(self._groups) == 1 else {name: cut[name] for name in self._names}
