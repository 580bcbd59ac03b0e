"""What was changed of a sentence model, and what it reads of its artifact: kept, and read once."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import neuronkit
from neuronkit.artifact.reader import open_artifact, verify
from neuronkit.errors import InputError
from neuronkit.testing.recording import offer_recording_backend
from tests.plugins.checkpoints import WORDS, tiny_sentence_transformer

TEXTS = ["The moon runs over the mountain.", "Snow", " ".join(WORDS)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A sentence transformer."""
    return tiny_sentence_transformer(tmp_path_factory.mktemp("settings"), normalize=False, max_seq_length=40)


@pytest.fixture
def artifact(checkpoint, tmp_path):
    """It, compiled, for each test anew."""
    with offer_recording_backend():
        neuronkit.compile(checkpoint, tmp_path / "out", backend="recording", cache=False, sequence_length=64)
        yield tmp_path / "out"


def files(directory):
    """What is in the files of a directory, without the command that rebuilds it."""
    found = {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }
    manifest = json.loads(found.pop("neuronkit.json"))
    del manifest["rebuild"]
    return found, manifest


def edit(file, **fields):
    """Change fields of a JSON file."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


@pytest.mark.parametrize("place", ["elsewhere", "out"])
def test_what_was_changed_is_saved(artifact, checkpoint, tmp_path, place):
    """As sentence-transformers saves it, elsewhere and over the artifact itself."""
    from sentence_transformers import SentenceTransformer

    model, original = neuronkit.load(artifact), SentenceTransformer(str(checkpoint), device="cpu")
    for one in (model, original):
        one.max_seq_length = 9
        one.prompts["query"] = "who sings "
        one.default_prompt_name = "query"
        one.similarity_fn_name = "dot"
        one.truncate_dim = 7
    np.testing.assert_allclose(neuronkit.pipeline(model)(text=TEXTS), original.encode(TEXTS), atol=1e-5)
    model.save_pretrained(tmp_path / place)
    verify(open_artifact(tmp_path / place))
    original.save_pretrained(str(tmp_path / "original"))
    again = neuronkit.load(tmp_path / place)
    expected = SentenceTransformer(str(tmp_path / "original"), device="cpu")
    for name in ("max_seq_length", "prompts", "default_prompt_name", "similarity_fn_name", "truncate_dim"):
        assert getattr(again, name) == getattr(expected, name) == getattr(model, name)
    np.testing.assert_allclose(again.encode(TEXTS), expected.encode(TEXTS), atol=1e-5)
    np.testing.assert_allclose(neuronkit.pipeline(again)(text=TEXTS), expected.encode(TEXTS), atol=1e-5)


def test_what_was_changed_back_is_saved(artifact, tmp_path):
    """What was saved once can be taken away again."""
    model = neuronkit.load(artifact)
    model.truncate_dim, model.default_prompt_name = 7, "query"
    model.save_pretrained(tmp_path / "first")
    model = neuronkit.load(tmp_path / "first")
    model.truncate_dim = model.default_prompt_name = None
    model.save_pretrained(tmp_path / "second")
    again = neuronkit.load(tmp_path / "second")
    assert again.truncate_dim is again.default_prompt_name is None


def test_what_was_not_changed_stays_as_it_is(artifact, tmp_path):
    """Also where it was read, or assigned as it was."""
    model = neuronkit.load(artifact)
    model.encode(TEXTS)
    model.max_seq_length = model.max_seq_length
    model.truncate_dim = None
    model.prompts = dict(model.prompts)
    model.save_pretrained(tmp_path / "saved")
    assert files(tmp_path / "saved") == files(artifact)


def test_what_nobody_knows_is_not_saved(artifact, tmp_path):
    """The directory is not written."""
    model = neuronkit.load(artifact)
    model.similarity_fn_name = "maxsim"
    with pytest.raises(InputError) as error:
        model.save_pretrained(tmp_path / "saved")
    assert str(error.value) == "similarity_fn_name must be one of cosine, dot, euclidean, manhattan (got 'maxsim')."
    assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize("taken", [True, False], ids=["gone", "replaced"])
def test_settings_are_those_of_the_weights(checkpoint, tmp_path, taken):
    """A loaded model goes on as it was, whatever happens to the directory that it was loaded from."""
    path = shutil.copytree(checkpoint, tmp_path / "checkpoint")
    edit(path / "config_sentence_transformers.json", prompts={"query": "WHO sings "}, default_prompt_name="query")
    edit(path / "sentence_bert_config.json", do_lower_case=True, max_seq_length=9)
    tokenizer = json.loads((path / "tokenizer.json").read_text())
    (path / "tokenizer.json").write_text(json.dumps({**tokenizer, "normalizer": None}))
    with offer_recording_backend():
        neuronkit.compile(path, tmp_path / "out", backend="recording", cache=False, sequence_length=64)
        model, pipe = neuronkit.load(tmp_path / "out"), neuronkit.pipeline(tmp_path / "out")
    upper = [text.upper() for text in TEXTS]
    before = model.encode(upper), pipe(text=upper)
    np.testing.assert_allclose(before[0], model.encode(TEXTS), atol=1e-6)
    (tmp_path / "out").rename(tmp_path / "moved")
    if not taken:
        shutil.copytree(tmp_path / "moved", tmp_path / "out")
        edit(tmp_path / "out" / "config_sentence_transformers.json", default_prompt_name=None)
        edit(tmp_path / "out" / "sentence_bert_config.json", do_lower_case=False, max_seq_length=5)
    np.testing.assert_array_equal(model.encode(upper), before[0])
    np.testing.assert_array_equal(pipe(text=upper), before[1])


def test_length_of_a_first_module_is_saved(checkpoint, tmp_path):
    """Of an encoder that was no sentence transformer, and whose artifact says nothing of lengths."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    with offer_recording_backend():
        plain = {"task": "feature-extraction", "backend": "recording", "cache": False, "sequence_length": 64}
        neuronkit.compile(checkpoint.parent / "backbone", tmp_path / "out", **plain)
        model = SentenceTransformer(modules=[neuronkit.load(tmp_path / "out"), Pooling(16)])
        model.max_seq_length = 9
        model.save(str(tmp_path / "saved"), create_model_card=False)
        again = SentenceTransformer(str(tmp_path / "saved"), device="cpu", trust_remote_code=True)
    assert again.max_seq_length == 9
    np.testing.assert_allclose(again.encode(TEXTS), model.encode(TEXTS), atol=1e-6)


def test_features_of_a_first_module(artifact, checkpoint, tmp_path):
    """A sentence transformer around the model has as many features as it says, those of `encode`, and after saving too."""
    from sentence_transformers import SentenceTransformer

    model, original = neuronkit.load(artifact), SentenceTransformer(str(checkpoint), truncate_dim=7, device="cpu")
    model.truncate_dim = 7
    around = SentenceTransformer(modules=[model])
    around.save(str(tmp_path / "saved"), create_model_card=False)
    again = SentenceTransformer(str(tmp_path / "saved"), device="cpu", trust_remote_code=True)
    for one in (around, again):
        assert one.get_embedding_dimension() == 7
        np.testing.assert_allclose(one.encode(TEXTS), original.encode(TEXTS), atol=1e-5)
    assert again.encode("snow", truncate_dim=3).shape == (3,)
    assert model(**model.preprocess(TEXTS)).sentence_embedding.shape == (3, 16)
    with model.truncate_embeddings(None):
        assert around.encode(TEXTS).shape == (3, around.get_embedding_dimension()) == (3, 16)
