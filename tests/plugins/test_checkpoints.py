"""Checkpoints that cannot be loaded: one error that names the cause and the cure, whatever transformers ends with."""

from __future__ import annotations

import json
import pickle
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import neuronkit
from neuronkit.errors import SourceError
from neuronkit_registry import UnknownPluginError
from tests.generation.checkpoints import tiny_decoder
from tests.plugins.checkpoints import tiny_bert

WEIGHT = "encoder.layer.0.output.dense.weight"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A sound checkpoint."""
    return tiny_bert(tmp_path_factory.mktemp("original"), head="feature-extraction")


@pytest.fixture
def checkpoint(original, tmp_path):
    """A copy to be damaged."""
    return shutil.copytree(original, tmp_path / "checkpoint")


def settings(directory, **changed) -> None:
    """Change a checkpoint's configuration."""
    file = directory / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))


def refusal(directory, task: str = "feature-extraction") -> str:
    """Compile a directory, and return what is said, without the directory."""
    with pytest.raises(SourceError) as caught:
        neuronkit.compile(directory, directory.parent / "out", task=task, sequence_length=16, optlevel=1)
    assert not (directory.parent / "out").exists()
    return str(caught.value).replace(str(directory), "DIR")


NO_WEIGHTS = (
    "Try: a checkpoint with its weights: model.safetensors, or all files that model.safetensors.index.json names."
)


def test_no_weights(checkpoint):
    """A configuration alone."""
    (checkpoint / "model.safetensors").unlink()
    assert re.fullmatch(
        rf"DIR cannot be loaded as AutoModel: .*no file named model.safetensors.*\n{NO_WEIGHTS}", refusal(checkpoint)
    )


def test_a_shard_that_is_not_there(checkpoint):
    """The index names a file that was not copied."""
    import transformers

    model = transformers.AutoModel.from_pretrained(checkpoint)
    (checkpoint / "model.safetensors").unlink()
    model.save_pretrained(checkpoint, max_shard_size="10KB")
    missing = sorted(checkpoint.glob("model-*.safetensors"))[1]
    missing.unlink()
    said = refusal(checkpoint)
    assert f"DIR/{missing.name}" in said
    assert said.endswith(NO_WEIGHTS)


@pytest.mark.parametrize("kept", [0, 60, 4000], ids=["empty", "a pointer's length", "half"])
def test_truncated_weights(checkpoint, kept):
    """The file is named; safetensors does not."""
    file = checkpoint / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    assert re.fullmatch(
        r"DIR cannot be loaded as AutoModel: DIR/model.safetensors is truncated, or the pointer of a file that was not "
        r"downloaded \(Error while deserializing header: .*\)\.\nTry: download or copy it again\.",
        refusal(checkpoint),
    )


@pytest.mark.parametrize("task", ["feature-extraction", "sentence-similarity"])
def test_a_weight_of_another_shape(checkpoint, task):
    """The first of them is named with both shapes."""
    tensors = load_file(checkpoint / "model.safetensors")
    tensors[WEIGHT] = torch.zeros(3, 3)
    save_file(tensors, checkpoint / "model.safetensors", metadata={"format": "pt"})
    assert refusal(checkpoint, task) == (
        f"DIR has weights of another shape than BertModel needs: {WEIGHT} is [3, 3], and its configuration makes it [16, 24].\n"
        "Try: the config.json that the weights were saved with."
    )


def test_pickles_of_other_objects(checkpoint):
    """They are not unpickled, and nobody is told to trust them."""
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "pytorch_model.bin").write_bytes(pickle.dumps({"path": checkpoint}, protocol=2))
    assert refusal(checkpoint) == (
        "DIR cannot be loaded as AutoModel: its pickled weights hold other objects than tensors.\n"
        "Try: a checkpoint with model.safetensors."
    )


