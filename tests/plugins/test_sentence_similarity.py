"""Sentence similarity, against sentence-transformers itself."""

from __future__ import annotations

import json
import random
import re

import numpy as np
import pytest

import neuronkit
from neuronkit.errors import InputError, SourceError
from neuronkit.export.source import resolve_source
from neuronkit_plugins.text.pooling import LEGACY_MODES, POOLINGS, read_modules
from neuronkit_plugins.text.sentence_similarity import plugin
from tests.plugins.checkpoints import WORDS, tiny_bert, tiny_sentence_transformer
from tests.plugins.harness import EagerPipeline

GENERATOR = random.Random(0)
TEXTS = [" ".join(GENERATOR.choices(WORDS, k=count)) for count in (3, 12, 1, 70, 5, 12, 30)]
TEXTS += ["", "Ünïcode, THE Moon!"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A sentence transformer that pools by the mean and normalizes."""
    return tiny_sentence_transformer(tmp_path_factory.mktemp("sentence-similarity"))


@pytest.fixture(scope="module")
def pipe(checkpoint):
    """The plugin around the eager model, compiled for 64 tokens."""
    return EagerPipeline(plugin, checkpoint)


def reference(path, texts, **kwargs):
    """Embed with sentence-transformers."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(path), device="cpu").encode(texts, show_progress_bar=False, **kwargs)


def edit(file, **fields):
    """Change fields of a JSON file; None removes one."""
    config = json.loads(file.read_text())
    config.update(fields)
    file.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("pooling", [*POOLINGS, ["mean", "cls"], ["lasttoken", "max", "weightedmean"]], ids=str)
def test_pooling_modes(tmp_path, pooling, normalize):
    """Every mode, alone and several side by side, gives what sentence-transformers gives."""
    path = tiny_sentence_transformer(tmp_path, pooling=pooling, normalize=normalize)
    np.testing.assert_allclose(EagerPipeline(plugin, path)(text=TEXTS), reference(path, TEXTS), atol=1e-5)


@pytest.mark.parametrize(
    "modes", [["cls"], ["mean", "max"], ["lasttoken", "weightedmean", "mean_sqrt_len_tokens"]], ids=str
)
def test_older_pooling_configuration(tmp_path, modes):
    """The booleans of older checkpoints mean the same."""
    path = tiny_sentence_transformer(tmp_path)
    flags = {field: mode in modes for field, mode in LEGACY_MODES.items()}
    edit(path / "1_Pooling" / "config.json", pooling_mode=None, **flags)
    np.testing.assert_allclose(EagerPipeline(plugin, path)(text=TEXTS), reference(path, TEXTS), atol=1e-5)


def test_dense(tmp_path):
    """A Dense module runs with its weights and its activation, and changes the number of features."""
    path = tiny_sentence_transformer(tmp_path, dense=7)
    embeddings = EagerPipeline(plugin, path)(text=TEXTS)
    assert embeddings.shape == (len(TEXTS), 7)
    np.testing.assert_allclose(embeddings, reference(path, TEXTS), atol=1e-5)


def test_max_seq_length(tmp_path):
    """Texts are cut where sentence-transformers cuts them, or at the compiled length if that is smaller."""
    path = tiny_sentence_transformer(tmp_path, max_seq_length=12)
    text = " ".join(WORDS[:40])
    np.testing.assert_allclose(EagerPipeline(plugin, path)(text=text), reference(path, text), atol=1e-5)
    compiled_for_6 = EagerPipeline(plugin, path, sequence=6)(text=text)
    np.testing.assert_allclose(compiled_for_6, reference(path, " ".join(WORDS[:4])), atol=1e-5)


def test_do_lower_case(tmp_path):
    """Text is lower-cased where the checkpoint says so and its tokenizer does not."""
    path = tiny_sentence_transformer(tmp_path, do_lower_case=True)
    tokenizer = json.loads((path / "tokenizer.json").read_text())
    tokenizer["normalizer"] = None
    (path / "tokenizer.json").write_text(json.dumps(tokenizer))
    edit(path / "sentence_bert_config.json", do_lower_case=True)
    lowered = EagerPipeline(plugin, path)(text="The MOON")
    edit(path / "sentence_bert_config.json", do_lower_case=False)
    np.testing.assert_allclose(lowered, EagerPipeline(plugin, path)(text="the moon"), atol=1e-6)


def test_default_prompt(tmp_path):
    """The checkpoint's default prompt stands before every text, as in sentence-transformers."""
    path = tiny_sentence_transformer(tmp_path)
    edit(path / "config_sentence_transformers.json", prompts={"query": "who lives near "}, default_prompt_name="query")
    np.testing.assert_allclose(EagerPipeline(plugin, path)(text=TEXTS), reference(path, TEXTS), atol=1e-5)


def test_a_transformer_in_a_folder_of_its_own(tmp_path):
    """Older versions of sentence-transformers saved the first module like every other; the settings at the root stay there."""
    path = tiny_sentence_transformer(tmp_path / "old")
    edit(path / "config_sentence_transformers.json", prompts={"query": "who lives near "}, default_prompt_name="query")
    folder = path / "0_Transformer"
    folder.mkdir()
    for file in [file for file in path.iterdir() if file.is_file()]:
        if file.name not in ("modules.json", "config_sentence_transformers.json", "README.md"):
            file.rename(folder / file.name)
    modules = json.loads((path / "modules.json").read_text())
    modules[0]["path"] = folder.name
    (path / "modules.json").write_text(json.dumps(modules))

    neuronkit.compile(path, tmp_path / "out", optlevel=1, sequence_length=64)
    assert (tmp_path / "out" / "tokenizer.json").is_file()
    assert (tmp_path / "out" / "1_Pooling" / "config.json").is_file()
    embeddings = neuronkit.pipeline(tmp_path / "out")(text=TEXTS)
    np.testing.assert_allclose(embeddings, reference(path, TEXTS), atol=1e-5)


def test_plain_checkpoint_is_mean_pooled(tmp_path):
    """Without modules.json: the mean of the tokens, not normalized."""
    path = tiny_bert(tmp_path / "plain", head="feature-extraction")
    mean = tiny_sentence_transformer(tmp_path / "mean", normalize=False)
    np.testing.assert_allclose(EagerPipeline(plugin, path)(text=TEXTS), reference(mean, TEXTS), atol=1e-5)


def test_shapes(pipe):
    """A text gives a vector, a list a matrix, no text a matrix of no rows; all in float32."""
    assert pipe(text="snow").shape == (16,)
    assert pipe(text=["snow"]).shape == (1, 16)
    assert pipe(text=[]).shape == (0, 16)
    assert pipe(text=TEXTS).dtype == np.float32


def test_batches_are_of_similar_length(pipe):
    """Texts run sorted by length, a batch only as long as its longest; the result keeps the caller's order."""
    pipe.shell.batches.clear()
    embeddings = pipe(text=TEXTS, batch_size=3)
    assert pipe.shell.batches == [(3, 64), (3, 14), (3, 5)]
    np.testing.assert_allclose(embeddings, [pipe(text=text) for text in TEXTS], atol=1e-5)


def test_normalize_option(tmp_path):
    """`normalize` scales what the checkpoint leaves unscaled."""
    path = tiny_sentence_transformer(tmp_path, normalize=False)
    pipe = EagerPipeline(plugin, path)
    expected = reference(path, TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(pipe(text=TEXTS, normalize=True), expected, atol=1e-5)
    assert not np.allclose(np.linalg.norm(pipe(text=TEXTS), axis=1), 1)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "Sentence similarity needs text=..."),
        ({"sentences": "snow"}, "sentences: unknown input. It takes: text, batch_size, normalize, truncate_dim."),
        ({"text": ["snow", 1]}, "text must be a text or a list of texts (it has an item of type int)."),
    ],
)
def test_wrong_input(pipe, inputs, message):
    """Wrong names and kinds are refused."""
    with pytest.raises(InputError) as error:
        pipe(**inputs)
    assert message in str(error.value)


