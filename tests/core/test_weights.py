"""The tensors of a model: written, mapped, converted and compared."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from neuronkit import weights
from neuronkit.artifact.weights_file import read, write
from neuronkit.errors import WeightsError
from neuronkit.weights import (
    Constant,
    check,
    constant,
    fit,
    make_once,
    module_tensors,
    of_graph,
    scoped,
    signature,
    ties,
)


def as_they_are(tensors):
    """What a graph needs that takes a model's tensors without converting them."""
    return fit(tensors, [constant(name, tensor) for name, tensor in tensors.items()])


def test_round_trip(tmp_path):
    """Values, dtypes, strides and ties come back; what is tied is one tensor, and is written once."""
    torch.manual_seed(5)
    tied = torch.randn(4, 3)
    tensors = {
        "plain": torch.randn(2, 3),
        "half": torch.randn(3).bfloat16(),
        "flags": torch.tensor([True, False]),
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 2),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "transposed": torch.randn(3, 7).t(),
        "permuted": torch.randn(2, 3, 4).permute(2, 0, 1),
        "sliced": torch.randn(6, 8)[:, ::2],
        "tied": tied,
        "also_tied": tied,
        "other_view": tied.t(),
    }
    file = tmp_path / "weights.safetensors"
    write(file, as_they_are(tensors))
    found = read(file)
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor), name
        assert found[name].dtype is tensor.dtype, name
        if name != "sliced":
            assert found[name].stride() == tensor.stride(), name
    assert found["sliced"].is_contiguous()
    assert found["tied"] is found["also_tied"]


def test_converted_tensors_are_written_as_they_are_wanted(tmp_path):
    """In the dtype, strides and rounding of the graph; what two names want alike is written once."""
    torch.manual_seed(6)
    image, matrix = torch.randn(4, 3, 2, 2), torch.randn(5, 4)
    last = image.to(memory_format=torch.channels_last)
    wanted = {
        "last": (image, constant("last", last)),
        "lower": (matrix, Constant("lower", "bfloat16", (5, 4), (4, 1))),
        "same": (matrix, Constant("same", "bfloat16", (5, 4), (4, 1))),
        "columns": (matrix, Constant("columns", "float32", (5, 4), (1, 5))),
        "rounded": (matrix, Constant("rounded", "float32", (5, 4), (4, 1), rounded="bfloat16")),
        "kept": (matrix, constant("kept", matrix)),
    }
    fitted = {name: fit({name: tensor}, [needed])[name] for name, (tensor, needed) in wanted.items()}
    assert {name for name, tensor in fitted.items() if tensor.is_converted} == set(wanted) - {"kept"}
    file = tmp_path / "weights.safetensors"
    write(file, fitted)
    found = read(file)
    check(found, [needed for _, needed in wanted.values()])
    assert torch.equal(found["last"], image)
    assert torch.equal(found["lower"], matrix.bfloat16())
    assert found["same"] is found["lower"]
    assert torch.equal(found["columns"], matrix)
    assert torch.equal(found["rounded"], matrix.bfloat16().float())
    assert torch.equal(found["kept"], matrix)
    assert all(tensor.data_ptr() % tensor.element_size() == 0 for tensor in found.values())


def test_every_dtype_has_a_name(tmp_path):
    """Those of safetensors, bytes and complex numbers among them."""
    names = ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "complex64")
    names += ("int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64", "bool")
    tensors = {name: torch.ones(3).to(getattr(torch, name)) for name in names}
    write(tmp_path / "all", as_they_are(tensors))
    found = read(tmp_path / "all")
    assert {name: tensor.dtype for name, tensor in found.items()} == {name: getattr(torch, name) for name in names}
    assert all(torch.equal(found[name].float(), torch.ones(3)) for name in names if name != "complex64")


def test_tied_weights_take_no_room(tmp_path):
    """A file with two names for one tensor is hardly larger."""
    tensor = torch.zeros(1000)
    write(tmp_path / "one", as_they_are({"a": tensor}))
    write(tmp_path / "two", as_they_are({"a": tensor, "b": tensor}))
    assert (tmp_path / "two").stat().st_size < (tmp_path / "one").stat().st_size + 200


def test_writing_is_reproducible(tmp_path):
    """The order of the names does not matter."""
    tensors = {"b": torch.ones(2), "a": torch.zeros(3)}
    write(tmp_path / "one", as_they_are(tensors))
    write(tmp_path / "two", as_they_are(dict(reversed(tensors.items()))))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_module_tensors_have_every_name():
    """Tied parameters under both names, non-persistent buffers too."""
    module = nn.Module()
    module.first, module.second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    module.second.weight = module.first.weight
    module.register_buffer("positions", torch.arange(3), persistent=False)
    tensors = module_tensors(module)
    assert set(tensors) == {"first.weight", "second.weight", "positions"}
    assert not any(tensor.requires_grad for tensor in tensors.values())
    assert ties(tensors) == [["first.weight", "second.weight"]]


