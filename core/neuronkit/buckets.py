"""Buckets: the sizes that a graph is compiled for, and which of them serves a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import ceil, prod
from typing import TYPE_CHECKING

import attrs

from neuronkit.errors import InputError, OptionError
from neuronkit.shape_names import BATCH, IMAGE_AXES, axis_of, shape_of

if TYPE_CHECKING:
    from neuronkit.export.config import Graph

_TRACED = 2
"""The smallest size that an axis may have while a graph is traced: ``torch.export`` takes 1 for a constant."""


@attrs.frozen
class Bucket:
    """
    One assignment of sizes to a graph's axes.

    Args:
        sizes: Size of every axis; the largest one where the axis is dynamic.
        bounds: Smallest and largest size of the axes that stay dynamic.
    """

    sizes: Mapping[str, int]
    bounds: Mapping[str, tuple[int, int]] = attrs.field(factory=dict)
    label: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        parts = (
            f"{axis}{self.bounds[axis][0]}-{size}" if axis in self.bounds else f"{axis}{size}"
            for axis, size in self.sizes.items()
        )
        object.__setattr__(self, "label", "_".join(parts) or "fixed")

    @property
    def volume(self) -> int:
        """The product of all sizes: how much work a full bucket is."""
        return prod(self.sizes.values())

    def fits(self, sizes: Mapping[str, int]) -> bool:
        """
        True when every axis but the batch, which can be split, is at most as long as the bucket's.

        The height and the width of an image must be the bucket's own: padding would change the result everywhere.
        """
        return all(self._fits(axis, size) for axis, size in sizes.items() if axis != BATCH)

    def _fits(self, axis: str, size: int) -> bool:
        if axis in self.bounds:
            low, high = self.bounds[axis]
            return low <= size <= high
        return size == self.sizes[axis] if axis in IMAGE_AXES else size <= self.sizes[axis]


def make_buckets(graph: Graph, shapes: Mapping[str, Sequence[int]], dynamic: bool) -> tuple[Bucket, ...]:
    """
    Return a graph's buckets: the product of the sizes of its axes, where ``height`` and ``width`` pair up if both are fixed.

    Args:
        graph: Its `sizes` override the shapes.
        shapes: Sizes by shape name.
        dynamic: Leave the axes of the graph's hints dynamic: any size up to the largest given, and for the batch at least up
            to the hint's bound. A graph with states has one for each row, so its batch is the one given.

    Returns:
        At least one bucket, without duplicates, the smallest volume first.

    Raises:
        OptionError: An axis has no size, or height and width cannot be paired.
    """
    given = {axis_of(name): sorted(set(sizes)) for name, sizes in shapes.items()}
    given |= {axis_of(name): list(sizes) for name, sizes in shapes.items() if name in IMAGE_AXES}
    given |= {axis: [size] if isinstance(size, int) else list(size) for axis, size in graph.sizes.items()}
    least = graph.least_sizes(_TRACED)
    free = set(graph.hints.dynamic_axes) - graph.fixed_axes if dynamic else set()
    paired = set(IMAGE_AXES) <= set(graph.axes) - free
    bounds: dict[str, tuple[int, int]] = {}
    choices: list[list[dict[str, int]]] = []
    for axis in graph.axes:
        sizes = given.get(axis)
        if not sizes:
            shape = shape_of(axis)
            raise OptionError(
                f"{shape}: required, because graph {graph.name!r} has the axis {axis!r} and nothing gives its size."
            )
        if axis in free:
            largest = max(*sizes, graph.hints.max_batch) if axis == BATCH and not graph.state else max(sizes)
            if largest < least[axis]:
                raise OptionError(
                    f"{shape_of(axis)}: must be at least {least[axis]} for graph {graph.name!r} (got {largest})."
                )
            bounds[axis] = (least[axis], largest)
            choices.append([{axis: largest}])
        elif paired and axis in IMAGE_AXES:
            if axis == IMAGE_AXES[0]:
                choices.append(_pair(sizes, given.get(IMAGE_AXES[1]) or []))
        else:
            choices.append([{axis: size} for size in sizes])
    found = {}
    for combination in product(*choices):
        merged = {axis: size for part in combination for axis, size in part.items()}
        ordered = {axis: merged[axis] for axis in graph.axes}
        found[tuple(ordered.values())] = Bucket(ordered, bounds)
    return tuple(sorted(found.values(), key=lambda bucket: (bucket.volume, tuple(bucket.sizes.values()))))


def memory_bound_bucket(graph: Graph, bucket: Bucket, few_rows: int) -> Bucket | None:
    """
    Return the bucket of the calls that the graph's hints call memory bound, where a dynamic bucket is as given.

    Args:
        graph: The graph.
        bucket: Any of its buckets.
        few_rows: How many rows in a product the backend takes for few.

    Returns:
        One with those sizes and all rows of the batch fixed; None without such a hint, or where the rows are too many.
    """
    sizes = graph.hints.memory_bound
    if not sizes or bucket.sizes.get(BATCH, 1) * prod(sizes.values()) > few_rows:
        return None
    bounds = {axis: bound for axis, bound in bucket.bounds.items() if axis != BATCH and axis not in sizes}
    return Bucket({**bucket.sizes, **sizes}, bounds)


def _pair(heights: Sequence[int], widths: Sequence[int]) -> list[dict[str, int]]:
    if len(heights) == 1:
        heights = [heights[0]] * len(widths)
    if len(widths) == 1:
        widths = [widths[0]] * len(heights)
    if not widths or len(heights) != len(widths):
        raise OptionError(
            f"height and width pair up, so they need as many sizes (got {list(heights)} and {list(widths)})."
        )
    return [{"height": height, "width": width} for height, width in zip(heights, widths, strict=True)]


def chunks(rows: int, capacity: int) -> list[tuple[int, int]]:
    """Return the (start, stop) of consecutive pieces of at most `capacity` rows that cover all rows in order."""
    return [(start, min(start + capacity, rows)) for start in range(0, rows, capacity)]


class BucketTable:
    """
    The buckets of one graph, ready to choose from.

    Args:
        buckets: At least one.
        owners: The input that each axis belongs to, for messages.
    """

    def __init__(self, buckets: Sequence[Bucket], owners: Mapping[str, str]) -> None:
        self.buckets = tuple(buckets)
        self.owners = dict(owners)
        self._chosen: dict[tuple[tuple[str, int], ...], Bucket] = {}

    def choose(self, sizes: Mapping[str, int]) -> Bucket:
        """
        Return the bucket that does a call with the least work.

        A batch larger than every fitting bucket is split, so what counts is the volume times the number of calls; among
        equals, the fewest calls.

        Raises:
            InputError: An axis other than the batch is longer than in any bucket.
        """
        key = tuple(sizes.items())
        if (bucket := self._chosen.get(key)) is not None:
            return bucket
        fitting = [bucket for bucket in self.buckets if bucket.fits(sizes)]
        if not fitting:
            raise self._too_long(sizes)
        rows = sizes.get(BATCH, 1)
        bucket = min(fitting, key=lambda bucket: _work(bucket, rows))
        if len(self._chosen) < 4096:
            self._chosen[key] = bucket
        return bucket

    def _too_long(self, sizes: Mapping[str, int]) -> InputError:
        largest = {axis: max(bucket.sizes[axis] for bucket in self.buckets) for axis in sizes}
        over = next((axis for axis in sizes if axis != BATCH and sizes[axis] > largest[axis]), None)
        labels = ", ".join(bucket.label for bucket in self.buckets)
        if (short := self._too_short(sizes)) is not None:
            return short
        if over is None and not any(axis in IMAGE_AXES for axis in sizes):
            return InputError(f"No bucket holds {dict(sizes)}. Buckets: {labels}.")
        if over is None or over in IMAGE_AXES:
            owner = next((self.owners[axis] for axis in IMAGE_AXES if axis in self.owners), "An input")
            wanted = " x ".join(str(sizes[axis]) for axis in IMAGE_AXES if axis in sizes)
            compiled = ", ".join(
                dict.fromkeys(
                    " x ".join(str(bucket.sizes[axis]) for axis in IMAGE_AXES if axis in sizes)
                    for bucket in self.buckets
                )
            )
            return InputError(
                f"{owner} is {wanted} (height x width), and the graph was compiled for {compiled}: images are never padded.\n"
                "Try: one of these sizes, or compile again with another height and width."
            )
        return InputError(
            f"{self.owners.get(over, 'An input')} has {sizes[over]} along {over!r}, and the largest bucket has {largest[over]}. "
            f"Buckets: {labels}.\nTry: a shorter input, or compile again with a larger size."
        )

    def _too_short(self, sizes: Mapping[str, int]) -> InputError | None:
        for axis, size in sizes.items():
            least = min(bucket.bounds.get(axis, (1, 0))[0] for bucket in self.buckets)
            if size < least:
                return InputError(
                    f"{self.owners.get(axis, 'An input')} has {size} along {axis!r}, and the graph was compiled for {least} and "
                    "more: with less, an axis that follows from it would be shorter than 2.\n"
                    "Try: a longer input, or compile with static=True (--static), where shorter ones are padded."
                )
        return None


def _work(bucket: Bucket, rows: int) -> tuple[int, int]:
    capacity = bucket.sizes.get(BATCH)
    if capacity is None:
        return bucket.volume, 1
    calls = ceil(rows / capacity)
    return bucket.volume * calls, calls
