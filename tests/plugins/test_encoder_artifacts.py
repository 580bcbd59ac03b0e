"""Artifacts of encoders from the user's side: fresh processes, other weights, the hub, architectures nobody names."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import os
import pickle
import shlex
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import neuronkit
from neuronkit.artifact.reader import open_artifact, verify
from neuronkit.cli import main
from neuronkit.errors import (
    ArtifactCorruptError,
    ArtifactMismatchError,
    ArtifactNotFoundError,
    ArtifactUntrustedError,
    ArtifactUploadError,
    OptionError,
    OutputExistsError,
    WeightsError,
)
from neuronkit_registry import UnknownPluginError
from tests.plugins.checkpoints import WORDS, tiny_sentence_transformer
from tests.plugins.encoders import eager_model, encoder_tokenizer, tiny_encoder

IDS = torch.randint(5, 90, (3, 9), generator=torch.Generator().manual_seed(0))
FRESH = """
import socket, sys
def refuse(*arguments, **keywords):
    raise OSError("the network is blocked")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import torch, neuronkit
model = neuronkit.NeuronModelForSequenceClassification.from_pretrained(sys.argv[1])
torch.save(dict(model(input_ids=torch.load(sys.argv[2]))), sys.argv[3])
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny classifier."""
    return tiny_encoder(tmp_path_factory.mktemp("classifier"), "bert", "text-classification")


@pytest.fixture(scope="module")
def model(checkpoint):
    """It, compiled by the public class."""
    return neuronkit.NeuronModelForSequenceClassification.from_pretrained(
        checkpoint, export=True, batch_size=2, sequence_length=16, optlevel=1, auto_cast="none", inline_weights=False
    )


def test_a_tokenizer_may_be_saved_beside_the_model(model, tmp_path, capsys):
    """As is usual with transformers, also twice, and after it was called; a truncated one is an error, and for --verify any is."""
    import transformers

    saved = tmp_path / "saved"
    for _ in range(2):
        model.save_pretrained(saved, safe_serialization=True)
        tokenizer = transformers.AutoTokenizer.from_pretrained(saved)
        tokenizer(["hello", "hello world"], padding=True, truncation=True, max_length=8)
        tokenizer.save_pretrained(saved)
    capsys.readouterr()
    again = type(model).from_pretrained(saved)
    said = capsys.readouterr().err
    assert said.startswith("note: tokenizer")
    assert said.endswith(f" of {saved} was saved over since it was written\n")
    assert torch.equal(again(IDS).logits, model(IDS).logits)
    artifact = open_artifact(saved)
    with pytest.raises(
        ArtifactCorruptError, match=r"^tokenizer\w*\.json of the artifact .* it is truncated or was edited"
    ):
        verify(artifact, weights=True)
    file = saved / "tokenizer.json"
    file.write_text(file.read_text(encoding="utf-8")[:-3], encoding="utf-8")
    with pytest.raises(ArtifactCorruptError, match=r"^tokenizer\.json of the artifact"):
        type(model).from_pretrained(saved)


def test_round_trip(model, tmp_path):
    """Saved, and loaded in a process of its own without a network: bit for bit the same."""
    model.save_pretrained(tmp_path / "saved")
    torch.save(IDS, tmp_path / "ids.pt")
    outputs = tmp_path / "outputs.pt"
    subprocess.run(
        [sys.executable, "-c", FRESH, str(tmp_path / "saved"), str(tmp_path / "ids.pt"), str(outputs)],
        check=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert torch.equal(torch.load(outputs)["logits"], model(input_ids=IDS).logits)
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert config["id2label"]["1"] == "B-ANIMAL"
    assert config["neuron"]["static_sequence_length"] == 16
    assert model.config.id2label[1] == "B-ANIMAL"


PICKLED = """
import pickle, sys, torch
with open(sys.argv[1], "rb") as file:
    pipe = pickle.load(file)
