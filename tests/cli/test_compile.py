"""`neuronkit compile`: what is typed, and what is compiled."""

from __future__ import annotations

import shlex
from enum import Enum
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuronkit.artifact.reader import open_artifact
from neuronkit.cli import build_parser
from neuronkit.cli.compile import collect
from neuronkit.cli.parser import UsageError
from neuronkit.compilation.declaration import resolve_key
from neuronkit.compilation.rebuild import rebuild_command, task_word
from neuronkit.export.source import Source
from neuronkit.options import CompileOptions, SourceOptions, json_schema, names, option, split_options
from neuronkit.shape_names import SHAPE_NAMES
from tests.core.tide import TideOptions


def read(*words: str) -> dict:
    return collect(build_parser("compile").parse(["--model", "m", *words, "out"]))


def test_nothing_is_given_that_was_not_typed():
    """Defaults live in the options classes alone."""
    assert read() == {}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--batch_size 1 --sequence_length=128,384", {"batch_size": "1", "sequence_length": "128,384"}),
        ("--auto_cast matmult --auto-cast-type bf16", {"auto_cast": "matmult", "auto_cast_type": "bf16"}),
        ("--disable-validation", {"validate": False}),
        ("--no-validate", {"validate": False}),
        ("-O1", {"optlevel": "1"}),
        ("-O 3", {"optlevel": "3"}),
        ("--optlevel=2", {"optlevel": "2"}),
        ("--inline-weights-neff", {"inline_weights": True}),
        ("--no-inline-weights", {"inline_weights": False}),
        ("--instance_type inf2", {"target": "inf2"}),
        ("--unet my/unet", {"unet_id": "my/unet"}),
        ("--unet-id my/unet", {"unet_id": "my/unet"}),
        ("-o rounding=3 -o name=a=b", {"rounding": "3", "name": "a=b"}),
        ("-o lora-ids=a -o lora-ids=b", {"lora_ids": ["a", "b"]}),
        ("--rounding 3 --tide-height 4,8", {"rounding": "3", "tide_height": "4,8"}),
        (
            "--no-cache --force --static --dynamic_batch_size",
            {"cache": False, "force": True, "static": True, "dynamic_batch_size": True},
        ),
        ("--trust-remote-code --revision main", {"trust_remote_code": True, "revision": "main"}),
    ],
)
def test_spellings(words, expected):
    """Including those of `optimum-cli export neuron`."""
    assert read(*shlex.split(words)) == expected


def test_plugin_option_without_value():
    with pytest.raises(UsageError, match="-o takes NAME=VALUE"):
        read("-o", "rounding")


@pytest.mark.parametrize("options_class", [CompileOptions, SourceOptions])
def test_every_option_of_the_core_is_an_argument(options_class):
    """With its default in the help, where it has one that says something."""
    text = " ".join(build_parser("compile").format_help().split())
    for name, schema in json_schema(options_class)["properties"].items():
        assert f"--{name.replace('_', '-')}" in text
        assert " ".join(schema["description"].split()) in text
    assert "Default: 2." in text


def _sizes() -> st.SearchStrategy:
    size = st.integers(1, 4096)
    return size | st.lists(size, min_size=1, max_size=3)


_GIVEN = st.fixed_dictionaries(
    {},
    optional={
        **{name: _sizes() for name in SHAPE_NAMES},
        "optlevel": st.sampled_from([1, 2, 3]),
        "auto_cast": st.sampled_from(["none", "matmul", "all"]),
        "auto_cast_type": st.sampled_from(["bf16", "fp16"]),
        "static": st.booleans(),
        "dynamic_batch_size": st.booleans(),
        "inline_weights": st.none() | st.booleans(),
        "validate": st.booleans(),
        "cache": st.booleans(),
        "atol": st.none() | st.floats(0, 1),
        "compiler_workdir": st.none() | st.sampled_from(["work", "with space", "/a/b_c"]),
        "target": st.none() | st.sampled_from(["inf2", "trn1"]),
        "jobs": st.integers(1, 8),
        "revision": st.none() | st.sampled_from(["main", "v1_0", "refs/pr/1"]),
        "subfolder": st.none() | st.just("my_unet"),
        "trust_remote_code": st.booleans(),
        "rounding": st.integers(0, 9),
    },
)


@settings(max_examples=200, deadline=None)
@given(
    _GIVEN,
    st.sampled_from(["tide.level-prediction", "tide.level-prediction@acme-tides"]),
    st.sampled_from(["tide", "ebb"]),
)
def test_rebuild_command_means_the_same(values, key, architecture):
    """The command in a manifest gives the compile the same plugin, shapes and options that it had."""
    source = Source(model="some model", path=None, config={"model_type": architecture}, options=SourceOptions())
    program, command, *words = shlex.split(rebuild_command(source, task_word(source, key), "cpu", values, "my output"))
    assert (program, command) == ("neuronkit", "compile")
    arguments = build_parser("compile").parse(words)
    assert (arguments.model, arguments.output, arguments.backend) == ("some model", "my output", "cpu")
    assert arguments.task == (key.removeprefix("tide.") if architecture == "tide" else key)
    assert resolve_key(source, arguments.task) == key
    assert split_options(collect(arguments), TideOptions) == split_options({**values, "force": True}, TideOptions)


