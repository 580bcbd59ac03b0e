"""What a plugin declares, and every mistake that it can make in it."""

from __future__ import annotations

import re

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from neuronkit.errors import ExportConfigError, InputError
from neuronkit.export import CompilerHints, ExportConfig, Graph, Input, Output, Tolerance
from neuronkit.export.axes import axis_size, base_axis, least_size
from neuronkit.export.capture import TracedModule, seeded_inputs

X = Input("x", ["batch", "sequence"])
Y = Output("y", ["batch"])


def make_class():
    """Make a class that cannot be imported."""

    @attrs.frozen
    class Made:
        y: object = None

    return Made


def graph_of(**changes):
    """Return a graph with some fields changed."""
    return Graph(**{"name": "net", "inputs": [X], "outputs": [Y], **changes})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Input("input ids", ["batch"]), "name of Input must be an identifier (got 'input ids')."),
        (lambda: Output("", ["batch"]), "name of Output must be an identifier (got '')."),
        (lambda: graph_of(name="a/b"), "name of Graph must be an identifier (got 'a/b')."),
        (lambda: Input("x", ["batch", 0]), "An axis must be a name or a size of at least 1 (got 0 in ('batch', 0))."),
        (
            lambda: CompilerHints(max_batch="8"),
            "max_batch must be a whole number of at least 1 (got '8').",
        ),
        (
            lambda: graph_of(hints={}),
            "hints of a Graph must be a CompilerHints (got {}).\nTry: CompilerHints(...)",
        ),
        (lambda: Input("x", [True]), "An axis must be a name or a size of at least 1 (got True in (True,))."),
        (lambda: Output("y", [1.5]), "An axis must be a name or a size of at least 1 (got 1.5 in (1.5,))."),
        (lambda: Output("y", ["a", 3, "a"]), "A tensor cannot have the same axis twice (got ('a', 3, 'a'))."),
        (
            lambda: graph_of(inputs=[X, Input("z", ["batch", "width/2"])]),
            "Graph 'net' has inputs with axes that no input has: width/2.",
        ),
        (
            lambda: graph_of(sizes={"sequnce": 7}),
            "Graph 'net' has sizes for axes that no input has: sequnce.\nTry: some of batch, sequence.",
        ),
        (
            lambda: graph_of(sizes={"sequence": 64 / 8}),
            "Sizes by name are wanted, each a whole number of at least 1 or a list of them (got {'sequence': 8.0}).",
        ),
        (
            lambda: ExportConfig(nn.Identity, [graph_of()], shapes={"sequence_length": [0]}),
            "Sizes by name are wanted, each a whole number of at least 1 or a list of them (got {'sequence_length': [0]}).",
        ),
        (
            lambda: ExportConfig(nn.Identity, [graph_of()], shapes=["sequence_length"]),
            "Sizes by name are wanted, each a whole number of at least 1 or a list of them (got ['sequence_length']).",
        ),
        (
            lambda: graph_of(hints=CompilerHints(dynamic_axes=["batch", "smaples"])),
            "Graph 'net' has dynamic_axes for axes that no input has: smaples.\nTry: some of batch, sequence.",
        ),
        (
            lambda: graph_of(inputs=[X, Input("z", ["batch*2"])]),
            "Graph 'net' has an input with an axis that follows from 'batch', along which calls are split.\n"
            "Try: 'batch' itself, and another axis for the rest.",
        ),
        (lambda: Input("x", "batch"), 'Expected a list like ["batch", "sequence"] (got \'batch\').'),
        (lambda: Output("y", 5), 'Expected a list like ["batch", "sequence"] (got 5).'),
        (lambda: graph_of(inputs=X), f"Expected a list like [Input(...)] (got {X!r})."),
        (lambda: graph_of(outputs=[("y", ["batch"])]), "Expected a list like [Output(...)] (got [('y', ['batch'])])."),
        (lambda: ExportConfig(nn.Identity, graph_of()), f"Expected a list like [Graph(...)] (got {graph_of()!r})."),
        (
            lambda: Input("x", ["batch"], table_size=0),
            "table_size must be a whole number of at least 1 (got 0).",
        ),
        (
            lambda: Input("x", ["batch"], "float32", table_size=7),
            "table_size of 'x' is for integers, and its dtype is 'float32'.",
        ),
        (lambda: graph_of(inputs=[]), "Graph 'net' has no inputs."),
        (lambda: graph_of(outputs=[]), "Graph 'net' has no outputs."),
        (lambda: graph_of(inputs=[X, X]), "Graph 'net' has two inputs of the same name (got ['x', 'x'])."),
        (lambda: graph_of(outputs=[Y, Y]), "Graph 'net' has two outputs of the same name (got ['y', 'y'])."),
        (
            lambda: graph_of(outputs=[Output("y", ["width", "height", "batch"])]),
            "Graph 'net' has outputs with axes that no input has: height, width.",
        ),
        (lambda: ExportConfig(nn.Identity, []), "An export config needs graphs with names of their own (got [])."),
        (
            lambda: ExportConfig(nn.Identity, [graph_of(), graph_of()]),
            "An export config needs graphs with names of their own (got ['net', 'net']).",
        ),
        (
            lambda: ExportConfig(nn.Identity, [graph_of()], required_axes=["sequence", "width", "batch", "height"]),
            "Required axes that no graph has: height, width.",
        ),
        (
            lambda: ExportConfig(nn.Identity, [graph_of()], output_class=make_class()),
            f"The output class {__name__}:make_class.<locals>.Made is not what its module has under that name, so that no "
            "artifact could be loaded.\nTry: define it at the top of a module.",
        ),
    ],
)
def test_mistakes(make, message):
    """Each is an ExportConfigError, which is a ValueError, with what was found."""
    with pytest.raises(ExportConfigError, match=f"^{re.escape(message)}$") as raised:
        make()
    assert isinstance(raised.value, ValueError)


