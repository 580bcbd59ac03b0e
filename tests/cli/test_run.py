"""`neuronkit run`: inputs from words, files and stdin, and results for people and programs."""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import pytest

import neuronkit
from neuronkit.cli import build_parser
from neuronkit.cli.parser import UsageError
from neuronkit.cli.printing import format_result, print_json, to_json
from neuronkit.cli.run import _deliver, _Stdin, collect, read_piped

QUESTION, CONTEXT = "where is the cat", "the cat lives near the river"
pytestmark = pytest.mark.usefixtures("no_stdin")


def read(*words: str, stdin: str | None = None) -> dict:
    values = collect(build_parser("run").parse(["artifact", *words]), lambda: stdin)
    return values | read_piped(values, ["normalize", "top_k"], lambda: stdin)


def test_values_are_the_plugins():
    """Whatever the name, with - or _."""
    assert read("--question", "q", "--context=c", "--top_k", "2", "--no-flag", "--max-answer-length=3") == {
        "question": "q",
        "context": "c",
        "top_k": "2",
        "flag": False,
        "max_answer_length": "3",
    }


def test_repeated_text_is_a_list():
    assert read("--text", "a", "--text", "b") == {"text": ["a", "b"]}


def test_text_is_never_json():
    """What looks like a list is still what somebody wants to embed."""
    assert read("--text", "[1, 2]", "--context", '{"a": 1}') == {"text": "[1, 2]", "context": '{"a": 1}'}


def test_files(tmp_path):
    """A file is one text, or one a line."""
    file = tmp_path / "lines.txt"
    file.write_text("  one\n\ntwo\n")
    assert read("--text-file", str(file)) == {"text": "  one\n\ntwo"}
    assert read("--text_lines", str(file)) == {"text": ["  one", "two"]}
    assert read("--text", "zero", "--text-lines", str(file)) == {"text": ["zero", "  one", "two"]}
    assert read("--question", "q", "--context-file", str(file))["context"] == "  one\n\ntwo"


def test_only_line_breaks_end_a_line(tmp_path):
    """Other characters that break a line for Python, the lone carriage return among them, are part of the text."""
    file = tmp_path / "lines.txt"
    file.write_bytes("one\x85still\u2028one\r\ntwo\x0cstill\rtwo\r\n\u2029\n".encode())
    lines = ["one\x85still\u2028one", "two\x0cstill\rtwo"]
    for name in ("text", "prompt"):
        assert read(f"--{name}-lines", str(file)) == {name: lines}
    assert read("--text-file", str(file)) == {"text": "\n".join([*lines, "\u2029"])}


def test_byte_order_mark(tmp_path):
    """It is the file's, not the text's."""
    file = tmp_path / "marked.txt"
    file.write_text("Ada lives\nhere", encoding="utf-8-sig")
    assert read("--text-file", str(file)) == {"text": "Ada lives\nhere"}
    assert read("--text-lines", str(file)) == {"text": ["Ada lives", "here"]}


def test_stdin_where_it_is_named():
    assert read("--text", "-", stdin="piped") == {"text": "piped"}
    assert read("--question", "q", "--context-file", "-", stdin="piped") == {"question": "q", "context": "piped"}
    assert read("--text-lines", "-", stdin="a\nb") == {"text": ["a", "b"]}


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1"])
def test_stdin_is_utf_8(encoding, monkeypatch):
    """Whatever the locale makes of it."""
    cafe = "caf\u00e9"
    for piped, expected in ((b"caf\xc3\xa9\r\n", cafe), (b"\xef\xbb\xbfcaf\xc3\xa9", cafe), (b"caf\xe9\n", None)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(piped), encoding, errors="surrogateescape"))
        if expected is not None:
            assert _Stdin()() == expected
            continue
        with pytest.raises(UsageError, match="stdin is not UTF-8 text: invalid continuation byte at byte 3"):
            _Stdin()()


def test_words_that_the_locale_cannot_decode():
    """Python hands them over in escapes."""
    assert read("--text", b"caf\xc3\xa9".decode("ascii", "surrogateescape")) == {"text": "caf\u00e9"}
    assert read("--text", "caf\u00e9") == {"text": "caf\u00e9"}
    with pytest.raises(UsageError, match="--text is not UTF-8 text: unexpected end of data at byte 3"):
        read("--text", b"caf\xe9".decode("utf-8", "surrogateescape"))


