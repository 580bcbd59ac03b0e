"""Artifacts that optimum-neuron wrote, run on the stand-in. Nothing here was measured, and no file is optimum's own."""

from __future__ import annotations

import json
import shlex
import shutil
from types import SimpleNamespace

import pytest
import torch

import neuronkit
from neuronkit.artifact.optimum import EXPORTER
from neuronkit.artifact.reader import open_artifact
from neuronkit.backends.neuron import backend
from neuronkit.cli import main
from neuronkit.errors import (
    ArtifactCorruptError,
    ArtifactIncompatibleError,
    ArtifactMismatchError,
    ArtifactNotFoundError,
    ArtifactUntrustedError,
    InputError,
)
from neuronkit.plugins import BACKENDS, registry_of
from tests.plugins.encoders import eager_model, example, tiny_encoder
from tests.standin.simulation import Simulation

SECTION = {
    "auto_cast": None,
    "auto_cast_type": None,
    "compiler_type": "neuronx-cc",
    "compiler_version": "2.21.18209.0+043b1bf7",
    "dynamic_batch_size": False,
    "float_dtype": "fp32",
    "inline_weights_to_neff": True,
    "input_names": None,
    "int_dtype": "int64",
    "optlevel": "2",
    "output_attentions": False,
    "output_hidden_states": False,
    "output_names": None,
    "static_batch_size": 2,
    "static_sequence_length": 16,
    "tensor_parallel_size": 1,
}
"""What releases of 2025 write for the traced path; those of 2023 fill in the names and know neither dtype."""
ROWS, LENGTH = 2, 16


@pytest.fixture(scope="module", autouse=True)
def registered():
    """The backend, as its entry point would bring it."""
    with registry_of(BACKENDS).temporary(backend, "neuron"):
        yield


class _Positional(torch.nn.Module):
    """Calls a model as optimum's trace does: its inputs by position, its outputs as a dict without names of ours."""

    def __init__(self, model, names) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, *tensors):
        return dict(self.model(**dict(zip(self.names, tensors, strict=True))))


def write(path, architecture: str, task: str, names, *, inline: bool = True, section=None, axes=(ROWS, LENGTH)):
    """Make a checkpoint and put what optimum-neuron leaves of it into a directory; returns the eager model."""
    checkpoint = tiny_encoder(path.parent / f"{path.name}-checkpoint", architecture, task)
    eager = eager_model(checkpoint, task)
    shutil.copytree(checkpoint, path, ignore=lambda _, files: [name for name in files if name.endswith(".safetensors")])
    config = json.loads((path / "config.json").read_text())
    config["neuron"] = {**SECTION, "model_type": architecture, "task": task, **(section or {})}
    config["neuron"]["inline_weights_to_neff"] = inline
    (path / "config.json").write_text(json.dumps(config))
    import torch_neuronx

    examples = tuple(torch.ones(axes, dtype=torch.int64) for _ in names)
    traced = torch_neuronx.trace(
        _Positional(eager, names).eval(),
        examples,
        compiler_args="--target inf2 --auto-cast none",
        cpu_backend=True,
        inline_weights_to_neff=inline,
    )
    torch.jit.save(traced, str(path / "model.neuron"))
    return eager


