"""Whether a model will compile, told without compiling it."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import neuronkit
from neuronkit.cli import main
from neuronkit.diagnosis import check, operators
from neuronkit.diagnosis.check import check_graph, check_model
from neuronkit.errors import OptionError
from tests.core.tide import KEY, TASK, Tide, make_tide, plugin
from tests.generation.checkpoints import tiny_decoder
from tests.neuron.toys import BUCKET, Encoder, cached_graph, encoder_graph


class Altered(Encoder):
    """Does something else to its states at the end."""

    def __init__(self, change) -> None:
        super().__init__()
        self.change = change

    def forward(self, input_ids, attention_mask):
        states = super().forward(input_ids, attention_mask)["last_hidden_state"]
        return {"last_hidden_state": self.change(states)}


REFUSED = {
    "sort": (lambda x: torch.sort(x, -1)[0], "sort", "NCC_EVRF029"),
    "argsort": (lambda x: x.gather(-1, torch.argsort(x, -1)), "argsort", "NCC_EVRF029"),
    "nonzero": (lambda x: x + torch.nonzero(x > 0).shape[0], "nonzero", "NCC_EMOD025"),
    "unique": (lambda x: x + torch.unique(x).sum(), "_unique2", "NCC_EMOD025"),
    "mask": (lambda x: x + x[x > 0].sum(), "index", "NCC_EMOD025"),
    "masked_select": (lambda x: x + torch.masked_select(x, x > 0).sum(), "masked_select", "NCC_EMOD025"),
    "fft": (lambda x: torch.fft.rfft(x, n=14).abs(), "fft_rfft", "NCC_EVRF001"),
    "complex": (
        lambda x: torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (4, 2))) * 2).flatten(-2),
        "mul",
        "NCC_EVRF004",
    ),
    "float64": (lambda x: (x.double() * 2).float(), "mul", None),
    "solve": (
        lambda x: torch.linalg.solve_triangular(torch.eye(8), x, upper=True, left=False),
        "linalg_solve_triangular",
        "NCC_EVRF001",
    ),
    "integer topk": (lambda x: x + (x * 9).int().topk(8)[0], "topk", "NCC_EVRF013"),
    "weight norm": (
        lambda x: x + torch._weight_norm(torch.ones(8, 8, device=x.device), torch.ones(8, 1, device=x.device), 0).sum(),
        "_weight_norm",
        None,
    ),
    "bicubic": (
        lambda x: nn.functional.interpolate(x[:, None], (4, 8), mode="bicubic")[:, 0],
        "upsample_bicubic2d",
        None,
    ),
    "noise": (lambda x: x + torch.randn_like(x), "randn_like", None),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_operators_are_named_with_code_and_cure(name):
    change, operator, code = REFUSED[name]

    found = check_graph(encoder_graph(), BUCKET, Altered(change))
    assert not found.passed
    assert found.failure is None
    assert (operator, code) in [(problem.operator, problem.refusal.code) for problem in found.problems]
    assert all(problem.count >= 1 and problem.refusal.cure for problem in found.problems)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.topk(8)[0],
        lambda x: torch.where(x > 0, x, -x),
        lambda x: x.cumsum(1),
        lambda x: x + x.std(-1, keepdim=True) * 2.0,
        lambda x: x[:, [1, 0, 2, 3]],
    ],
)
def test_what_compiles_is_not_refused(change):
    found = check_graph(encoder_graph(), BUCKET, Altered(change))
    assert found.problems == ()
    assert found.passed


def test_a_graph_in_good_order():
    found = check_graph(encoder_graph(), BUCKET, Encoder())

    assert found.passed
    assert (found.graph, found.kind, found.bucket) == ("encoder", "encoder", BUCKET.label)
    assert found.operators["scaled_dot_product_attention"] == 1
    assert list(found.operators.values()) == sorted(found.operators.values(), reverse=True)
    # 11 x 8 embedding, 8 x 8 + 8 linear, 8 scale, float32
    assert found.weight_bytes == 4 * (88 + 72 + 8)


def test_a_graph_with_state_is_in_good_order(machine):
    from neuronkit.buckets import Bucket
    from tests.neuron.toys import CachedSum

    assert check_graph(cached_graph(), Bucket({"batch": 2}), CachedSum()).passed


def test_control_flow_on_data_cannot_be_exported():
    def branch(x):
        return x if x.sum() > 0 else -x

    found = check_graph(encoder_graph(), BUCKET, Altered(branch))
    assert not found.passed
    assert "data-dependent" in found.failure
    assert "\n" not in found.failure


def test_tied_weights_count_once():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = nn.Linear(8, 8, bias=False)
            self.two = nn.Linear(8, 8, bias=False)
            self.two.weight = self.one.weight

        def forward(self, row, position, cache):
            return {"total": self.two(self.one(row))}

    from neuronkit.buckets import Bucket
    from neuronkit.export import Graph, Input, Output

    graph = Graph(
        "tied",
        [Input(name, ["batch", 8], dtype="float32") for name in ("row", "position", "cache")],
        [Output("total", ["batch", 8])],
    )
    assert check_graph(graph, Bucket({"batch": 1}), Tied()).weight_bytes == 4 * 64


def test_the_table_is_sorted():
    assert list(operators.REFUSED) == sorted(operators.REFUSED)


# Models


@pytest.fixture
def checkpoint(tmp_path):
    """A model of a third party, its plugin registered."""
    with neuronkit.get_registry().temporary(plugin, KEY):
        yield make_tide(tmp_path / "tide")


def test_a_model_is_checked_at_every_size(checkpoint):
    report = check_model(checkpoint, task=TASK, given={"sequence_length": [8, 16], "batch_size": [1, 2]})

    assert report.passed
    assert report.fits
    assert (report.key, report.target, report.core_bytes) == (KEY, "inf2", 16 * 2**30)
    assert [graph.bucket for graph in report.graphs] == [
        "batch1_sequence8",
        "batch1_sequence16",
        "batch2_sequence8",
        "batch2_sequence16",
    ]
    assert report.device_bytes == 4 * report.graphs[0].weight_bytes


def test_a_decoder_is_checked_at_the_one_size_that_is_compiled(tmp_path):
    """Its state is on the device, where no two sizes share one: weights count once."""
    model = tiny_decoder(tmp_path / "gpt2")
    report = check_model(model, task="text-generation", given={"sequence_length": [8, 16]})
    assert [one.bucket for one in report.graphs] == ["batch1_sequence16_cache16"]
    assert report.device_bytes == report.graphs[0].weight_bytes


def test_weights_that_fill_the_core_do_not_pass(checkpoint, monkeypatch):
    monkeypatch.setattr(check, "CORE_BYTES", {"trn1": 1000})

    report = check_model(checkpoint, task=TASK, given={"sequence_length": 8})
    assert not report.fits
    assert not report.passed
    assert all(graph.passed for graph in report.graphs)


def test_a_plugin_s_own_default_sizes_count(checkpoint):
    class Short(Tide):
        @neuronkit.hookimpl
        def default_shapes(self, source):
            return {"sequence_length": [5]}

    with neuronkit.get_registry().temporary(Short(), KEY):
        report = check_model(checkpoint, task=TASK)
    assert [graph.bucket for graph in report.graphs] == ["batch1_sequence5"]


def test_targets(checkpoint):
    assert check_model(checkpoint, task=TASK, given={"sequence_length": 8, "target": "trn2.3xlarge"}).target == "trn2"
    with pytest.raises(OptionError, match="target: must be one of"):
        check_model(checkpoint, task=TASK, given={"sequence_length": 8, "target": "gpu"})


def test_unknown_options_are_refused(checkpoint):
    with pytest.raises(OptionError, match="unknown option"):
        check_model(checkpoint, task=TASK, given={"sequence_length": 8, "colour": "red"})


def test_the_command(checkpoint, capsys):
    words = ["check", str(checkpoint), "--task", TASK, "--sequence-length", "8"]

    assert main(words) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"{KEY} for inf2\n\nok    tide batch1_sequence8 (generic)\n")
    assert text.endswith("should compile\n")
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["passed"], found["fits"]) == (1, True, True)
    assert found["graphs"][0]["passed"] is True
    rest = words[2:]
    assert main(["check", "--model", str(checkpoint), *rest]) == 0
    assert capsys.readouterr().out == text
    for model in ([], [str(checkpoint), "-m", str(checkpoint)]):
        assert main(["check", *model, *rest]) == 2
        assert "MODEL is required, once: neuronkit check MODEL" in capsys.readouterr().err


def test_the_command_names_what_is_refused_and_fails(tmp_path, capsys):
    class Sorted(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, readings, counted):
            outputs = self.module(readings, counted)
            return {"levels": outputs["levels"].sort(-1)[0], "scores": outputs["scores"]}

    with neuronkit.get_registry().temporary(Tide(wrap=Sorted), KEY):
        status = main(["check", str(make_tide(tmp_path / "tide")), "--task", TASK, "--sequence-length", "8"])
    text = capsys.readouterr().out
    assert status == 1
    assert "FAIL  tide batch1_sequence8 (generic)\n" in text
    assert "      sort x 1: sorting is not supported (NCC_EVRF029)\n      -> torch.topk\n" in text
    assert text.endswith("will not compile as it is\n")
