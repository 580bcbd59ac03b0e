"""
The built-in plugins on a simulated inf2.xlarge: from a tiny checkpoint to results, which equal eager's.

Simulated: it shows that graphs, placement, state and pipelines keep to the documented contract, and nothing about speed.
One architecture a task compiles in this process; ``make standin`` adds the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import neuronkit
from neuronkit.artifact import manifest as manifests
from neuronkit.backends.base import replicas
from neuronkit.backends.neuron import job as jobs
from neuronkit.backends.neuron.flags import RECIPES
from neuronkit.backends.neuron.job import Job
from neuronkit.backends.neuron.worker import compile_job
from neuronkit.diagnosis.check import prepare
from neuronkit.errors import InputError
from tests.generation.checkpoints import tiny_decoder
from tests.image import checkpoints, pairs
from tests.plugins.encoders import AUTO_CLASSES, PAIRS, eager_model, example, tiny_encoder
from tests.standin.simulation import Simulation

ENCODERS = dict(
    zip(
        sorted(AUTO_CLASSES),
        ("distilbert", "camembert", "bert", "electra", "mpnet", "roberta", "deberta-v2"),
        strict=True,
    )
)
"""An architecture for each task."""
OTHERS = [pair for pair in PAIRS if ENCODERS[pair[1]] != pair[0]]


@pytest.fixture(scope="module", autouse=True)
def simulated(tmp_path_factory) -> Iterator[Simulation]:
    """An inf2.xlarge with two cores, and a compiler in this process, which saves the start of one for every graph."""

    def run_here(job: Job, directory: Path, **_) -> Path:
        jobs.write_job(job, directory)
        compile_job(jobs.read_job(directory), directory)
        return directory / jobs.MODEL

    with pytest.MonkeyPatch.context() as patch:
        simulation = Simulation(patch, tmp_path_factory.mktemp("machines"))
        simulation.start("inf2.xlarge")
        patch.setattr(jobs, "run_job", run_here)
        yield simulation
        simulation.restart_process()


@pytest.fixture(autouse=True)
def free_cores(simulated):
    """Every test has a process's memory of cores to itself."""
    simulated.restart_process()


def check_encoder(architecture: str, task: str, directory: Path) -> None:
    """Compile for two rows of 16 tokens, and compare ragged calls with eager."""
    path = tiny_encoder(directory / "checkpoint", architecture, task)
    shapes = {"num_choices": 3} if task == "multiple-choice" else {}
    neuronkit.compile(path, directory / "out", task=task, backend="neuron", batch_size=2, sequence_length=16, **shapes)
    manifest = manifests.read(directory / "out")
    assert manifest.validation.status == "passed"
    assert manifest.fingerprint["torch_neuronx"].endswith("+simulated")
    model, eager = neuronkit.load(directory / "out"), eager_model(path, task)
    for rows, length in ((1, 16), (3, 11)):
        inputs = example(architecture, task, rows, length, padding="right")
        with torch.no_grad():
            expected = eager(**inputs)
        found = model(**inputs)
        for name in found:
            assert torch.allclose(found[name], expected[name], atol=1e-4), name


@pytest.mark.parametrize(("task", "architecture"), ENCODERS.items())
def test_an_encoder_a_task(architecture, task, tmp_path):
    check_encoder(architecture, task, tmp_path)


@pytest.mark.standin
@pytest.mark.parametrize(("architecture", "task"), OTHERS)
def test_every_other_encoder(architecture, task, tmp_path):
    check_encoder(architecture, task, tmp_path)


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    """A tiny GPT-2 and its artifact: two rows, a cache of 32 tokens, two lengths of prefill."""
    directory = tmp_path_factory.mktemp("gpt2")
    path = tiny_decoder(directory / "checkpoint", "gpt2")
    neuronkit.compile(
        path,
        directory / "out",
        task="text-generation",
        backend="neuron",
        batch_size=2,
        sequence_length=[8, 32],
    )
    return path, directory / "out"


def generated(path: Path, prompt: torch.Tensor, mask: torch.Tensor, tokens: int) -> torch.Tensor:
    """What transformers says."""
    from transformers import AutoModelForCausalLM

    eager = AutoModelForCausalLM.from_pretrained(path)
    return eager.generate(prompt, attention_mask=mask, max_new_tokens=tokens, do_sample=False, pad_token_id=0)


