"""The validation gate: what is compared with the eager model, and what a plugin's declaration must be true about."""

from __future__ import annotations

from typing import NamedTuple

import attrs
import pytest
import torch
from torch import nn

import neuronkit
from neuronkit.errors import ExportConfigError, ValidationError
from neuronkit.export import Output, Probe
from neuronkit.validation.references import difference, scale
from tests.core.tide import KEY, TASK, Tide

SHAPES = {"batch_size": 2, "sequence_length": 9}
SCORES = Output("scores", ["batch", 3])


class Around(nn.Module):
    """A function of what the model gives: levels [batch, sequence, 3] and scores [batch, 3]."""

    def __init__(self, model, change):
        super().__init__()
        self.model = model
        self.change = change

    def forward(self, readings, counted):
        return self.change(self.model(readings, counted), counted)


def compile_changed(checkpoint, output, change, *outputs, **options):
    """Compile the graph with another module around the model, and other outputs."""

    class Changed(Tide):
        @neuronkit.hookimpl
        def export_config(self, source):
            config = super().export_config(source)
            (graph,) = config.graphs
            changed = attrs.evolve(graph, wrap=lambda model: Around(model, change), outputs=list(outputs))
            return attrs.evolve(config, graphs=[changed], output_class=None)

    with neuronkit.get_registry().temporary(Changed(), KEY):
        options = {"optlevel": 1, "cache": False, **SHAPES, **options}
        return neuronkit.compile(checkpoint, output, task=TASK, **options)


@pytest.mark.parametrize(
    ("change", "output", "shape", "declared"),
    [
        (lambda made, _: (made["levels"],), Output("levels", ["sequence", "batch", 3]), (2, 9, 3), (9, 2, 3)),
        (lambda made, _: (made["levels"],), Output("levels", ["batch", 3]), (2, 9, 3), (2, 3)),
        (lambda made, _: (made["scores"],), Output("scores", ["batch", 4]), (2, 3), (2, 4)),
        (lambda made, _: (made["levels"][:, 1:],), Output("levels", ["batch", "sequence", 3]), (2, 8, 3), (2, 9, 3)),
    ],
    ids=["order of axes", "rank", "fixed size", "named size"],
)
def test_outputs_have_their_declared_axes(registered, tide_checkpoint, tmp_path, change, output, shape, declared):
    with pytest.raises(ExportConfigError) as caught:
        compile_changed(tide_checkpoint, tmp_path / "out", change, output, static=True)
    assert str(caught.value) == (
        f"Graph 'tide' at {{'batch': 2, 'sequence': 9}}: the output {output.name!r} has shape {shape}, and its axes "
        f"{list(output.axes)} say {declared}.\n"
        "Try: the axes that it has, in their order, and the outputs in the order in which the module returns them."
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [{}, {"static": True}, {"static": True, "batch_size": 1}], ids=str)
def test_an_output_of_no_row_depends_on_none(registered, tide_checkpoint, tmp_path, options):
    """What is computed over the batch would be another thing for every way to divide it over calls."""
    with pytest.raises(
        ExportConfigError, match=r"the output 'mean' has no axis 'batch', and depends on the rows of a call\."
    ):
        compile_changed(
            tide_checkpoint, tmp_path / "out", lambda made, _: (made["scores"].mean(0),), Output("mean", [3]), **options
        )
    table = compile_changed(
        tide_checkpoint,
        tmp_path / "table",
        lambda made, _: (made["scores"], made["scores"].new_ones(3)),
        SCORES,
        Output("table", [3]),
        **options,
    )
    assert neuronkit.load(table.path)(readings=torch.ones(70, 4, dtype=torch.int64))["table"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("options", [{}, {"static": True}], ids=str)
@pytest.mark.parametrize(
    "over_rows", [lambda x: x / x.abs().max(), lambda x: x - x.mean(0), lambda x: x.cumsum(0).flip(0)], ids=range(3)
)
def test_a_row_depends_on_no_other(registered, tide_checkpoint, tmp_path, over_rows, options):
    """It would be another thing in every call, and beside the copies of row 0 that fill a bucket up."""
    with pytest.raises(ExportConfigError) as caught:
        compile_changed(
            tide_checkpoint, tmp_path / "out", lambda made, _: (over_rows(made["scores"]),), SCORES, **options
        )
    assert str(caught.value) == (
        "Graph 'tide': row 0 of the output 'scores' depends on the other rows of a call.\n"
        "A call is split, or filled up, to the batch that was compiled, so its value would depend on that.\n"
        "Try: a module that treats every row by itself, or inputs without the axis 'batch' where there is only one row."
    )


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (
            lambda scores: nn.functional.dropout(scores, 0.5),
            "The eager model itself gives another result for the same inputs each time.\n"
            "Nothing was written. Try: look for dropout that eval() does not switch off, for random numbers, and for what the "
            "module counts or keeps between calls.",
        ),
        (
            lambda scores: (scores - 1e9).log(),
            "The eager model itself gives NaN.\nNothing was written. Try: a Probe, whose inputs the model is made for.",
        ),
    ],
    ids=["random", "nan"],
)
def test_an_eager_model_that_nothing_can_equal(registered, tide_checkpoint, tmp_path, change, cause):
    """The tolerance, the precision and the compiler are not what to look at."""
    with pytest.raises(ValidationError) as caught:
        compile_changed(tide_checkpoint, tmp_path / "out", lambda made, _: (change(made["scores"]),), SCORES)
    assert "scores differs from the eager model by" in str(caught.value)
    assert str(caught.value).partition("\n")[2] == cause