class Shade(Enum):
    """Of something."""

    DARK = "dark"
    LIGHT = "light"


@attrs.frozen(kw_only=True)
class Shaded:
    """Options whose values are no plain text."""

    shade: Shade = option(Shade.DARK)
    shades: list[Shade] = option(attrs.Factory(list))
    by_name: dict[str, Shade | Path] = option(attrs.Factory(dict))
    words: list[str] = option(("a",))


@pytest.mark.parametrize(
    "values",
    [
        {"shade": Shade.LIGHT},
        {"shades": [Shade.LIGHT, Shade.DARK]},
        {"by_name": {"sea": Shade.LIGHT, "land": Path("x")}},
        {"words": ["one, or two", "three"]},
        {"words": []},
    ],
    ids=str,
)
def test_rebuild_command_of_other_values(values):
    """What a program gave is spelled so that the command line reads the same."""
    source = Source(model="m", path=None, config={}, options=SourceOptions())
    words = shlex.split(rebuild_command(source, "level-prediction", "cpu", values, Path("out")))
    arguments = build_parser("compile").parse(words[2:])
    assert split_options(collect(arguments), Shaded).plugin == split_options(values, Shaded).plugin


def test_artifact(cli, checkpoint, tmp_path):
    """stdout has the directory and nothing else; stderr says what happens."""
    output = tmp_path / "out"
    ended = cli(
        "compile", "--model", checkpoint, "--batch_size=1", "--sequence_length", "16,32", "--static", "-O1", output
    )
    assert (ended.status, ended.out) == (0, f"{output}\n")
    assert ended.err.splitlines()[0].startswith("bert.question-answering from neuronkit ")
    assert "validated: max abs difference" in ended.err
    manifest = open_artifact(output).manifest
    assert manifest.key == "bert.question-answering"
    assert manifest.shapes == {"batch_size": [1], "sequence_length": [16, 32]}
    assert [bucket.sizes for bucket in manifest.graphs[0].buckets] == [
        {"batch": 1, "sequence": 16},
        {"batch": 1, "sequence": 32},
    ]
    assert (manifest.options["optlevel"], manifest.options["static"]) == (1, True)


def test_quiet_and_unvalidated(cli, checkpoint, tmp_path):
    ended = cli("compile", "-m", checkpoint, "-O1", "-q", "--disable-validation", tmp_path / "out")
    assert (ended.status, ended.err) == (0, "")
    assert open_artifact(tmp_path / "out").manifest.validation.status == "not run (disabled)"


def test_plugin_options(cli, tide, tide_checkpoint, tmp_path):
    """By name or with -o, of a plugin that a program registered."""
    for number, words in enumerate((["--rounding", "2"], ["-o", "rounding=2"])):
        output = tmp_path / str(number)
        shapes = ["--task", "level-prediction", "--sequence-length", "8", "-O1"]
        assert cli("compile", "-m", tide_checkpoint, *shapes, *words, output).status == 0
        assert open_artifact(output).manifest.plugin_options["rounding"] == 2


def test_wrong_options_are_all_named_at_once(cli, checkpoint, tmp_path):
    """Exit status 2, and nothing written."""
    ended = cli("compile", "-m", checkpoint, "--optlevel", "7", "--batch-sise", "1", "--atol", "x", tmp_path / "out")
    assert (ended.status, ended.out) == (2, "")
    assert "optlevel: must be one of 1, 2, 3 (got 7)." in ended.err
    assert "atol: must be a number (got 'x')." in ended.err
    assert list(tmp_path.iterdir()) == []


def test_unknown_option_has_a_suggestion(cli, checkpoint, tmp_path):
    ended = cli("compile", "-m", checkpoint, "--batch-sise", "1", "-O1", tmp_path / "out")
    assert ended.status == 2
    assert "batch_sise: unknown option. Did you mean batch_size?" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_output_that_is_not_empty(cli, checkpoint, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    ended = cli("compile", "-m", checkpoint, "-O1", tmp_path)
    assert ended.status == 1
    assert f"{tmp_path} is not empty. Try: --force" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_missing_model(cli, tmp_path):
    ended = cli("compile", "-m", tmp_path / "nowhere", tmp_path / "out")
    assert ended.status == 1
    assert "nowhere" in ended.err
    assert "Traceback" not in ended.err
    assert not (tmp_path / "out").exists()


def test_unknown_task_names_what_there_is(cli, checkpoint, tmp_path):
    ended = cli("compile", "-m", checkpoint, "--task", "question-answring", tmp_path / "out")
    assert ended.status == 1
    assert "bert.question-answering" in ended.err


@pytest.mark.parametrize("words", [["out"], ["--model", "m"]])
def test_missing_words(cli, words):
    ended = cli("compile", *words)
    assert ended.status == 2
    assert "required" in ended.err


def test_names_of_options_are_not_shapes():
    """The one namespace of the command holds each name once."""
    assert set(SHAPE_NAMES).isdisjoint([*names(CompileOptions), *names(SourceOptions)])
