"""`neuronkit run` of a model that writes text, whole and as it comes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import neuronkit
from neuronkit.cli import main, run
from tests.generation.checkpoints import byte_tokenizer, tiny_decoder

pytestmark = pytest.mark.usefixtures("no_stdin")
PROMPT = ("--prompt", "Hello", "--max-new-tokens", 12)


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    """An artifact that the command line compiled."""
    checkpoint = tiny_decoder(tmp_path_factory.mktemp("checkpoint") / "gpt2", bos_token_id=None, eos_token_id=None)
    tokenizer = byte_tokenizer(checkpoint)
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    tokenizer.save_pretrained(checkpoint)
    output = tmp_path_factory.mktemp("artifact") / "gpt2"
    words = ["compile", "--model", checkpoint, "--task", "text-generation", "--batch-size", 1]
    assert main([str(word) for word in [*words, "--sequence-length", 40, "-O1", "-q", output]]) == 0
    return output


@pytest.fixture(scope="module")
def text(writer):
    """What the library writes."""
    return neuronkit.pipeline(writer)(prompt="Hello", max_new_tokens=12, return_full_text=False)["generated_text"]


def test_whole(cli, writer, text):
    assert len(text) > 8
    ended = cli("run", writer, *PROMPT)
    assert (ended.status, ended.out) == (0, f"generated_text: Hello{text}\n")
    assert cli("run", writer, *PROMPT, "--json").json == {"generated_text": "Hello" + text}


def test_chat(cli, writer, text):
    """Messages are a JSON list; the checkpoint's chat template is in the artifact."""
    messages = [{"role": "user", "content": "Hello"}]
    words = ("run", writer, "--messages", json.dumps(messages), "--max-new-tokens", 12)
    assert cli(*words, "--json").json == {"generated_text": [*messages, {"role": "assistant", "content": text}]}
    assert cli(*words, "--return-full-text", "no").out == f"generated_text: {text}\n"
    ended = cli(*words[:-2], "--prompt", "a")
    assert (ended.status, "prompt and messages are the same, and both were given." in ended.err) == (1, True)


def test_stream(cli, writer, text):
    """Only the text goes to stdout, and ends with a line break."""
    ended = cli("run", writer, *PROMPT, "--stream")
    assert (ended.status, ended.out) == (0, text + "\n")


def test_pieces_are_printed_as_they_come(capsys):
    """Each is on stdout before the next is made."""
    seen = []

    def pieces():
        for piece in ("one", " two"):
            seen.append(capsys.readouterr().out)
            yield piece

    run._print_pieces(pieces(), sys.stdout)
    assert seen == ["", "one"]
    assert capsys.readouterr().out == " two\n"


def test_stream_into_a_file(cli, writer, text, tmp_path):
    """What is not printed piece by piece is the whole text."""
    ended = cli("run", writer, *PROMPT, "--stream", "--output", tmp_path / "out.txt")
    assert (ended.status, ended.out) == (0, "")
    assert (tmp_path / "out.txt").read_text() == text + "\n"
    assert json.loads(cli("run", writer, *PROMPT, "--stream", "--json").out) == text


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_full_stdout(writer, unbuffered):
    """Foreseen where it is noticed before the text has ended, too."""
    command = [str(word) for word in [sys.executable, "-m", "neuronkit", "run", writer, *PROMPT, "--stream"]]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True, env=environment
        )
    assert ended.returncode == 1
    assert ended.stderr.endswith(
        "error: The result could not be written: No space left on device. Try: another place for stdout.\n"
    )
    assert "Nothing in neuronkit foresees this" not in ended.stderr


def test_full_disk(cli, writer):
    ended = cli("run", writer, *PROMPT, "--output", "/dev/full")
    assert (ended.status, ended.out) == (2, "")
    assert "error: /dev/full cannot be written: No space left on device. Try: another --output\n" in ended.err


def test_refusals(cli, writer):
    ended = cli("run", writer, "--prompt", "Hello", "--max-new-tokens", 36, "--stream")
    assert (ended.status, ended.out) == (1, "")
    assert "Prompt 0 has 5 tokens; with 36 new ones it needs 41 slots, and the cache has 40." in ended.err
    ended = cli("run", writer, "--prompt", "a", "--prompt", "b", "--stream")
    assert ended.status == 1
    assert "stream: one prompt at a time.\nTry: a call for each prompt, or without stream (--stream).\n" in ended.err
    ended = cli("run", writer, *PROMPT, "--stream", "--num-beams", 2)
    assert (ended.status, ended.out) == (1, "")
    assert "Try: num_beams=1 (--num-beams 1), or without stream (--stream).\n" in ended.err
    ended = cli("run", writer, "--max-new-tokens", 3)
    assert ended.status == 1
    assert "Text generation needs prompt=...: a text or a list of texts." in ended.err
    ended = cli("run", writer, "--prompt", "Hello", "--max-new-token", 5)
    assert (ended.status, ended.out) == (2, "")
    assert "max_new_token: unknown option. Did you mean max_new_tokens?" in ended.err
    ended = cli("run", writer, *PROMPT, "--do-sample", "--temperature", 0)
    assert (ended.status, ended.out) == (1, "")
    assert "generate: `temperature` (=0.0) has to be a strictly positive float" in ended.err
    assert "Nothing in neuronkit foresees this" not in ended.err