class Named(NamedTuple):
    """Outputs with names."""

    scores: torch.Tensor
    levels: torch.Tensor


def test_a_named_tuple_gives_its_outputs_by_name(registered, tide_checkpoint, tide_eager, tmp_path):
    """Two outputs of one shape would change places without a word."""

    def twice(made, _):
        return Named(levels=made["scores"] * 2, scores=made["scores"])

    compile_changed(tide_checkpoint, tmp_path / "out", twice, Output("levels", ["batch", 3]), SCORES)
    readings = torch.tensor([[3, 1, 4]])
    found = neuronkit.load(tmp_path / "out")(readings=readings)
    torch.testing.assert_close(found.scores, tide_eager(readings)["scores"], atol=1e-4, rtol=0)
    torch.testing.assert_close(found.levels, found.scores * 2)


def numbers_too_large(sizes, generator):
    """Return readings for which the model has no place."""
    return {"readings": torch.full((sizes["batch"], sizes["sequence"]), 99)}


@pytest.mark.parametrize(
    ("probe", "high", "advice"),
    [
        (
            None,
            99,
            "table_size=N in an Input of numbers that are looked up among N, or where inputs depend on each other a Probe, which "
            "makes those that the model is made for.",
        ),
        (Probe(numbers_too_large, lambda model, inputs: model(**inputs)), 31, "other inputs of its Probe."),
    ],
    ids=["high", "probe"],
)
def test_inputs_that_the_eager_model_cannot_take(registered, tide_checkpoint, tmp_path, probe, high, advice):
    """The plugin's author is told which graph, at which sizes, and what decides over its inputs."""

    class Astray(Tide):
        @neuronkit.hookimpl
        def export_config(self, source):
            config = super().export_config(source)
            (graph,) = config.graphs
            readings, counted = graph.inputs
            inputs = [attrs.evolve(readings, high=high), counted]
            return attrs.evolve(config, graphs=[attrs.evolve(graph, inputs=inputs, probe=probe)])

    with neuronkit.get_registry().temporary(Astray(), KEY), pytest.raises(ExportConfigError) as caught:
        neuronkit.compile(tide_checkpoint, tmp_path / "out", task=TASK, optlevel=1, cache=False, **SHAPES)
    assert str(caught.value) == (
        "Graph 'tide' at {'batch': 3, 'sequence': 9}: the eager model fails on the inputs that it is to be compared on.\n"
        f"  IndexError: index out of range in self\nTry: {advice}"
    )
    assert isinstance(caught.value.__cause__, IndexError)


def test_what_is_padded_does_not_count(registered, tide_checkpoint, tmp_path):
    """A fixed bucket is compared at its own sizes and in a call that is padded to them."""

    def over_everything(made, counted):
        return (made["levels"].sum(1),)

    with pytest.raises(
        ValidationError, match=r"at \{'batch': 1, 'sequence': 6\}: scores differs (?s:.*)what is padded must not count"
    ):
        compile_changed(tide_checkpoint, tmp_path / "out", over_everything, SCORES, static=True)
    compile_changed(tide_checkpoint, tmp_path / "out", over_everything, SCORES)
    mended = compile_changed(
        tide_checkpoint,
        tmp_path / "mended",
        lambda made, counted: ((made["levels"] * counted[..., None]).sum(1),),
        SCORES,
        static=True,
    )
    assert [check.sizes["sequence"] for check in mended.manifest.validation.checks] == [9, 6]


def test_infinities_that_are_equal(registered, tide_checkpoint, tmp_path):
    """Scores of masked positions, say."""

    def masked(made, counted):
        return (made["levels"][..., 0].masked_fill(counted == 0, float("-inf")),)

    output = Output("pointer", ["batch", "sequence"])
    artifact = compile_changed(tide_checkpoint, tmp_path / "out", masked, output)
    assert artifact.manifest.validation.max_abs_diff < 1e-4


@pytest.mark.parametrize(
    ("wanted", "got", "expected"),
    [
        ([1.0, -torch.inf], [1.5, -torch.inf], 0.5),
        ([1.0, torch.inf], [1.0, -torch.inf], torch.inf),
        ([torch.inf], [0.0], torch.inf),
        ([2.0], [2.0], 0.0),
        ([2**25 + 1], [2**25], 1.0),
        ([1.0 + 1.0j], [1.0 - 1.0j], 2.0),
        ([True, False], [True, True], 1.0),
        ([], [], 0.0),
    ],
)
def test_difference(wanted, got, expected):
    assert difference(torch.tensor(wanted), torch.tensor(got)) == expected


def test_nan_is_a_difference():
    """Even from itself: a graph that gives none is no graph."""
    assert not difference(torch.tensor([torch.nan]), torch.tensor([torch.nan])) <= 1


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [([-3.0, torch.inf, torch.nan], 3), ([torch.inf], 1), ([0.5], 1), ([], 1), ([3.0 - 4.0j], 5), ([True], 1)],
)
def test_scale(wanted, expected):
    assert scale(torch.tensor(wanted)) == expected