def test_a_configuration_that_contradicts_itself(checkpoint):
    """What transformers says is passed on."""
    settings(checkpoint, num_attention_heads=3)
    assert refusal(checkpoint) == (
        "DIR cannot be loaded as AutoModel: The hidden size (16) is not a multiple of the number of attention heads (3).\n"
        "Try: the configuration and the weights as they were saved; download or copy the checkpoint again."
    )


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", None])
def test_quantized_decoders(tmp_path, method):
    """Nobody is told to install what the compile could not use."""
    directory = tmp_path / "checkpoint"
    tiny_decoder(directory, "llama")
    settings(directory, quantization_config={"quant_method": method, "bits": 4})
    assert refusal(directory, "text-generation") == (
        f"DIR is quantized{f' with {method}' if method else ''}, and graphs are made of weights as they were before.\n"
        "Try: the checkpoint that it was quantized from; for text-generation, --weights int8 quantizes that one."
    )


@pytest.mark.parametrize("with_config", [False, True])
def test_adapters(checkpoint, with_config):
    """The cure names the base."""
    (checkpoint / "model.safetensors").unlink()
    if not with_config:
        (checkpoint / "config.json").unlink()
    adapter = {"peft_type": "LORA", "base_model_name_or_path": "/nowhere/base"}
    (checkpoint / "adapter_config.json").write_text(json.dumps(adapter))
    what, _, cure = refusal(checkpoint).partition("\n")
    if not with_config:
        assert what == "DIR holds an adapter, and no checkpoint."
    assert cure == (
        "Try: merge the adapter into /nowhere/base first: "
        "PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(directory)."
    )


@pytest.mark.parametrize("component", ["", "unet"])
def test_what_optimum_neuron_compiled(checkpoint, component):
    """It has no weights; where they are may be recorded."""
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / component).mkdir(exist_ok=True)
    settings(checkpoint, _name_or_path="org/model")
    shutil.copy(checkpoint / "config.json", checkpoint / component / "config.json") if component else None
    settings(checkpoint / component, neuron={"compiler_type": "neuronx-cc"})
    assert refusal(checkpoint) == (
        "DIR is an artifact that optimum-neuron compiled, and has no weights that could be compiled again.\n"
        "Try: the checkpoint that it was made of (org/model)."
    )


def test_a_generation_config_of_wrong_values(tmp_path):
    """transformers compares its numbers while it loads the model."""
    checkpoint = tiny_decoder(tmp_path / "checkpoint")
    (checkpoint / "generation_config.json").write_text(json.dumps({"max_new_tokens": "5"}))
    assert refusal(checkpoint, "text-generation").startswith("DIR cannot be loaded as AutoModelForCausalLM: '")


def test_weights_that_lead_nowhere(checkpoint):
    """A link whose target was removed: the file is there for transformers, and cannot be opened."""
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "model.safetensors").symlink_to(checkpoint / "gone")
    cause = "DIR cannot be loaded as AutoModel: DIR/model.safetensors cannot be read: No such file or directory ("
    assert refusal(checkpoint).startswith(cause)


def test_weights_that_are_a_directory(checkpoint):
    """As a copy that went wrong leaves it."""
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "model.safetensors").mkdir()
    said = refusal(checkpoint)
    assert said.startswith("DIR cannot be loaded as AutoModel: DIR/model.safetensors cannot be read: Is a directory (")


@pytest.mark.parametrize("contents", [b"{", b"\xff\xfe", b'{"version": "1.0"}'])
def test_damaged_tokenizers(checkpoint, contents):
    """It is read before the weights are."""
    (checkpoint / "tokenizer.json").write_bytes(contents)
    said = refusal(checkpoint)
    assert said.startswith("The tokenizer of DIR cannot be loaded: ")
    assert said.endswith(
        "\nTry: the files of the tokenizer and config.json as they were saved; download or copy them again."
    )


@pytest.mark.parametrize(
    ("architecture", "task", "fits"),
    [
        ("nystromformer", "feature-extraction", True),
        ("clip", "feature-extraction", False),
        ("layoutlm", "token-classification", False),
    ],
)
def test_whose_plugin_may_serve_another_encoder(tmp_path, architecture, task, fits):
    """One that takes texts and nothing else; images and the places of words would be left out."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": architecture}))
    with pytest.raises(UnknownPluginError) as raised:
        neuronkit.compile(tmp_path, tmp_path / "out", task=task)
    assert ("takes the inputs of every encoder" in str(raised.value)) is fits
