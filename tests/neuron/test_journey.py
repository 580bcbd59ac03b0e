"""From a checkpoint to results through the public functions, on a simulated machine. Nothing here was measured."""

from __future__ import annotations

import pytest
import torch

import neuronkit
from neuronkit.artifact import manifest as manifests
from neuronkit.backends.neuron import backend
from neuronkit.backends.neuron.errors import NeuronPackageError
from neuronkit.compilation.replacement import bind_checkpoint
from neuronkit.errors import ArtifactIncompatibleError, OptionError
from neuronkit.plugins import BACKENDS, registry_of
from tests.core.tide import KEY, TASK, load_tide, make_tide, plugin
from tests.standin.simulation import Simulation


@pytest.fixture(scope="module", autouse=True)
def registered():
    """The plugin and the backend, as their entry points would bring them."""
    with neuronkit.get_registry().temporary(plugin, KEY), registry_of(BACKENDS).temporary(backend, "neuron"):
        yield


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint of a model that transformers does not know."""
    return make_tide(tmp_path_factory.mktemp("checkpoint") / "tide")


@pytest.fixture(scope="module")
def artifact(checkpoint, tmp_path_factory):
    """Compiled where there is no device."""
    output = tmp_path_factory.mktemp("artifact") / "tide"
    with pytest.MonkeyPatch.context() as patch:
        Simulation(patch, tmp_path_factory.mktemp("machines"))
        neuronkit.compile(
            checkpoint, output, task=TASK, backend="neuron", target="inf2", batch_size=2, sequence_length=16
        )
    return output


def test_an_artifact_made_without_a_device_says_so(artifact):
    manifest = manifests.read(artifact)

    assert manifest.validation.status == "not run (no device)"
    assert manifest.validation.checks == []
    assert manifest.backend == "neuron"
    assert manifest.fingerprint["torch_neuronx"].endswith("+simulated")
    (graph,) = manifest.graphs
    assert [bucket.sizes for bucket in graph.buckets] == [{"batch": 2, "sequence": 16}]
    assert all(not bucket.bounds for bucket in graph.buckets), "every axis is fixed"
    assert manifest.weights is None, "the weights are inside unless the caller says otherwise"


def test_replaced_weights_have_a_gate_of_their_own(checkpoint, inf2, tmp_path):
    """On a machine that can run it, what was compiled on one that cannot."""
    with pytest.MonkeyPatch.context() as patch:
        Simulation(patch, tmp_path / "without a device")
        shapes = {"batch_size": 1, "sequence_length": 4}
        options = {"target": "inf2", "inline_weights": False}
        made = neuronkit.compile(checkpoint, tmp_path / "out", task=TASK, backend="neuron", **options, **shapes)
    bound = bind_checkpoint(made, checkpoint, {}, tmp_path / "bound").manifest
    assert (made.manifest.validation.status, made.manifest.validation.checks) == ("not run (no device)", [])
    assert (bound.validation.status, len(bound.validation.checks)) == ("passed", 2)


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("length", [3, 8, 11])
def test_results_equal_eager_at_any_size_that_fits(artifact, checkpoint, inf2, rows, length):
    readings = torch.randint(0, 31, (rows, length), generator=torch.Generator().manual_seed(rows * length))

    outputs = neuronkit.load(artifact)(readings=readings)
    wanted = load_tide(checkpoint)(readings, torch.ones_like(readings))
    assert torch.allclose(outputs.levels, wanted["levels"], atol=1e-5)
    assert torch.allclose(outputs.scores, wanted["scores"], atol=1e-5)


def test_loading_without_a_device_is_refused_with_the_command(artifact, machine):
    with pytest.raises(
        ArtifactIncompatibleError,
        match=r"(?s)cannot run here: there is no Neuron device .*\nTry: a machine that can run it",
    ):
        neuronkit.load(artifact)


def test_loading_without_the_packages_is_refused_with_their_command(artifact):
    with pytest.raises(ArtifactIncompatibleError, match=r"torch-neuronx is not installed \(pip install neuronx-cc=="):
        neuronkit.load(artifact)


def test_another_architecture_is_refused(artifact, machine):
    machine.start("trn2.3xlarge")
    with pytest.raises(ArtifactIncompatibleError, match="compiled for trn1 cores, and this machine has trn2"):
        neuronkit.load(artifact)


def test_compiling_without_the_packages_is_refused_before_anything_is_done(checkpoint, tmp_path):
    with pytest.raises(NeuronPackageError, match="torch-neuronx is not installed"):
        neuronkit.compile(checkpoint, tmp_path / "out", task=TASK, backend="neuron", target="inf2", sequence_length=8)
    assert not (tmp_path / "out").exists()


def test_a_second_compile_comes_from_the_cache_and_validates_where_there_is_a_device(
    artifact, checkpoint, inf2, tmp_path
):
    inf2.fail("70")  # whatever is compiled now fails

    output = tmp_path / "out"
    neuronkit.compile(checkpoint, output, task=TASK, backend="neuron", target="inf2", batch_size=2, sequence_length=16)
    validation = manifests.read(output).validation
    assert validation.status == "passed"
    assert validation.max_abs_diff < 1e-5
    assert len(validation.checks) == 2


def test_sessions_go_to_the_next_core_or_the_one_asked_for(artifact, inf2):
    sessions = [neuronkit.load(artifact).session for _ in range(2)]
    assert {session.backend.placement.cores for session in sessions} == {(0,), (1,)}

    assert neuronkit.load(artifact, placement="1").session.backend.placement.cores == (1,)
    with pytest.raises(OptionError, match="there is no core 7; this process sees 2"):
        neuronkit.load(artifact, placement="7")


def test_weights_apart_serve_a_sibling_without_compiling(checkpoint, inf2, tmp_path):
    given = {"task": TASK, "backend": "neuron", "batch_size": 2, "sequence_length": 8, "inline_weights": False}
    neuronkit.compile(checkpoint, tmp_path / "one", **given)
    sibling = make_tide(tmp_path / "sibling", seed=9)
    inf2.fail("70")
    neuronkit.compile(sibling, tmp_path / "two", **given)

    readings = torch.randint(0, 31, (2, 8), generator=torch.Generator().manual_seed(0))
    for artifact_path, source in ((tmp_path / "one", checkpoint), (tmp_path / "two", sibling)):
        outputs = neuronkit.load(artifact_path)(readings=readings)
        wanted = load_tide(source)(readings, torch.ones_like(readings))
        assert torch.allclose(outputs.scores, wanted["scores"], atol=1e-5)
    assert manifests.read(tmp_path / "two").validation.status == "passed"


def test_jobs_change_how_graphs_are_compiled_and_nothing_else(checkpoint, inf2, tmp_path, monkeypatch):
    """Compiler processes of two graphs at a time, and of one: what is loaded gives the same bits."""
    given = {"task": TASK, "backend": "neuron", "batch_size": 2, "sequence_length": [8, 16]}
    readings = torch.randint(0, 31, (2, 12), generator=torch.Generator().manual_seed(0))
    scores = []
    for jobs in (1, 2):
        monkeypatch.setenv("NEURONKIT_CACHE", str(tmp_path / f"cache-{jobs}"))
        output = tmp_path / f"out-{jobs}"
        neuronkit.compile(checkpoint, output, jobs=jobs, **given)
        (graph,) = manifests.read(output).graphs
        assert [bucket.sizes["sequence"] for bucket in graph.buckets] == [8, 16]
        scores.append(neuronkit.load(output)(readings=readings).scores)
    assert torch.equal(*scores)
