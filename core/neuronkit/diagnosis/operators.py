"""
Operators that Neuron's compiler refuses, found in an exported program.

The list holds what is documented or was seen to fail. An operator that is not on it may fail too: the only authority is
the compiler itself. Nothing is refused because some list of supported operators lacks it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs
import torch
from torch.export import ExportedProgram


@attrs.frozen
class Refusal:
    """
    Why an operator does not compile.

    Args:
        code: What the compiler says, where it is known.
        cause: The reason.
        cure: What to write instead.

    """

    code: str | None
    cause: str
    cure: str


@attrs.frozen
class Problem:
    """A refusal, the operator, and how often it occurs."""

    operator: str
    count: int
    refusal: Refusal


_SORT = Refusal("NCC_EVRF029", "sorting is not supported", "torch.topk")
_DYNAMIC = Refusal("NCC_EMOD025", "the size of its result depends on data", "torch.where with fixed shapes")
_FFT = Refusal("NCC_EVRF001", "Fourier transforms are not supported", "a matrix product with a table, or the host")
_SOLVE = Refusal("NCC_EVRF001", "triangular solves are not supported", "torch.linalg.inv, or the host")
_COMPLEX = Refusal("NCC_EVRF004", "complex numbers are not supported", "cosine and sine (rotary embeddings)")
_FLOAT64 = Refusal(None, "float64 is not supported", "float32")
_TOPK = Refusal("NCC_EVRF013", "topk on integers is not supported", "cast to float32 first")
_SCATTER = Refusal("NCC_EVRF016", "a scatter-reduce on integers is not supported", "reduce in float32")
_DATA = Refusal(None, "reads a value on the host while it runs", "a tensor operation; fixed bounds for loops")
_WEIGHT_NORM = Refusal(
    None,
    "torch-xla has no lowering for it, and tracing crashes",
    "torch.nn.utils.parametrize.remove_parametrizations first",
)
_BICUBIC = Refusal(
    None, "torch-xla has no lowering for it, and tracing crashes", "a table of positions resized on the host"
)
_RANDOM = Refusal(None, "random numbers of the device ignore the seed", "draw them on the host and pass them in")

REFUSED: Mapping[str, Refusal] = {
    "_fft_c2c": _FFT,
    "_fft_c2r": _FFT,
    "_fft_r2c": _FFT,
    "_local_scalar_dense": _DATA,
    "_unique2": _DYNAMIC,
    "_upsample_bicubic2d_aa": _BICUBIC,
    "_weight_norm": _WEIGHT_NORM,
    "_weight_norm_interface": _WEIGHT_NORM,
    "argsort": _SORT,
    "argwhere": _DYNAMIC,
    "bernoulli": _RANDOM,
    "item": _DATA,
    "linalg_solve_triangular": _SOLVE,
    "masked_select": _DYNAMIC,
    "msort": _SORT,
    "multinomial": _RANDOM,
    "nanquantile": _SORT,
    "native_dropout": _RANDOM,
    "nonzero": _DYNAMIC,
    "nonzero_numpy": _DYNAMIC,
    "nonzero_static": _DYNAMIC,
    "quantile": _SORT,
    "rand": _RANDOM,
    "rand_like": _RANDOM,
    "randint": _RANDOM,
    "randn": _RANDOM,
    "randn_like": _RANDOM,
    "sort": _SORT,
    "triangular_solve": _SOLVE,
    "unique_consecutive": _DYNAMIC,
    "unique_dim": _DYNAMIC,
    "upsample_bicubic2d": _BICUBIC,
}
"""By the operator's name without its overload; sorted."""


def count(program: ExportedProgram) -> dict[str, int]:
    """Return how often each operator occurs, the most frequent first."""
    counts = Counter(_name(node) for node in _calls(program))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def find_refused(program: ExportedProgram) -> list[Problem]:
    """Return what will not compile, sorted by operator."""
    counts = Counter((_name(node), refusal) for node in _calls(program) for refusal in _refusals(node))
    return [
        Problem(operator, number, refusal)
        for (operator, refusal), number in sorted(counts.items(), key=lambda item: (item[0][0], item[0][1].cause))
    ]


def _refusals(node: torch.fx.Node) -> Iterator[Refusal]:
    name = _name(node)
    if name in REFUSED:
        yield REFUSED[name]
    elif name.startswith("fft_"):
        yield _FFT
    elif name in ("index", "index_put", "index_put_") and _has_mask(node.args[1]):
        yield _DYNAMIC
    operands = [value for value in map(_value, node.all_input_nodes) if isinstance(value, torch.Tensor)]
    result = node.meta.get("val")
    results = [value for value in _flat(result) if isinstance(value, torch.Tensor)]
    dtypes = {tensor.dtype for tensor in (*operands, *results)}
    if any(dtype.is_complex for dtype in dtypes):
        yield _COMPLEX
    if torch.float64 in dtypes:
        yield _FLOAT64
    integers = bool(operands) and not operands[0].is_floating_point()
    if name == "topk" and integers:
        yield _TOPK
    if name == "scatter_reduce" and integers:
        yield _SCATTER
    if name not in REFUSED and any(isinstance(size, torch.SymInt) for tensor in results for size in tensor.shape):
        yield _DYNAMIC


def _calls(program: ExportedProgram) -> Iterator[torch.fx.Node]:
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
                    yield node


def _name(node: torch.fx.Node) -> str:
    target: Any = node.target
    return str(target._schema.name).rpartition("::")[2]


def _has_mask(indices: Any) -> bool:
    tensors = [_value(index) for index in indices if isinstance(index, torch.fx.Node)]
    return any(isinstance(tensor, torch.Tensor) and tensor.dtype in (torch.bool, torch.uint8) for tensor in tensors)


def _value(node: torch.fx.Node) -> Any:
    return node.meta.get("val")


def _flat(value: Any) -> Iterable[Any]:
    return value if isinstance(value, (list, tuple)) else [value]