torch.save(dict(pipe.shell(input_ids=torch.load(sys.argv[2]))), sys.argv[3])
"""


def test_pickled_for_another_process(model, tmp_path):
    """What a process hands to another one is where the artifact lies; the other opens it."""
    model.save_pretrained(tmp_path / "saved")
    pipe = neuronkit.pipeline(tmp_path / "saved")
    (tmp_path / "pickled").write_bytes(pickle.dumps(pipe))
    torch.save(IDS, tmp_path / "ids.pt")
    files = [str(tmp_path / name) for name in ("pickled", "ids.pt", "outputs.pt")]
    subprocess.run([sys.executable, "-c", PICKLED, *files], check=True)
    assert torch.equal(torch.load(files[-1])["logits"], model(input_ids=IDS).logits)


def test_copied(model, tmp_path):
    """A shallow copy runs the same graphs, a deep one opens the artifact for itself, where its placement says."""
    model.save_pretrained(tmp_path / "saved")
    loaded = neuronkit.load(tmp_path / "saved", placement="mapped")
    assert copy.copy(loaded).session is loaded.session
    deep = copy.deepcopy(loaded)
    assert deep.session is not loaded.session
    assert deep.session.backend._packs is loaded.session.backend._packs is False
    assert type(deep) is type(loaded)
    assert torch.equal(deep(input_ids=IDS).logits, loaded(input_ids=IDS).logits)


def test_what_a_copy_would_lose_is_not_copied(model, checkpoint, tmp_path):
    """Neither an artifact that goes with the original, nor weights that only the original has."""
    for kind in (pickle.dumps, copy.deepcopy):
        with pytest.raises(ArtifactNotFoundError, match=r"goes with the object .*\nTry: save_pretrained\(directory\)"):
            kind(model)
    model.save_pretrained(tmp_path / "saved")
    loaded = neuronkit.load(tmp_path / "saved")
    (graph,) = loaded.session.graphs
    loaded.session.rebind(graph, loaded.session.weights(graph))
    with pytest.raises(WeightsError, match=f"Weights of {graph} were replaced .*\nTry: load the artifact where"):
        pickle.dumps(loaded)
    loaded.replace_weights(checkpoint)
    with pytest.raises(ArtifactNotFoundError, match="goes with the object"):
        pickle.dumps(loaded)


def test_a_task_that_the_graph_does_not_serve(model):
    """Its logits would be read as something that they are not."""
    path = model.model_save_dir
    with pytest.raises(ArtifactMismatchError) as caught:
        neuronkit.load(path, task="token-classification")
    assert str(caught.value) == (
        f"{path} was compiled for text-classification, and its graph has not what token-classification needs.\n"
        "Try: without a task, or compile the checkpoint for token-classification."
    )
    assert neuronkit.load(path, task="text-classification").task == "text-classification"


def test_token_vectors_of_a_sentence_transformer(tmp_path, capfd):
    """Compiled on request, with a note; the class that was meant says how to get what it runs."""
    checkpoint = tiny_sentence_transformer(tmp_path / "checkpoint")
    words = [
        "-m",
        str(checkpoint),
        "--task",
        "feature-extraction",
        "--sequence-length",
        "8",
        "-O1",
        str(tmp_path / "out"),
    ]
    assert main(["compile", *words]) == 0
    note = (
        "note: a sentence transformer, whose modules.json goes unused: --task sentence-similarity gives its embeddings"
    )
    assert note in capfd.readouterr().err
    with pytest.raises(ArtifactMismatchError) as caught:
        neuronkit.NeuronModelForSentenceTransformers.from_pretrained(tmp_path / "out")
    assert str(caught.value) == (
        f"{tmp_path / 'out'} was compiled for feature-extraction, and NeuronModelForSentenceTransformers runs "
        "sentence-similarity.\nTry: NeuronModelForFeatureExtraction, or neuronkit.load, which picks the class; or compile the "
        "checkpoint with --task sentence-similarity."
    )


def test_replace_weights(checkpoint, tmp_path):
    """Another checkpoint's results without compiling; refused where the weights are inside."""
    other = tiny_encoder(tmp_path / "other", "bert", "text-classification", seed=1)
    options = {"export": True, "sequence_length": 16, "optlevel": 1}
    model = neuronkit.NeuronModelForSequenceClassification.from_pretrained(
        checkpoint, output_hidden_states=True, **options
    )
    command = model.session.manifest.rebuild
    before = model(input_ids=IDS).logits
    model.replace_weights(other)
    with torch.no_grad():
        expected = eager_model(other, "text-classification")(input_ids=IDS).logits
    assert (before - expected).abs().max() > 0.1
    torch.testing.assert_close(model(input_ids=IDS).logits, expected, atol=1e-4, rtol=0)
    assert "--output-hidden-states" in command
    words = shlex.split(model.session.manifest.rebuild)
    assert set(shlex.split(command)) - set(words) == {str(checkpoint), *shlex.split(command)[-1:]}
    assert (words[:4], words[-2]) == (["neuronkit", "compile", "--model", str(other)], "--force")
    inlined = neuronkit.NeuronModelForSequenceClassification.from_pretrained(checkpoint, inline_weights=True, **options)
    with pytest.raises(WeightsError, match="inline_weights=True"):
        inlined.replace_weights(other)