def test_signature_sees_structure_and_not_values():
    """Equal for a sibling; different for another dtype, shape, stride or tie."""
    weight = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    base = signature({"a": weight, "b": torch.zeros(3, 4)})
    assert signature({"b": torch.ones(3, 4), "a": torch.zeros(3, 4)}) == base
    assert signature({"a": weight, "b": weight}) != base
    assert signature({"a": weight, "b": torch.zeros(3, 4).half()}) != base
    assert signature({"a": weight, "b": torch.zeros(4, 3).t()}) != base
    assert signature({"a": weight, "c": torch.zeros(3, 4)}) != base


def test_digest_sees_values():
    """Names, dtypes and contents count, memory layout does not."""
    tensor = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    base = weights.digest({"a": tensor, "b": torch.tensor(1)})
    assert weights.digest({"b": torch.tensor(1), "a": tensor.to(memory_format=torch.channels_last)}) == base
    assert weights.digest({"a": tensor, "b": torch.tensor(2)}) != base
    assert weights.digest({"a": tensor, "c": torch.tensor(1)}) != base
    assert weights.digest({"a": tensor, "b": torch.tensor(1, dtype=torch.int32)}) != base


def test_strides_of_axes_of_size_one_are_free():
    """They say nothing about memory, and must not tell two graphs apart."""
    assert constant("x", torch.ones(1, 4).as_strided((1, 4), (99, 1))) == constant("x", torch.ones(1, 4))


def test_fitting_converts_once():
    """Two graphs that need one tensor alike share what was made of it, and what fits is not copied."""
    tensor = torch.randn(2, 3)
    made = {}
    as_is, lower = constant("w", tensor), Constant("w", "bfloat16", (2, 3), (3, 1))
    other_stride = Constant("w", "float32", (2, 3), (1, 2))
    first, second = (make_once(fit({"w": tensor}, [lower]), made) for _ in range(2))
    assert first["w"] is second["w"]
    assert torch.equal(first["w"], tensor.bfloat16())
    (kept,) = make_once(fit({"w": tensor, "more": tensor}, [as_is]), made).values()
    assert kept is tensor
    strided = fit({"w": tensor}, [other_stride])["w"].make()
    assert strided.stride() == (1, 2)
    assert torch.equal(strided, tensor)


def test_fitting_refuses():
    """All that is missing or of another shape, in one error."""
    wanted = [
        Constant("a", "float32", (2,), (1,)),
        Constant("b", "float32", (3,), (1,)),
        Constant("c", "float32", (1,), (1,)),
    ]
    with pytest.raises(WeightsError) as raised:
        fit({"b": torch.ones(2), "c": torch.ones(1)}, wanted)
    assert str(raised.value) == (
        "The weights do not fit the graph:\n  a: missing\n  b: shape (2,), but the graph has (3,)"
    )


@pytest.mark.parametrize(
    ("tensor", "problem"),
    [
        (None, "w: missing"),
        (torch.ones(3, 2), "shape=(3, 2)"),
        (torch.ones(2, 3).half(), "dtype='float16'"),
        (torch.ones(3, 2).t(), "stride=(1, 2)"),
    ],
)
def test_check(tensor, problem):
    """A compiled graph would crash or lie; this says name, shape, dtype and stride, found and wanted."""
    wanted = Constant("w", "float32", (2, 3), (3, 1))
    with pytest.raises(WeightsError, match=re.escape(problem)) as raised:
        check({} if tensor is None else {"w": tensor}, [wanted])
    assert str(raised.value).startswith("The weights do not fit the graph:\n  w: ")
    if tensor is not None:
        assert f"but the graph expects {wanted}" in str(raised.value)
    check({"w": torch.ones(2, 3), "more": torch.ones(1)}, [wanted])


def test_long_lists_are_cut():
    """Of many problems the first eight are shown."""
    wanted = [Constant(f"w{index}", "float32", (1,), (1,)) for index in range(10)]
    with pytest.raises(WeightsError, match=r"w7: missing\n  and 2 more$"):
        check({}, wanted)


def test_scopes():
    """A graph's name stands before the names of its tensors."""
    tensors = {"w": torch.ones(1)}
    both = scoped("encoder", tensors) | scoped("encoder2", {"w": torch.zeros(1)})
    assert set(both) == {"encoder/w", "encoder2/w"}
    assert of_graph("encoder", both) == tensors