def test_stdin_where_nothing_else_is_given():
    """The text, or the context of a question; any other input means that nothing is missing."""
    assert read(stdin="piped") == {"text": "piped"}
    assert read("--normalize", stdin="piped") == {"text": "piped", "normalize": True}
    assert read("--question", "q", stdin="piped") == {"question": "q", "context": "piped"}
    assert read("--question", "q", "--top-k", "2", stdin="piped") == {"question": "q", "context": "piped", "top_k": "2"}
    assert read("--prompt", "p", stdin="piped") == {"prompt": "p"}
    assert read("--readings", "1 2", stdin="piped") == {"readings": "1 2"}
    assert read() == {}


def test_stdin_that_is_not_there():
    with pytest.raises(UsageError, match="--text - reads stdin, and nothing is piped in"):
        read("--text", "-")


def test_files_that_cannot_be_read(cli, tmp_path):
    ended = cli("run", "x", "--text-file", tmp_path / "none.txt")
    assert ended.status == 2
    assert "none.txt cannot be read: No such file or directory" in ended.err
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    ended = cli("run", "x", "--text-file", tmp_path / "binary")
    assert ended.status == 2
    assert "binary is not UTF-8 text" in ended.err


def test_stdin_is_read_once(cli, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("piped"))
    ended = cli("run", "x", "--question", "-", "--context", "-")
    assert ended.status == 2
    assert "stdin can be only one of the inputs" in ended.err


def test_question_from_stdin_may_be_all(cli, artifact, monkeypatch):
    """Whether something is missing then is for the plugin to say: stdin was read, and is no context."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(QUESTION))
    ended = cli("run", artifact, "--question", "-")
    assert ended.status == 1
    assert "context" in ended.err
    assert "stdin" not in ended.err


def test_answer(cli, artifact):
    """The same as the library's, for people and as JSON."""
    expected = neuronkit.pipeline(artifact)(question=QUESTION, context=CONTEXT)
    ended = cli("run", artifact, "--question", QUESTION, "--context", CONTEXT, "--json")
    assert ended.status == 0
    assert ended.json == pytest.approx(expected)
    ended = cli("run", artifact, "--question", QUESTION, "--context", CONTEXT)
    assert ended.out.splitlines()[0] == f"answer: {expected['answer']}"


def test_call_options_are_converted(cli, artifact):
    ended = cli("run", artifact, "--question", QUESTION, "--context", CONTEXT, "--top_k", "3", "--json")
    assert len(ended.json) == 3
    ended = cli("run", artifact, "--question", QUESTION, "--context", CONTEXT, "--top-k", "3")
    assert ended.out.splitlines()[0].split() == ["answer", "score", "start", "end"]


def test_piped_context(cli, artifact, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(CONTEXT + "\n"))
    ended = cli("run", artifact, "--question", QUESTION, "--json")
    assert ended.json["answer"] in CONTEXT


def test_lists_of_questions(cli, artifact):
    words = ["--question", QUESTION, "--question", "what is the cat", "--context", CONTEXT, "--context", CONTEXT]
    assert len(cli("run", artifact, *words, "--json").json) == 2


def test_embeddings_are_lists(cli, embedder, tmp_path):
    """One list a text, a list of them for several."""
    (tmp_path / "lines.txt").write_text("the big house\nsnow and rain\n")
    expected = neuronkit.pipeline(embedder)(text=["the big house", "snow and rain"])
    found = cli("run", embedder, "--text-lines", tmp_path / "lines.txt", "--json").json
    np.testing.assert_allclose(np.asarray(found), expected, atol=1e-6)
    single = cli("run", embedder, "--text", "the big house", "--json").json
    np.testing.assert_allclose(np.asarray(single), expected[0], atol=1e-5)
    assert cli("run", embedder, "--text", "the big house").out.startswith("16 numbers [")


def test_result_into_a_file(cli, embedder, tmp_path):
    ended = cli("run", embedder, "--text", "the big house", "--json", "--output", tmp_path / "out.json")
    assert (ended.status, ended.out) == (0, "")
    assert len(json.loads((tmp_path / "out.json").read_text())) == 16
    assert cli("run", embedder, "--text", "the big house", "--output", tmp_path / "new" / "out.txt").status == 0
    assert (tmp_path / "new" / "out.txt").read_text().startswith("16 numbers [")