@pytest.mark.parametrize("architecture", ["convbert", "xlm"])
def test_replace_weights_of_a_guarded_architecture(tmp_path, architecture):
    """The guards change no name of a weight between two checkpoints."""
    first, second = (tiny_encoder(tmp_path / str(seed), architecture, "fill-mask", seed=seed) for seed in (0, 1))
    model = neuronkit.NeuronModelForMaskedLM.from_pretrained(
        first, export=True, sequence_length=16, batch_size=1, static=True, optlevel=1
    )
    model.replace_weights(second)
    with torch.no_grad():
        expected = eager_model(second, "fill-mask")(input_ids=IDS).logits
    torch.testing.assert_close(model(input_ids=IDS).logits, expected, atol=1e-4, rtol=0)


def test_replace_weights_of_a_sentence_transformer(tmp_path):
    """Texts are cut where the new checkpoint cuts them, also when the old one's length was asked before."""
    from sentence_transformers import SentenceTransformer

    first, second = (
        tiny_sentence_transformer(tmp_path / str(length), seed=length, max_seq_length=length) for length in (8, 14)
    )
    model = neuronkit.NeuronModelForSentenceTransformers.from_pretrained(
        first, export=True, sequence_length=16, optlevel=1
    )
    assert model.max_seq_length == 8
    model.replace_weights(second)
    assert model.max_seq_length == 14
    text = " ".join(WORDS[:20])
    expected = SentenceTransformer(str(second), device="cpu").encode(text)
    np.testing.assert_allclose(model.encode(text), expected, atol=1e-5)


def test_weights_for_other_labels(model, tmp_path):
    """As many as transformers assumes where a configuration names none."""
    other = tiny_encoder(tmp_path / "other", "bert", "text-classification", id2label=None, label2id=None)
    assert "id2label" not in json.loads((other / "config.json").read_text())
    with pytest.raises(WeightsError) as caught:
        model.replace_weights(other)
    assert str(caught.value) == (
        f"{other} has another number of labels than {model.model_save_dir} was compiled for: 2, and not 5.\n"
        "Try: neuronkit compile for this checkpoint."
    )