@pytest.mark.parametrize(
    "axis",
    [
        "sequence//2",
        "sequence*width",
        "sequence*1.5",
        "sequence-0",
        "sequence%2",
        "2*sequence",
        "6/2",
        "sequence-20/20",
        "",
        "a b",
        "f(a)",
    ],
)
def test_axes_that_follow_from_nothing(axis):
    """Found where they are declared, and not in the first call."""
    with pytest.raises(ExportConfigError) as raised:
        Output("y", ["batch", axis])
    assert str(raised.value) == (
        f"The axis {axis!r} is neither a name nor a name with whole numbers.\n"
        "Try: a name, then + - * / (which rounds down) and numbers of at least 1, with parentheses where needed, as in "
        "'(samples-20)/20'."
    )


@pytest.mark.parametrize(
    ("axis", "size"),
    [("width", 45), ("width*8", 360), ("width/2", 22), ("width*3/2", 67), ("(width-20)/20", 1)],
)
def test_axes_that_follow_from_an_input_s(axis, size):
    """Numbers bind as in Python, and divisions round down."""
    assert (base_axis(axis), axis_size(axis, {"width": 45})) == ("width", size)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("+-*/"), st.integers(1, 9)), min_size=1, max_size=5), st.integers(1, 3))
def test_the_least_size_that_leaves_some(steps, result):
    """As trying all sizes from 1 on finds it."""
    axis = "width"
    for operation, number in steps:
        axis = f"({axis}{operation}{number})"

    def size_of(size):
        try:
            return axis_size(axis, {"width": size})
        except InputError:
            return 0

    found = next(size for size in range(1, 200_000) if size_of(size) >= result)
    assert least_size(axis, result) == (found if "-" in axis else 1)


def test_unknown_dtype():
    """The dtypes that there are stand in the message."""
    with pytest.raises(ExportConfigError, match=r"dtype of Input must be one of bool, int32, .* \(got 'int63'\)\."):
        Input("x", ["batch"], dtype="int63")


def test_sequences_become_tuples():
    """Lists may be written everywhere."""
    config = ExportConfig(
        nn.Identity, [graph_of(hints=CompilerHints(dynamic_axes=["batch"]))], required_axes=["sequence"]
    )
    assert config.graphs[0].inputs[0].axes == ("batch", "sequence")
    assert (config.required_axes, config.graphs[0].hints.dynamic_axes) == (("sequence",), ("batch",))
    assert config.graphs[0].axes == ("batch", "sequence")


def test_sizes_may_be_numbers():
    """Or lists of them."""
    assert ExportConfig(nn.Identity, [graph_of()], shapes={"sequence_length": 4}).shapes == {"sequence_length": [4]}
    assert graph_of(sizes={"sequence": [4, 8]}).sizes == {"sequence": [4, 8]}


