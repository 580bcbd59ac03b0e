"""A model that transformers has never heard of, from compile to result, through a plugin registered at run time."""

from __future__ import annotations

import attrs
import pytest
import torch

import neuronkit
from neuronkit import hookimpl
from neuronkit.compilation.declaration import read_request
from neuronkit.errors import ArtifactMismatchError, InputError, UnknownTaskError
from neuronkit.models import NeuronBaseModel
from tests.core.tide import KEY, TASK, Tide

SEED = 3


def test_raw_input_to_result(tide_artifact, tide_eager):
    """Rows of uneven length give what the eager model gives for each alone."""
    rows = ["1 5 9 30 2", "7", "4 4 4"]
    results = neuronkit.pipeline(tide_artifact)(readings=rows, top=2)
    for row, result in zip(rows, results, strict=True):
        scores = tide_eager(torch.tensor([[int(word) for word in row.split()]]))["scores"].softmax(-1)[0]
        best = scores.topk(2)
        assert [name for name, _ in result] == [["low", "mid", "high"][index] for index in best.indices.tolist()]
        torch.testing.assert_close(torch.tensor([score for _, score in result]), best.values, atol=1e-5, rtol=0)


def test_shell_takes_named_tensors(tide_artifact, tide_eager):
    """Outputs come by attribute, key and position, in the declared order."""
    shell = neuronkit.load(tide_artifact)
    readings = torch.randint(0, 31, (3, 11), generator=torch.Generator().manual_seed(SEED))
    outputs = shell(readings=readings)
    expected = tide_eager(readings)
    torch.testing.assert_close(outputs.levels, expected["levels"], atol=1e-4, rtol=0)
    torch.testing.assert_close(outputs["scores"], expected["scores"], atol=1e-4, rtol=0)
    assert outputs[0] is outputs.levels
    assert list(outputs) == ["levels", "scores"]


def test_manifest_names_the_key(tide_artifact):
    """The artifact knows what made it, although no package did."""
    manifest = neuronkit.load(tide_artifact).session.manifest
    assert (manifest.key, manifest.plugin.package) == (KEY, None)
    assert f"--task {TASK}" in manifest.rebuild


def test_plugin_of_a_package(tide_checkpoint, tmp_path):
    """A plugin registered for a package is found by that package, and missed with the command that installs it."""
    from tests.core.tide import PACKAGE

    with neuronkit.get_registry().temporary(Tide(), KEY, package=PACKAGE):
        neuronkit.compile(tide_checkpoint, tmp_path / "out", task=f"{TASK}@{PACKAGE}", optlevel=1, validate=False)
        assert neuronkit.load(tmp_path / "out").session.manifest.plugin.package == PACKAGE


def test_the_only_task_of_an_architecture_needs_no_name(tide_checkpoint):
    """Where the checkpoint does not say what it was saved for; of several tasks, all are named."""
    registry = neuronkit.get_registry()
    assert read_request(tide_checkpoint, None, {}).key == KEY
    with registry.temporary(Tide(), "tide.flood-warning"), pytest.raises(UnknownTaskError) as raised:
        read_request(tide_checkpoint, None, {})
    assert str(raised.value) == (
        f"Cannot infer the task of {tide_checkpoint}: its config.json names the architectures [].\n"
        "Try: --task with one of flood-warning, level-prediction."
    )


class Unsaid(NeuronBaseModel):
    """A class that does not say for which task it is."""


class WithUnsaid(Tide):
    """Tides in that class."""

    @hookimpl
    def shell(self, session):
        return Unsaid(session)


def test_a_class_without_a_task_takes_what_its_plugin_returns(tide_artifact):
    """And no artifact of another architecture or task, which would run as what it is not."""
    with pytest.raises(ArtifactMismatchError) as raised:
        Unsaid.from_pretrained(tide_artifact)
    assert str(raised.value) == (
        f"{tide_artifact} was compiled for {KEY}, and Unsaid does not say for which task it is.\n"
        f"Try: NeuronBaseModel, or task = {TASK!r} in the class Unsaid, if it is meant."
    )
    with neuronkit.get_registry().temporary(WithUnsaid(), KEY):
        assert type(Unsaid.from_pretrained(tide_artifact)) is Unsaid


class TwoTides(Tide):
    """Tides, and beside them their names."""

    @hookimpl
    def export_config(self, source):
        config = super().export_config(source)
        (graph,) = config.graphs
        own = attrs.evolve(
            graph, name="bay", inputs=[attrs.evolve(one, name=f"bay_{one.name}") for one in graph.inputs]
        )
        own = attrs.evolve(own, wrap=Bay)
        return attrs.evolve(config, graphs=[graph, own])


class Bay(torch.nn.Module):
    """The model under other names."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, bay_readings, bay_counted):
        return self.model(bay_readings, bay_counted)


def test_of_several_graphs_the_first_is_called(tide_checkpoint, tmp_path):
    """The others are named where an input is theirs."""
    readings = torch.tensor([[3, 1, 4]])
    with neuronkit.get_registry().temporary(TwoTides(), KEY):
        neuronkit.compile(tide_checkpoint, tmp_path / "out", task=TASK, optlevel=1)
        shell = neuronkit.load(tmp_path / "out")
        with pytest.raises(InputError) as raised:
            shell(bay_readings=readings)
        own = shell.session.forward("bay", {"bay_readings": readings})
    assert str(raised.value) == (
        "Graph 'tide' has no input 'bay_readings'. Did you mean 'readings'? Its inputs: counted, readings.\n"
        "This class runs the first graph alone, and there are others: bay.\n"
        "Try: session.forward(graph, tensors); a plugin's hook `shell` returns a class that runs all."
    )
    torch.testing.assert_close(own["scores"], shell(readings=readings).scores)