def test_weights_of_another_pooling(tmp_path):
    """No config.json says how a sentence transformer pools, and no weight has another shape for it."""
    first, second = (tiny_sentence_transformer(tmp_path / str(seed), seed=seed) for seed in (0, 1))
    settings = json.loads((second / "1_Pooling" / "config.json").read_text())
    settings |= {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True, "pooling_mode": "cls"}
    (second / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    options = {"sequence_length": 16, "optlevel": 1, "validate": False}
    model = neuronkit.NeuronModelForSentenceTransformers.from_pretrained(first, export=True, **options)
    with pytest.raises(WeightsError, match=r"the configuration is the same, and graph 'encoder' has other modules"):
        model.replace_weights(second)
    manifest = model.session.manifest
    manifest.libraries["transformers"] = "4.0"
    model.replace_weights(second)


def test_an_artifact_is_replaced(model, tmp_path):
    """As transformers does; but nothing else than an artifact is."""
    model.save_pretrained(tmp_path / "out")
    kept = {path: path.stat().st_ino for path in (tmp_path / "out").rglob("*") if path.is_file()}
    neuronkit.load(model.model_save_dir).save_pretrained(tmp_path / "out")
    assert {path for path in (tmp_path / "out").rglob("*") if path.is_file()} == set(kept)
    assert all(path.stat().st_ino != before for path, before in kept.items())
    (tmp_path / "out" / "notes.txt").touch()
    with pytest.raises(OutputExistsError, match=r"holds notes\.txt, which is no file of an artifact"):
        model.save_pretrained(tmp_path / "out")
    assert (tmp_path / "out" / "notes.txt").exists()


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's API as an upload needs."""

    def log_message(self, *arguments):
        """Say nothing."""

    def _answer(self, value):
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_POST(self):
        """Create a repository, say how files are sent, take a commit."""
        server, body, address = self.server, self._body(), f"http://{self.headers['Host']}"
        if self.path == "/api/repos/create":
            self._answer({"url": f"{address}/someone/classifier", "name": "someone/classifier"})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            large = [file["path"].endswith((".safetensors", ".pt2")) for file in files]
            modes = ["lfs" if is_large else "regular" for is_large in large]
            answers = [
                {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}
                for file, mode in zip(files, modes, strict=True)
            ]
            self._answer({"files": answers})
        elif self.path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            for one in objects:
                one["actions"] = {"upload": {"href": f"{address}/lfs/{one['oid']}"}}
            self._answer({"transfer": "basic", "objects": objects})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    server.files.append((line["value"]["path"], base64.b64decode(line["value"]["content"])))
                elif line["key"] == "lfsFile":
                    server.files.append((line["value"]["path"], server.objects[line["value"]["oid"]]))
            self._answer({"commitUrl": f"{address}/someone/classifier/commit/0", "commitOid": "0", "success": True})
        else:
            self.send_error(404, self.path)

    def do_PUT(self):
        """Take the content of a large file."""
        content = self._body()
        self.server.objects[hashlib.sha256(content).hexdigest()] = content
        self.server.puts.append(self.path)
        self._answer({})

    def do_GET(self):
        """Know nothing of a repository but that it is there."""
        self._answer({"id": "someone/classifier", "sha": "0", "siblings": []})


@pytest.fixture
def hub():
    """A stand-in of the hub on the loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.files, server.objects, server.puts = [], {}, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


PUSH = """
import sys, neuronkit
model = neuronkit.NeuronModelForSequenceClassification.from_pretrained(sys.argv[1])
print(model.push_to_hub(sys.argv[1], "someone/classifier", use_auth_token="hf_none", endpoint=sys.argv[2]))
"""


def test_push_to_hub(model, hub, tmp_path):
    """Every file of the artifact is uploaded once, and what comes back from a hub must be trusted."""
    model.save_pretrained(tmp_path / "saved")
    environment = {**os.environ, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    environment.pop("HF_HUB_OFFLINE")
    endpoint = f"http://127.0.0.1:{hub.server_port}"
    done = subprocess.run(
        [sys.executable, "-c", PUSH, str(tmp_path / "saved"), endpoint],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("/someone/classifier/commit/0")
    written = {
        path.relative_to(tmp_path / "saved").as_posix() for path in (tmp_path / "saved").rglob("*") if path.is_file()
    }
    assert sorted(name for name, _ in hub.files) == sorted(written)
    assert len(hub.puts) == len(set(hub.puts))
    downloaded = tmp_path / "downloaded"
    for name, content in hub.files:
        (downloaded / name).parent.mkdir(parents=True, exist_ok=True)
        (downloaded / name).write_bytes(content)
    again = neuronkit.NeuronModelForSequenceClassification.from_pretrained(downloaded)
    assert torch.equal(again(input_ids=IDS).logits, model(input_ids=IDS).logits)
    with pytest.raises(ArtifactUntrustedError, match="trust_artifact=True"):
        neuronkit.NeuronModelForSequenceClassification.from_pretrained("someone/classifier")


def test_push_to_hub_in_the_words_of_transformers(model, tmp_path, monkeypatch):
    """Names as in transformers, a directory or none, and through `save_pretrained`."""
    sent = []

    class Hub:
        def __init__(self, **given):
            sent.append(given)

        def create_repo(self, name, **given):
            return SimpleNamespace(repo_id=name)

        def upload_folder(self, **given):
            sent[-1] |= given
            return SimpleNamespace(commit_url="address")

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    kept = {"token": "hf_x", "commit_message": "First", "create_pr": True}
    assert model.push_to_hub(repo_id="me/one", private=True, **kept) == "address"
    model.save_pretrained(tmp_path / "two", push_to_hub=True, repo_id="me/two", **kept)
    model.push_to_hub(tmp_path / "two", "me/three", token=True)
    model.push_to_hub(tmp_path / "two", use_auth_token="hf_y")
    found = [
        (one["repo_id"], one["folder_path"], one["token"], one["commit_message"], one["create_pr"]) for one in sent
    ]
    assert found == [
        ("me/one", model.model_save_dir, "hf_x", "First", True),
        ("me/two", tmp_path / "two", "hf_x", "First", True),
        ("me/three", tmp_path / "two", True, "Upload neuronkit artifact", False),
        ("two", tmp_path / "two", "hf_y", "Upload neuronkit artifact", False),
    ]


def test_uploads_that_are_refused(model, tmp_path, monkeypatch):
    """Each with what to type instead; of a wrong call nothing is written."""
    for call, kind, message in (
        (
            lambda: model.push_to_hub(),
            OptionError,
            "push_to_hub needs the repository's name.\nTry: push_to_hub(repo_id='<user>/<name>')",
        ),
        (
            lambda: model.push_to_hub("someone/classifier"),
            ArtifactMismatchError,
            "There is no directory 'someone/classifier'.\n"
            "Try: push_to_hub(repo_id='someone/classifier'), if it is the repository's name.",
        ),
        (
            lambda: model.push_to_hub(None, "me/one", repo_id="me/other"),
            OptionError,
            "repo_id is another name of repository_id, and they differ.\nTry: one of them.",
        ),
        (
            lambda: model.push_to_hub(repo_id="a/b", token="hf_x", use_auth_token="hf_y"),
            OptionError,
            "use_auth_token is another name of token, and they differ.\nTry: one of them.",
        ),
        (
            lambda: model.push_to_hub(repo_id="a/b", commit_mesage="x"),
            OptionError,
            "commit_mesage: unknown option. Did you mean commit_message?",
        ),
        (
            lambda: model.save_pretrained(tmp_path / "saved", repo_idd="a/b"),
            OptionError,
            "repo_idd: unknown option. Did you mean repo_id?",
        ),
        (
            lambda: model.save_pretrained(tmp_path / "saved", repo_id="a/b"),
            OptionError,
            "repo_id: only for uploading.\nTry: push_to_hub=True, or leave it out.",
        ),
        (
            lambda: model.save_pretrained(tmp_path / "saved", safe_serialization=False),
            OptionError,
            "safe_serialization: an artifact's weights are safetensors (got False). Try: without it.",
        ),
    ):
        with pytest.raises(kind) as error:
            call()
        assert str(error.value) == message
    assert not (tmp_path / "saved").exists()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(OutputExistsError) as error:
        model.save_pretrained(tmp_path)
    assert str(error.value) == (
        f"{tmp_path} holds notes.txt, which is no file of an artifact.\n"
        "Try: another directory, or remove what is there first; an artifact alone is replaced."
    )
    with pytest.raises(OptionError, match=r"^force: unknown option\."):
        model.save_pretrained(tmp_path, force=True)
    with pytest.raises(ArtifactUploadError) as error:
        model.push_to_hub(repo_id="a/b")
    assert str(error.value) == (
        f"{model.model_save_dir} could not be uploaded to 'a/b' (Cannot reach https://huggingface.co/api/repos/create: "
        "offline mode is enabled. To disable it, please unset the `HF_HUB_OFFLINE` environment variable.).\n"
        "Try: a repository that you may write to, a token that allows it, and a hub that can be reached."
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(ArtifactUploadError, match=r"'a/b' \(\[Errno 111\] Connection refused\)"):
        model.push_to_hub(repo_id="a/b", endpoint="http://127.0.0.1:9")
    with pytest.raises(ArtifactUploadError, match="could not be uploaded to 'a/b/c' "):
        model.push_to_hub(repo_id="a/b/c")


def test_stored_token(model):
    """`token=True` means the stored one, as in transformers."""
    again = neuronkit.NeuronModelForSequenceClassification.from_pretrained(model.model_save_dir, token=True)
    assert again.config.model_type == "bert"


def test_architecture_that_nobody_names(tmp_path):
    """The message shows the plugin to write, and that plugin works."""
    import transformers

    tokenizer = encoder_tokenizer("bert")
    groups = dict.fromkeys(
        [f"{part}_groups" for part in ("q", "k", "v", "post_attention", "intermediate", "output")], 1
    )
    config = transformers.SqueezeBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        embedding_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=64,
        **groups,
    )
    path = tmp_path / "squeezebert"
    transformers.SqueezeBertForTokenClassification(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    options = {"task": "token-classification", "optlevel": 1}
    with pytest.raises(UnknownPluginError) as error:
        neuronkit.compile(path, tmp_path / "out", **options)
    shown = [line.strip() for line in str(error.value).splitlines()]
    start = shown.index("from neuronkit import get_registry")
    assert '"squeezebert.token-classification" = "neuronkit_plugins.text.token_classification:plugin"' in shown
    exec("\n".join(shown[start : start + 2]), names := {})
    remove = names["get_registry"]().register(names["plugin"], "squeezebert.token-classification")
    try:
        artifact = neuronkit.compile(path, tmp_path / "out", **options)
    finally:
        remove()
    assert artifact.manifest.validation.max_abs_diff < 1e-4


def test_architecture_of_another_kind(tmp_path):
    """One without the inputs of an encoder gets no such advice."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(UnknownPluginError) as error:
        neuronkit.compile(tmp_path, tmp_path / "out", task="feature-extraction")
    assert "register(" not in str(error.value)


@pytest.mark.compiled
def test_compiled(tmp_path):
    """Inductor's code for the architecture with the largest guard."""
    path = tiny_encoder(tmp_path / "checkpoint", "convbert", "fill-mask")
    artifact = neuronkit.compile(path, tmp_path / "out", task="fill-mask", sequence_length=32)
    assert artifact.manifest.validation.max_abs_diff < 1e-4
    with torch.no_grad():
        expected = eager_model(path, "fill-mask")(input_ids=IDS).logits
    torch.testing.assert_close(neuronkit.load(tmp_path / "out")(input_ids=IDS).logits, expected, atol=1e-4, rtol=0)
