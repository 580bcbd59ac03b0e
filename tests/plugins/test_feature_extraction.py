"""Feature extraction: the tokens' vectors, against the model run by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from neuronkit.errors import InputError, SourceError
from neuronkit_plugins.text.feature_extraction import plugin
from tests.plugins.checkpoints import tiny_bert, tiny_tokenizer
from tests.plugins.harness import EagerPipeline

TEXTS = ["The moon runs over the mountain.", "Snow", "a big bird sings far far under the old red stone"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny BERT with a pooler."""
    return tiny_bert(tmp_path_factory.mktemp("feature-extraction"), head="feature-extraction")


@pytest.fixture(scope="module")
def pipe(checkpoint):
    """The plugin around the eager model, compiled for 32 tokens."""
    return EagerPipeline(plugin, checkpoint, sequence=32)


@pytest.fixture(scope="module")
def reference(checkpoint):
    """A function from a text to its hidden states, one text at a time."""
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(checkpoint).eval(), AutoTokenizer.from_pretrained(checkpoint)

    @torch.no_grad()
    def run(text):
        return model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].numpy()

    return run


def test_text_gives_an_array(pipe, reference):
    """One text gives the vectors of its tokens."""
    states = pipe(text=TEXTS[0])
    assert states.dtype == np.float32
    np.testing.assert_allclose(states, reference(TEXTS[0]), atol=1e-5)


def test_list_gives_a_list_without_padding(pipe, reference):
    """A list keeps its order, and padding is no part of the result."""
    states = pipe(text=TEXTS)
    assert isinstance(states, list)
    for found, text in zip(states, TEXTS, strict=True):
        np.testing.assert_allclose(found, reference(text), atol=1e-5)
    assert pipe(text=[]) == []
    assert isinstance(pipe(text=TEXTS[:1]), list)


def test_longer_text_needs_truncation(pipe, reference):
    """A text that does not fit is refused by both lengths, or cut if the caller says so."""
    text = "snow " * 40
    with pytest.raises(InputError) as error:
        pipe(text=text)
    assert str(error.value) == (
        "text has 42 tokens and the model was compiled for 32.\n"
        "Try: truncation=True (--truncation), or compile with a larger sequence_length."
    )
    with pytest.raises(InputError, match=r"text 1 has 42 tokens"):
        pipe(text=["snow", text])
    np.testing.assert_allclose(pipe(text=text, truncation=True), reference("snow " * 30), atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "Feature extraction needs text=..."),
        ({"texts": "snow"}, "texts: unknown input. Did you mean 'text'?"),
        ({"text": 1}, "text must be a text or a list of texts (got int)."),
    ],
)
def test_wrong_input(pipe, inputs, message):
    """Wrong names and kinds are refused."""
    with pytest.raises(InputError) as error:
        pipe(**inputs)
    assert message in str(error.value)


def test_pooler_is_an_output_where_the_checkpoint_has_one(pipe, tmp_path):
    """A checkpoint that was saved without a pooler compiles, without the output that would be random."""
    assert [(output.name, output.axes) for output in pipe.shell.graph.outputs] == [
        ("last_hidden_state", ("batch", "sequence", 16)),
        ("pooler_output", ("batch", 16)),
    ]
    without = tiny_bert(tmp_path / "without", head="feature-extraction", add_pooling_layer=False)
    assert [output.name for output in EagerPipeline(plugin, without).shell.graph.outputs] == ["last_hidden_state"]
    with_head = tiny_bert(tmp_path / "with-head", head="question-answering")
    assert [output.name for output in EagerPipeline(plugin, with_head).shell.graph.outputs] == ["last_hidden_state"]


def test_missing_weights_are_refused(checkpoint, tmp_path):
    """Only the pooler may be missing."""
    from safetensors.torch import load_file, save_file

    weights = load_file(checkpoint / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    for file in checkpoint.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SourceError, match=r"no weights for BertModel: encoder\.layer\.1\.output\.dense\.weight"):
        EagerPipeline(plugin, tmp_path)


def test_token_types_only_where_the_model_takes_them(tmp_path):
    """DistilBERT has no token types, so its graph has no such input; nothing else differs."""
    import transformers

    tokenizer = tiny_tokenizer()
    config = transformers.DistilBertConfig(
        vocab_size=len(tokenizer), dim=16, n_layers=1, n_heads=2, hidden_dim=24, max_position_embeddings=64
    )
    transformers.DistilBertModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "distilbert"
    graph = EagerPipeline(plugin, tmp_path).shell.graph
    assert [input.name for input in graph.inputs] == ["input_ids", "attention_mask"]
    assert [output.name for output in graph.outputs] == ["last_hidden_state"]