def test_output_that_cannot_be_written(cli, tmp_path):
    """That is found before anything runs: here even before the artifact is looked for."""
    (tmp_path / "file").touch()
    below = tmp_path / "file" / "new" / "out.json"
    for output, message in (
        (tmp_path, f"--output {tmp_path} is a directory. Try: the name of a file in it"),
        (below, f"--output {below} cannot be written: {tmp_path / 'file'} is not a directory"),
    ):
        ended = cli("run", tmp_path / "none", "--text", "the big house", "--output", output)
        assert ended.status == 2
        assert message in ended.err


def test_images_are_saved(tmp_path, monkeypatch, capsys):
    """Under the name that was asked for, numbered if there are several, and never over a file that is there."""
    image = pytest.importorskip("PIL.Image").new("RGB", (4, 4))
    monkeypatch.chdir(tmp_path)
    _deliver(image, "a.png", as_json=False, grid=False)
    _deliver([image, image], "b.png", as_json=True, grid=False)
    _deliver([image], None, as_json=False, grid=False)
    _deliver(image, None, as_json=True, grid=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b-0.png", "b-1.png", "out-1.png", "out.png"]
    assert capsys.readouterr().out == 'a.png\n["b-0.png", "b-1.png"]\nout.png\n"out-1.png"\n'


def test_unknown_input_has_a_suggestion(cli, artifact):
    ended = cli("run", artifact, "--question", QUESTION, "--contex", CONTEXT)
    assert ended.status == 1
    assert "contex" in ended.err
    assert "Did you mean 'context'?" in ended.err


def test_mistyped_option_is_wrong_usage(cli, artifact):
    ended = cli("run", artifact, "--question", QUESTION, "--context", CONTEXT, "--topk", 3)
    assert (ended.status, ended.err.splitlines()[-1]) == (2, "error: topk: unknown option. Did you mean top_k?")


def test_missing_input(cli, artifact):
    ended = cli("run", artifact, "--question", QUESTION)
    assert ended.status == 1
    assert "context" in ended.err


def test_wrong_option(cli, artifact):
    ended = cli("run", artifact, "--question", QUESTION, "--context", CONTEXT, "--top-k", "none")
    assert ended.status == 2
    assert "top_k: must be a whole number (got 'none')." in ended.err


def test_checkpoint_instead_of_an_artifact(cli, checkpoint):
    ended = cli("run", checkpoint, "--question", QUESTION, "--context", CONTEXT)
    assert ended.status == 1
    assert "Try: neuronkit compile --model" in ended.err


def test_hub_needs_trust(cli):
    ended = cli("run", "someone/artifact", "--text", "x")
    assert ended.status == 1
    assert "--trust-artifact" in ended.err


def test_another_task_that_nobody_offers(cli, artifact):
    ended = cli("run", artifact, "--task", "fill-the-gap", "--text", "x")
    assert ended.status == 1
    assert "bert.fill-the-gap" in ended.err


def test_stdout_is_for_results(process, artifact):
    """As a process: one JSON value on stdout, whatever libraries say."""
    ended = process("run", artifact, "--question", QUESTION, "--json", input=CONTEXT)
    assert ended.status == 0
    assert ended.json["answer"] in CONTEXT


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.array([[1, 2]]), [[1, 2]]),
        ({"a": (np.int64(1), None, True)}, {"a": [1, None, True]}),
        (float("nan"), None),
        (np.array([1.0, np.inf]), [1.0, None]),
    ],
)
def test_json_of_results(value, expected):
    assert to_json(value) == expected


def test_text_of_results():
    assert format_result("text") == "text"
    assert format_result(["a", "b"]) == "a\nb"
    assert format_result([{"label": "x", "score": 0.25}]) == "label  score\nx      0.25"
    choice = {"choice": "b", "scores": [0.25, 0.75]}
    assert format_result(choice) == "choice: b\nscores: 0.25, 0.75"
    assert format_result([choice]) == "choice  scores\nb       0.25, 0.75"
    assert format_result(np.zeros((2, 3))) == "2 x 3 numbers [0, 0, 0, 0, ...]"


def test_json_is_indented_and_its_numbers_share_a_line(capsys):
    value = {"shape": [2, 3], "rows": [[1.5, 2.0], [float("nan"), 4.0]], "none": [], "inner": {"a": "ü", "b": {}}}

    print_json(value)

    text = capsys.readouterr().out
    assert text == (
        '{\n  "shape": [2, 3],\n  "rows": [\n    [1.5, 2.0],\n    [null, 4.0]\n  ],\n  "none": [],\n'
        '  "inner": {\n    "a": "ü",\n    "b": {}\n  }\n}\n'
    )
    assert json.loads(text)["rows"][1][0] is None