def test_a_decoder_keeps_its_cache_on_the_device(gpt2):
    path, artifact = gpt2
    model = neuronkit.load(artifact)
    generator = torch.Generator().manual_seed(0)
    # The second is shorter than the first, and the third longer: nothing of an earlier call may be seen.
    for length in (12, 3, 20):
        prompt = torch.randint(5, 90, (2, length), generator=generator)
        mask = torch.ones_like(prompt)
        mask[1, : length // 3] = 0
        found = model.generate(prompt, attention_mask=mask, max_new_tokens=8, do_sample=False, pad_token_id=0)
        assert torch.equal(found, generated(path, prompt, mask, 8))


def test_one_graph_of_a_decoder_holds_the_cache(gpt2):
    """Two lengths were asked for; the chunk of 32 tokens is no longer than the cache."""
    manifest = manifests.read(gpt2[1])
    assert manifest.validation.status == "passed"
    (graph,) = manifest.graphs
    assert [bucket.sizes for bucket in graph.buckets] == [{"batch": 2, "sequence": 32, "cache": 32}]
    assert any(input.state for input in graph.inputs)


@pytest.mark.parametrize("chunk", [1, 5])
def test_prompts_go_through_in_chunks(gpt2, tmp_path, chunk):
    """Of five: shorter than one, exactly one, and several with a rest."""
    path, _ = gpt2
    neuronkit.compile(
        path, tmp_path / "out", task="text-generation", backend="neuron", sequence_length=32, prefill_chunk=chunk
    )
    (graph,) = manifests.read(tmp_path / "out").graphs
    assert [bucket.sizes["sequence"] for bucket in graph.buckets] == [chunk]
    model = neuronkit.load(tmp_path / "out")
    for length in (3, 5, 10, 17):
        prompt = torch.randint(5, 90, (1, length), generator=torch.Generator().manual_seed(length))
        found = model.generate(prompt, max_new_tokens=6, do_sample=False, pad_token_id=0)
        assert torch.equal(found, generated(path, prompt, torch.ones_like(prompt), 6))


def test_a_decoder_s_weights_may_be_apart(gpt2, tmp_path):
    path, _ = gpt2
    options = {"sequence_length": 32, "inline_weights": False}
    neuronkit.compile(path, tmp_path / "out", task="text-generation", backend="neuron", **options)
    assert manifests.read(tmp_path / "out").validation.status == "passed"
    prompt = torch.tensor([[5, 9, 17, 3]])
    found = neuronkit.load(tmp_path / "out").generate(prompt, max_new_tokens=6, do_sample=False, pad_token_id=0)
    assert torch.equal(found, generated(path, prompt, torch.ones_like(prompt), 6))


def test_beams_are_refused(gpt2):
    model = neuronkit.load(gpt2[1])
    with pytest.raises(
        InputError, match="Beams copy rows of the cache, and the backend 'neuron' keeps it on the device"
    ):
        model.generate(torch.tensor([[5, 6]]), max_new_tokens=2, num_beams=2, do_sample=False, pad_token_id=0)


PIPELINES = {
    "StableDiffusionPipeline": ("stable_diffusion", checkpoints.tiny_stable_diffusion),
    "StableDiffusionXLPipeline": ("stable_diffusion_xl", checkpoints.tiny_stable_diffusion_xl),
    "LatentConsistencyModelPipeline": (
        "lcm",
        lambda path: checkpoints.tiny_stable_diffusion(path, class_name="LatentConsistencyModelPipeline"),
    ),
    "AmusedPipeline": ("amused", checkpoints.tiny_amused),
}


@pytest.fixture(scope="module")
def artifact_of(tmp_path_factory):
    """Return a checkpoint and its artifact by the name of a pipeline and its options, made once."""
    made = {}

    def make(name: str, **options: str) -> tuple[Path, Path]:
        key = (name, *options.items())
        if key not in made:
            directory = tmp_path_factory.mktemp("image")
            path = PIPELINES[name][1](directory / "checkpoint")
            output = directory / "out"
            neuronkit.compile(path, output, task="text-to-image", backend="neuron", height=32, width=32, **options)
            made[key] = path, output
        return made[key]

    return make


def test_every_recipe_is_of_a_kind_that_a_plugin_declares(tmp_path):
    made = {
        "feature-extraction": tiny_encoder(tmp_path / "bert", "bert", "feature-extraction"),
        "text-generation": tiny_decoder(tmp_path / "gpt2", "gpt2"),
    }
    declared = {graph.kind for task, path in made.items() for graph, _, _ in prepare(path, task=task).works}
    for name, (_, make) in PIPELINES.items():
        works = prepare(make(tmp_path / name), task="text-to-image", given={"height": 32, "width": 32}).works
        kinds = {graph.name: graph.kind for graph, _, _ in works}
        assert {kind for graph, kind in kinds.items() if graph.startswith("text_encoder")} == {"text_encoder"}
        declared |= set(kinds.values())

    assert declared == set(RECIPES) - {None}


@pytest.mark.parametrize(
    "name",
    [
        "AmusedPipeline",
        pytest.param("StableDiffusionPipeline", marks=pytest.mark.standin),
        pytest.param("StableDiffusionXLPipeline", marks=pytest.mark.standin),
        pytest.param("LatentConsistencyModelPipeline", marks=pytest.mark.standin),
    ],
)
def test_a_pipeline_s_images_equal_eager_s(name, artifact_of):
    path, artifact = artifact_of(name)
    assert manifests.read(artifact).validation.status == "passed"
    compiled, eager = pairs.load_pair(name, path, artifact)
    assert pairs.difference(compiled, eager, height=32, width=32) < pairs.TOLERANCE


@pytest.mark.parametrize(
    ("name", "component"),
    [
        ("AmusedPipeline", "transformer"),
        pytest.param("StableDiffusionPipeline", "unet", marks=pytest.mark.standin),
    ],
)
def test_both_halves_of_guidance_run_on_a_core_each(name, component, artifact_of):
    """The graph takes one row; guidance needs two, which are one call over two cores."""
    path, artifact = artifact_of(name, data_parallel_mode=component)
    compiled, eager = pairs.load_pair(name, path, artifact)
    found = compiled.session.graphs
    assert {graph for graph in found if replicas(found[graph].runner(found[graph].buckets[0])) == 2} == {component}
    assert pairs.difference(compiled, eager, height=32, width=32, guidance_scale=6.0) < pairs.TOLERANCE