BERT = ("input_ids", "attention_mask", "token_type_ids")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A question-answering BERT and what it is eagerly."""
    path = tmp_path_factory.mktemp("optimum") / "qa"
    with pytest.MonkeyPatch.context() as patch:
        Simulation(patch, tmp_path_factory.mktemp("machines"))
        eager = write(path, "bert", "question-answering", BERT)
    return path, eager


@pytest.fixture
def artifact(made, tmp_path):
    """A copy to change."""
    return shutil.copytree(made[0], tmp_path / "artifact")


def change(artifact, remove=(), beside=None, **section):
    """Edit the neuron section, and what is beside it."""
    config = json.loads((artifact / "config.json").read_text())
    config["neuron"] = {name: value for name, value in {**config["neuron"], **section}.items() if name not in remove}
    config = {name: value for name, value in {**config, **(beside or {})}.items() if value is not None}
    (artifact / "config.json").write_text(json.dumps(config))


def same(outputs, expected) -> bool:
    return all(torch.allclose(outputs[name], expected[name], atol=1e-5) for name in expected)


def test_it_loads_through_the_plugin_and_equals_eager(made, inf2, capsys):
    path, eager = made
    inputs = example("bert", "question-answering", 3, 11, padding="right")  # padded, and split over two calls

    for model in (neuronkit.load(path), neuronkit.NeuronModelForQuestionAnswering.from_pretrained(path)):
        assert isinstance(model, neuronkit.NeuronModelForQuestionAnswering)
        outputs = model(**inputs)
        with torch.no_grad():
            assert same(outputs, eager(**inputs))
    assert type(outputs).__name__ == "QuestionAnsweringModelOutput"
    assert model.get_input_static_shapes() == {"batch_size": 2, "sequence_length": 16}
    assert model.config.model_type == "bert"
    assert "compiled with neuronx-cc 2.21.18209.0+043b1bf7, and 2.26" in capsys.readouterr().err
    answer = neuronkit.pipeline(model)(question="who", context="the old king")
    assert answer["answer"]
    with pytest.raises(InputError, match="17 along 'sequence', and the largest bucket has 16"):
        model(**example("bert", "question-answering", 1, 17))


@pytest.mark.parametrize(
    ("architecture", "task", "names", "section", "outputs"),
    [
        ("roberta", "feature-extraction", BERT[:2], {}, ["last_hidden_state", "pooler_output"]),
        ("distilbert", "feature-extraction", BERT[:2], {"inline": False}, ["last_hidden_state"]),
        ("bert", "multiple-choice", BERT, {"static_num_choices": 3}, ["logits"]),
        ("mpnet", "token-classification", BERT[:2], {"input_names": list(BERT[:2])}, ["logits"]),
        ("bert", "sentence-similarity", BERT[:2], {"model_type": "transformer", "task": "feature-extraction"}, None),
    ],
)
def test_inputs_and_outputs_follow_from_architecture_and_task(
    architecture, task, names, section, outputs, inf2, tmp_path
):
    inline = section.pop("inline", True)
    axes = (ROWS, 3, LENGTH) if task == "multiple-choice" else (ROWS, LENGTH)
    eager = write(tmp_path / "made", architecture, task, names, inline=inline, section=section, axes=axes)

    model = neuronkit.load(tmp_path / "made")
    (graph,) = model.session.graphs.values()
    assert [input.name for input in graph.inputs] == list(names)
    inputs = {name: tensor for name, tensor in example(architecture, task, 2, 9).items() if name in names}
    found = model(**inputs)
    assert list(found) == (outputs or ["token_embeddings", "sentence_embedding"])
    inputs.setdefault("attention_mask", torch.ones_like(inputs["input_ids"]))
    with torch.no_grad():
        assert same(found, eager(**inputs))


def test_the_command_that_compiles_it_again_spares_it(made):
    """There is no other copy of it, nor anything that could be verified of the next."""
    words = shlex.split(open_artifact(made[0]).manifest.rebuild)
    assert words[:2] == ["neuronkit", "compile"]
    assert words[-1] == "OUTPUT"
    assert "--force" not in words
    assert str(made[0]) not in words


def test_the_class_of_another_task_refuses_it(made, inf2):
    with pytest.raises(ArtifactMismatchError, match="was compiled for question-answering, and NeuronModelForMaskedLM"):
        neuronkit.NeuronModelForMaskedLM.from_pretrained(made[0])


def test_without_a_device_it_is_refused_with_what_to_do(made, machine):
    with pytest.raises(
        ArtifactIncompatibleError, match=r"(?s)there is no Neuron device.*\nTry: a machine that can run it"
    ):
        neuronkit.load(made[0])


def test_a_directory_is_trusted_and_the_hub_is_not(made, inf2, monkeypatch):
    with pytest.raises(ArtifactUntrustedError, match="trust_artifact=True"):
        neuronkit.load("org/bert-neuron")
    monkeypatch.setattr("neuronkit.export.hub.download", lambda *_, **__: made[0])
    assert neuronkit.load("org/bert-neuron", trust_artifact=True).session.artifact.exporter == EXPORTER


def test_it_is_recognised_by_content(made, artifact, inf2):
    (artifact / "model.neuron").rename(artifact / "anything.neuron")
    assert neuronkit.load(artifact).session.artifact.exporter == EXPORTER

    change(artifact, neuronkit="0.1.0")  # ours, its manifest lost
    with pytest.raises(ArtifactNotFoundError, match=r"there is no neuronkit\.json"):
        neuronkit.load(artifact)


def test_a_copy_stays_what_it_is_and_can_be_uploaded(made, inf2, tmp_path, monkeypatch):
    sent = []

    class Hub:
        def __init__(self, **_):
            pass

        def create_repo(self, name, **_):
            return SimpleNamespace(repo_id=name)

        def upload_folder(self, folder_path, **_):
            sent.append(folder_path)
            return SimpleNamespace(commit_url="address")

    neuronkit.load(made[0]).save_pretrained(tmp_path / "copy")
    copy = neuronkit.load(tmp_path / "copy")
    assert copy.session.artifact.exporter == EXPORTER
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    assert copy.push_to_hub(tmp_path / "copy", "me/copy") == "address"
    assert sent == [tmp_path / "copy"]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"remove": ["static_sequence_length", "compiler_version"]}, "lacks compiler_version, static_sequence_length"),
        ({"remove": ["task"], "beside": {"architectures": ["Unknown"]}}, "lacks task, and nothing beside it tells"),
        ({"beside": {"model_type": None}}, r"lacks model_type \(beside the section\)"),
    ],
)
def test_what_the_section_lacks_is_named(artifact, edit, message):
    change(artifact, **edit)
    with pytest.raises(ArtifactCorruptError, match=message):
        open_artifact(artifact)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"task": "image-classification"},
            "compiled for image-classification; neuronkit loads feature-extraction, fill",
        ),
        ({"compiler_type": "neuron-cc"}, "compiled with neuron-cc, for Inferentia1"),
        ({"tensor_parallel_size": 2}, "split over 2 cores"),
        ({"output_hidden_states": True}, "compiled with output_hidden_states"),
        ({"input_names": ["pixel_values"]}, "takes the inputs pixel_values"),
        ({"output_names": ["logits"]}, "returns logits, which no plugin reads"),
        ({"int_dtype": "int8"}, "takes integers of type int8"),
    ],
)
def test_what_cannot_be_loaded_is_refused(artifact, section, message):
    change(artifact, **section)
    with pytest.raises(ArtifactMismatchError, match=rf"(?s){message}.*Try: neuronkit compile --model"):
        open_artifact(artifact)


def test_a_missing_task_is_told_by_the_head(artifact):
    change(artifact, remove=["task"])
    assert open_artifact(artifact).manifest.key == "bert.question-answering"


def test_components_in_folders_are_refused(made, tmp_path):
    pipeline = tmp_path / "pipeline"
    for name in ("unet", "vae_decoder"):
        shutil.copytree(made[0], pipeline / name)
    (pipeline / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))

    with pytest.raises(ArtifactMismatchError, match=r"several components \(unet, vae_decoder\)"):
        neuronkit.load(pipeline)


def test_damaged_and_missing_files_are_named(artifact):
    (artifact / "model.neuron").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ArtifactCorruptError, match="not a TorchScript file"):
        open_artifact(artifact)
    shutil.copyfile(artifact / "model.neuron", artifact / "other.neuron")
    with pytest.raises(ArtifactCorruptError, match=r"found: model\.neuron, other\.neuron"):
        open_artifact(artifact)
    for file in artifact.glob("*.neuron"):
        file.unlink()
    with pytest.raises(ArtifactCorruptError, match="found: none"):
        open_artifact(artifact)


def test_other_versions_and_chips_are_refused(artifact, inf2):
    change(artifact, compiler_version="2.99.1.0")
    with pytest.raises(ArtifactIncompatibleError, match=r"neuronx-cc 2\.99\.1\.0, and this is the older 2\.26"):
        neuronkit.load(artifact)
    change(artifact, compiler_version="unknown")
    with pytest.raises(ArtifactIncompatibleError, match="names neuronx-cc unknown, which is no version"):
        neuronkit.load(artifact)
    change(artifact, compiler_version="2.20.0.0", instance_type="trn2")
    with pytest.raises(ArtifactIncompatibleError, match="compiled for trn2 cores, and this machine has trn1"):
        neuronkit.load(artifact)


def test_a_graph_of_other_inputs_or_outputs_is_refused(artifact, inf2):
    change(artifact, output_names=["start_logits"])
    with pytest.raises(
        ArtifactCorruptError, match="returns 2 tensors, and its configuration stands for 1: start_logits"
    ):
        neuronkit.load(artifact)(**example("bert", "question-answering", 1, 4))
    change(artifact, input_names=list(BERT[:2]))
    with pytest.raises(ArtifactCorruptError, match="takes 3 inputs, and its configuration stands for 2: input_ids"):
        neuronkit.load(artifact)


def test_inspect_shows_it(made, capsys):
    assert main(["inspect", str(made[0])]) == 0
    shown = capsys.readouterr().out
    assert "optimum-neuron  neuronx-cc 2.21.18209.0+043b1bf7" in shown
    assert "bert.question-answering" in shown
    assert "not run (compiled by optimum-neuron)" in shown
    assert "optimum-neuron records no digests" in shown

    assert main(["inspect", str(made[0]), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["exporter"], found["shapes"]) == (EXPORTER, {"batch_size": [2], "sequence_length": [16]})
    assert main(["inspect", str(made[0]), "--verify"]) == 1
    assert "records no digests: nothing can be compared" in capsys.readouterr().err
