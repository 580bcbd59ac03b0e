"""Axes that follow from another one: from which, and their sizes."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import cache

from neuronkit.errors import ExportConfigError, InputError

_OPERATIONS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.floordiv,
}
_LEAST_BEFORE: dict[Callable[[int, int], int], Callable[[int, int], int]] = {
    operator.add: operator.sub,
    operator.sub: operator.add,
    operator.mul: lambda least, number: -(-least // number),
    operator.floordiv: operator.mul,
}
"""The smallest value that an operation makes a given one, or more, of."""
_Steps = tuple[tuple[Callable[[int, int], int], int], ...]


def base_axis(axis: str) -> str:
    """
    Return the axis that an axis follows from, itself or another one: ``"height"`` for ``"height*8"``.

    Raises:
        ExportConfigError: It is neither a name nor one with numbers.
    """
    return _parse(axis)[0]


def axis_size(axis: str, sizes: Mapping[str, int]) -> int:
    """
    Return the size of an axis from the sizes of those that bear a name; divisions round down.

    Raises:
        ExportConfigError: It is neither a name nor one with numbers.
        InputError: The named axis is too short: a number is subtracted from a smaller one.
    """
    name, steps = _parse(axis)
    size = sizes[name]
    for operation, number in steps:
        size = operation(size, number)
        if size < 0:
            raise InputError(f"The call has {sizes[name]} along {name!r}, which is too short for an axis of {axis!r}.")
    return size


def least_size(axis: str, result: int = 1) -> int:
    """
    Return the smallest size of the named axis with which an axis that follows from it by subtraction has a size.

    Args:
        axis: A name, or what follows from one.
        result: The size that it is to have at least.

    Returns:
        1 where nothing is subtracted: such an axis may be empty.
    """
    _, steps = _parse(axis)
    if all(operation is not operator.sub for operation, _ in steps):
        return 1
    least = result
    for operation, number in reversed(steps):  # each step never falls, so that going back finds the least
        least = max(_LEAST_BEFORE[operation](least, number), 0)
    return max(least, 1)


def tensor_shape(axes: Sequence[str | int], sizes: Mapping[str, int]) -> tuple[int, ...]:
    """
    Return the shape of a tensor from the sizes of the axes that bear a name.

    Raises:
        ExportConfigError: An axis is neither a name nor one with numbers.
        InputError: A named axis is too short for one that follows from it.
    """
    return tuple(axis if isinstance(axis, int) else axis_size(axis, sizes) for axis in axes)


@cache
def _parse(axis: str) -> tuple[str, _Steps]:
    if axis.isidentifier():
        return axis, ()
    try:
        return _read(ast.parse(axis, mode="eval").body)
    except (SyntaxError, ValueError):
        raise ExportConfigError(
            f"The axis {axis!r} is neither a name nor a name with whole numbers.\n"
            "Try: a name, then + - * / (which rounds down) and numbers of at least 1, with parentheses where needed, as in "
            "'(samples-20)/20'."
        ) from None


def _read(node: ast.expr) -> tuple[str, _Steps]:
    if isinstance(node, ast.Name):
        return node.id, ()
    if not isinstance(node, ast.BinOp) or type(node.op) not in _OPERATIONS or not isinstance(node.right, ast.Constant):
        raise ValueError
    number = node.right.value
    if type(number) is not int or number < 1:
        raise ValueError
    name, steps = _read(node.left)
    return name, (*steps, (_OPERATIONS[type(node.op)], number))
