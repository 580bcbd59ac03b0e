"""How words are read: spelling, values, and options that only a plugin knows."""

from __future__ import annotations

import argparse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuronkit.cli.parser import CommandParser, parse_value


@pytest.fixture
def parser() -> CommandParser:
    """A command with a bit of everything."""
    return make_parser()


def make_parser(undeclared: bool = True) -> CommandParser:
    parser = CommandParser(prog="neuronkit try", summary="Try.")
    parser.add_argument("output", metavar="OUTPUT")
    parser.add_argument("-m", "--model-name")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--static", action=argparse.BooleanOptionalAction)
    if undeclared:
        parser.take_undeclared()
    return parser


def error_of(parser, words, capsys) -> str:
    with pytest.raises(SystemExit, match="2"):
        parser.parse(words)
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    "words", [["--model_name", "x"], ["--model-name", "x"], ["--model_name=x"], ["-m", "x"], ["-mx"]]
)
def test_dash_and_underscore_are_alike(parser, words):
    assert parser.parse([*words, "out"]).model_name == "x"


@pytest.mark.parametrize("value", ["-", "-1", "-0.5", "-hello there", "a=b", "", "under_score", "--not an option"])
def test_values_keep_their_characters(parser, value):
    """A value may look like an option as long as it is attached or has a space; its underscores are its own."""
    assert parser.parse(["out", f"--model-name={value}"]).model_name == value
    assert parser.parse(["out", f"--some={value}"]).undeclared == {"some": value}
    if value != "":
        assert parser.parse(["out", "--model-name", value]).model_name == value
        assert parser.parse(["out", "--some", value]).undeclared == {"some": value}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("--static", True),
        ("--no-static", False),
        ("--no_static", False),
        ("--static=true", True),
        ("--static=0", False),
        ("--no-static=false", True),
    ],
)
def test_switches_take_a_value_when_it_is_attached(parser, word, expected):
    assert parser.parse([word, "out"]).static is expected


def test_switch_of_another_value(parser, capsys):
    assert "--static: must be true or false (got 'maybe')" in error_of(parser, ["--static=maybe", "out"], capsys)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--top-k", "3"], {"top_k": "3"}),
        (["--top_k=3"], {"top_k": "3"}),
        (["--flag"], {"flag": True}),
        (["--no-flag"], {"flag": False}),
        (["--no-repeat-size", "3"], {"no_repeat_size": "3"}),
        (["--flag", "--other", "x"], {"flag": True, "other": "x"}),
        (["--size", "-3"], {"size": "-3"}),
        (["--id", "a", "--id", "b", "--id=c"], {"id": ["a", "b", "c"]}),
        (["--scales", '{"s1": 0.9}'], {"scales": {"s1": 0.9}}),
        (["--ids=[1, 2]"], {"ids": [1, 2]}),
        (["--broken={x"], {"broken": "{x"}),
    ],
)
def test_undeclared_options(parser, words, expected):
    """They go to the plugin, wherever they stand."""
    assert parser.parse(["out", *words]).undeclared == expected
    if not words[-1].startswith("--") or "=" in words[-1]:
        parsed = parser.parse([*words, "out"])
        assert (parsed.undeclared, parsed.output) == (expected, "out")


def test_last_word_is_the_positional_after_a_plugins_switch(parser):
    """Otherwise `neuronkit compile --model M --some-switch OUTPUT` would need a second way to be written."""
    parsed = parser.parse(["--top-k", "3", "--flag", "out"])
    assert (parsed.output, parsed.undeclared) == ("out", {"top_k": "3", "flag": True})
    assert parser.parse(["--no-flag", "out"]).undeclared == {"flag": False}


def test_missing_positional_names_what_took_its_place(parser, capsys):
    """A number is a value, and a word in the middle may be one."""
    message = error_of(parser, ["--top-k", "3"], capsys)
    assert "OUTPUT is missing: --top-k took '3' for its value." in message
    message = error_of(parser, ["--flag", "out", "--json"], capsys)
    assert "Write --flag=true if it has none, or OUTPUT first." in message


def test_missing_positional(parser, capsys):
    assert "the following arguments are required: OUTPUT" in error_of(parser, ["--json"], capsys)


def test_words_behind_two_dashes_are_positional(parser):
    assert parser.parse(["--", "--out"]).output == "--out"


def test_unknown_option_has_a_suggestion(capsys):
    """Where no plugin takes options, a misspelt one is wrong usage."""
    parser = make_parser(undeclared=False)
    assert "there is no option --modle_name. Did you mean --model-name?" in error_of(
        parser, ["o", "--modle_name=x"], capsys
    )
    assert "there is no option --zzz." in error_of(parser, ["o", "--zzz"], capsys)
    assert "unexpected: second" in error_of(parser, ["o", "second"], capsys)


def test_options_are_not_abbreviated(parser):
    """A plugin may have an option that begins like one of the core's."""
    assert parser.parse(["out", "--model", "x"]).undeclared == {"model": "x"}


NAMES = st.from_regex(r"[a-z][a-z0-9]*(_[a-z0-9]+){0,2}", fullmatch=True).filter(
    lambda name: name not in ("json", "static", "model_name", "help", "debug") and not name.startswith("no_")
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(NAMES, st.text(st.characters(codec="utf-8", exclude_characters="\0"))), st.booleans())
def test_attached_values_survive(values, underscores):
    """Whatever a value holds, `--name=value` hands it on; only JSON lists and objects are read."""
    words = [f"--{name if underscores else name.replace('_', '-')}={value}" for name, value in values.items()]
    parsed = make_parser().parse(["out", *words])
    assert parsed.undeclared == {name: parse_value(value) for name, value in values.items()}