ENCODER = {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"}
MALFORMED = {
    "no list": ({"modules": []}, "it is a dict, not a list."),
    "a name": (["Transformer"], "item 0 is a str, not an object."),
    "no idx": ([{"path": "", "type": "x.Transformer"}], "item 0 has no 'idx'."),
    "no path nor type": ([ENCODER, {"idx": 1}], "item 1 has no 'path' and no 'type'."),
    "idx in words": ([ENCODER | {"idx": "0"}], "item 0 has the idx '0', which is not of type int."),
    "no path given": ([ENCODER | {"path": None}], "item 0 has the path None, which is not of type str."),
}


@pytest.mark.parametrize(("modules", "message"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_modules(tmp_path, modules, message):
    """Both who look for the configuration and who build the modules say which file, what is wrong with it and what to do."""
    file = tmp_path / "modules.json"
    file.write_text(json.dumps(modules))
    expected = (
        f"{file} does not list the modules of a sentence transformer: {message}\n"
        "Try: download the checkpoint again, save it again with SentenceTransformer.save_pretrained, or write its items "
        'like {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}'
    )
    for reader in (resolve_source, read_modules):
        with pytest.raises(SourceError) as error:
            reader(tmp_path)
        assert str(error.value) == expected


def test_files_that_are_no_json(tmp_path):
    """Beside a sound configuration only the plugin reads them."""
    path = tiny_sentence_transformer(tmp_path)
    for file in (path / "1_Pooling" / "config.json", path / "modules.json"):
        file.write_text("{")
        resolve_source(path)
        with pytest.raises(SourceError, match=f"{re.escape(str(file))} is not valid JSON: Expecting property name"):
            read_modules(path)


@pytest.mark.parametrize("name", ["config.json", "1_Pooling/config.json"])
def test_files_that_set_nothing_by_name(tmp_path, name):
    path = tiny_sentence_transformer(tmp_path)
    (path / name).write_text("[1]")
    reader = resolve_source if name == "config.json" else read_modules
    with pytest.raises(SourceError) as error:
        reader(path)
    assert str(error.value) == f"{path / name} holds a list, and not settings by name."


def test_modules_in_any_order(tmp_path):
    """Their numbers count, not their order in the file."""
    path = tiny_sentence_transformer(tmp_path)
    modules = json.loads((path / "modules.json").read_text())
    (path / "modules.json").write_text(json.dumps(modules[::-1]))
    assert [type(module).__name__ for module in read_modules(path).head] == ["Normalize"]


def test_unknown_module_is_refused(tmp_path):
    """A module that is not understood is named, never skipped."""
    path = tiny_sentence_transformer(tmp_path)
    modules = json.loads((path / "modules.json").read_text())
    modules[2]["type"] = "my_package.Whitening"
    (path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(SourceError, match=r"has the module my_package.Whitening in place 2, which cannot be compiled"):
        read_modules(path)


@pytest.mark.parametrize(
    ("folder", "fields", "message"),
    [
        ("1_Pooling", {"pooling_mode": "attention"}, r"pools by 'attention', which is not known\. Known: cls, max"),
        ("1_Pooling", {"include_prompt": False}, r"include_prompt=false"),
        ("2_Dense", {"activation_function": "os.system"}, r"activation function os.system, which is not one"),
        ("2_Dense", {"use_residual": True}, r"use_residual=true"),
        ("2_Dense", {"module_input_name": "token_embeddings"}, r"works on 'token_embeddings' \(module_input_name\)"),
        ("2_Dense", {"out_features": None}, r"The config.json of .*2_Dense gives no number of out_features\."),
        ("2_Dense", {"out_features": 9}, r"The weights of .*2_Dense do not fit its config.json"),
    ],
)
def test_unknown_setting_is_refused(tmp_path, folder, fields, message):
    """So is a setting that would change the embedding."""
    path = tiny_sentence_transformer(tmp_path, dense=7)
    edit(path / folder / "config.json", **fields)
    with pytest.raises(SourceError, match=message):
        read_modules(path)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"transformer_task": "sequence-classification"},
            "transformer_task='sequence-classification', which changes embeddings and cannot be compiled.\n"
            "Try: --task text-classification.",
        ),
        (
            {"module_output_name": "sentence_embedding"},
            "module_output_name='sentence_embedding', which changes embeddings",
        ),
        (
            {"modality_config": {"text": {"method_output_name": "pooler_output"}}},
            "modality_config={'text': {'method_output",
        ),
        ({"processing_kwargs": {"text": {"max_length": 6}}}, "processing_kwargs={'text': {'max_length': 6}}, which"),
        (
            {"tokenizer_args": {"model_max_length": 7}},
            "tokenizer_args={'model_max_length': 7}, which changes embeddings",
        ),
        ({"query_length": 5}, "query_length=5, which changes embeddings and cannot be compiled."),
    ],
)
def test_settings_of_the_first_module_are_refused(tmp_path, fields, said):
    """Those by which it returns something else than the hidden states of a text's tokens, or cuts texts elsewhere."""
    path = tiny_sentence_transformer(tmp_path)
    edit(path / "sentence_bert_config.json", **fields)
    with pytest.raises(SourceError) as error:
        read_modules(path)
    assert f"{path} has the setting {said}" in str(error.value)


def test_wrapper_is_told_apart_by_plain_attributes(tmp_path):
    """Two poolings are two identities, so a cached graph of one is never used for the other."""
    from neuronkit.export.identity import module_identity

    identities = []
    for mode in ("mean", "cls"):
        path = tiny_sentence_transformer(tmp_path / mode, pooling=mode)
        identities.append(module_identity(EagerPipeline(plugin, path).shell.module))
    assert identities[0] != identities[1]