def test_tolerance_may_be_a_number():
    """It is then that of fp32."""
    assert ExportConfig(nn.Identity, [graph_of()]).tolerance == Tolerance()
    assert ExportConfig(nn.Identity, [graph_of()], tolerance=1e-2).tolerance == Tolerance(fp32=1e-2)
    assert ExportConfig(nn.Identity, [graph_of()], tolerance=0).tolerance.fp32 == 0
    assert ExportConfig(nn.Identity, [graph_of()], tolerance=Tolerance(bf16=1)).tolerance.bf16 == 1
    with pytest.raises(
        ExportConfigError, match=r"^tolerance .* must be a Tolerance or a number \(got \{'fp32': 0\.01\}\)\.\nTry: "
    ):
        ExportConfig(nn.Identity, [graph_of()], tolerance={"fp32": 1e-2})


class Returns(nn.Module):
    """A module that returns what it was made with."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return self.value


ONE, TWO = torch.ones(1), torch.ones(1) * 2
TWO_OUTPUTS = graph_of(outputs=[Output("b", ["batch"]), Output("a", ["batch"])])


@pytest.mark.parametrize("value", [{"a": ONE, "c": ONE, "b": TWO}, (TWO, ONE), [TWO, ONE, ONE]])
def test_declared_outputs_are_picked_in_order(value):
    """By name out of a mapping, by position out of a sequence."""
    picked = TracedModule(Returns(value), TWO_OUTPUTS)(ONE)
    assert [tensor.item() for tensor in picked] == [2, 1]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"a": ONE, "b": None},
            "Graph 'net' declares the output 'b' as a tensor, but the module returned a NoneType for it.",
        ),
        ((ONE, 1.5), "Graph 'net' declares the output 'a' as a tensor, but the module returned a float for it."),
        (([ONE], TWO), "Graph 'net' declares the output 'b' as a tensor, but the module returned a list for it."),
        (None, "Graph 'net' needs a mapping, a tuple or a tensor, but the module returned a NoneType."),
        ({"a": ONE}, "Graph 'net' declares the output 'b', but the module returned ['a']."),
        ((ONE,), "Graph 'net' declares 2 outputs, but the module returned 1."),
        (ONE, "Graph 'net' declares 2 outputs, but the module returned 1."),
    ],
)
def test_missing_outputs(value, message):
    """A module that returns less than its graph declares."""
    with pytest.raises(ExportConfigError, match=re.escape(message)):
        TracedModule(Returns(value), TWO_OUTPUTS)(ONE)


def test_plain_tensors_become_buffers():
    """A tensor that is a plain attribute would have a name that no module knows."""
    module = Returns(nn.Parameter(torch.ones(1)))
    module.table = torch.arange(3)
    traced = TracedModule(module, graph_of())
    assert "module.table" in dict(traced.named_buffers())
    assert "module.table" not in traced.state_dict()


def test_seeded_inputs():
    """Reproducible, distinct objects, within the vocabulary, masks with ones and zeros and never all zeros."""
    graph = Graph(
        "net",
        [
            Input("input_ids", ["batch", "sequence"]),
            Input("attention_mask", ["batch", "sequence"], default=1),
            Input("kinds", ["batch", 3], dtype="int32", high=5),
            Input("places", ["batch", 3], table_size=6),
            Input("sample", ["batch", 2], dtype="float16"),
        ],
        [Y],
    )
    config, sizes = {"vocab_size": 7}, {"batch": 16, "sequence": 9}
    inputs = seeded_inputs(graph, sizes, config, seed=11)
    assert list(inputs) == ["input_ids", "attention_mask", "kinds", "places", "sample"]
    assert [str(tensor.dtype) for tensor in inputs.values()] == [
        "torch.int64",
        "torch.int64",
        "torch.int32",
        "torch.int64",
        "torch.float16",
    ]
    assert inputs["input_ids"].max() < 7
    assert 2 <= inputs["kinds"].max() < 5
    assert 2 <= inputs["places"].max() < 6
    assert inputs["attention_mask"].sum(1).min() >= 1
    assert (inputs["attention_mask"] == 0).any()
    again = seeded_inputs(graph, sizes, config, seed=11)
    assert all(torch.equal(inputs[name], again[name]) for name in inputs)
    other = seeded_inputs(graph, sizes, config, seed=12)
    assert not torch.equal(inputs["input_ids"], other["input_ids"])
