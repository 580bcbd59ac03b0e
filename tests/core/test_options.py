"""One set of keywords: shapes, the core's options, the source's, the plugin's."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import attrs
import numpy as np
import pytest

from neuronkit.errors import OptionError
from neuronkit.options import (
    CompileOptions,
    NoOptions,
    SourceOptions,
    as_chosen,
    as_json,
    build,
    json_schema,
    names,
    option,
    split_options,
    unknown_shape_error,
)


class Colour(Enum):
    """Of something."""

    BLUE = "blue"
    GREEN = "green"


@attrs.frozen(kw_only=True)
class Options:
    """The options of some plugin."""

    folder: Path | None = option(None, stage="compile", help="Where.")
    mode: Literal["fast", "slow"] = option("fast", stage="compile")
    steps: int = option(4, minimum=1, maximum=8)
    scales: list[float] = option(attrs.Factory(list))
    spans: tuple[int, ...] = option((1,), stage="call")
    place: tuple[str, int] = option(("en", 0), stage="call")
    top_k: int | None = option(1, stage="call")
    quiet: bool = False


@attrs.frozen(kw_only=True)
class Containers:
    """Options of several values."""

    spans: tuple[int, ...] = option((1,))
    place: tuple[str, int] = option(("en", 0))
    colours: Mapping[str, Colour] = option(attrs.Factory(dict))
    labels: dict[int, str] | None = option(None)
    words: Sequence[str] = option(())
    anything: list = option(attrs.Factory(list))


@attrs.frozen(kw_only=True)
class Strict:
    """A plugin that needs a value and checks two together."""

    token: str = option(help="Needed.")
    low: int = option(0)
    high: int = option(9)

    def __attrs_post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low must not be above high.")


def test_every_keyword_finds_its_place():
    """One dict is told apart, values in Python or as typed."""
    parsed = split_options(
        {
            "batch_size": 2,
            "sequence_length": "16,32",
            "depth": [3, 5],
            "optlevel": "1",
            "auto_cast": "matmult",
            "auto_cast_type": "bfloat16",
            "inline_weights": "yes",
            "atol": "1e-3",
            "revision": "main",
            "folder": "some/where",
            "scales": "0.5,2",
            "quiet": True,
        },
        Options,
    )
    assert parsed.shapes == {"batch_size": [2], "sequence_length": [16, 32], "depth": [3, 5]}
    assert parsed.unknown_shapes == ("depth",)
    assert parsed.compile == CompileOptions(optlevel=1, auto_cast="matmul", inline_weights=True, atol=1e-3)
    assert parsed.source == SourceOptions(revision="main")
    assert parsed.plugin == Options(folder=Path("some/where"), scales=[0.5, 2.0], quiet=True)


@pytest.mark.parametrize("none", [None, "none", "None"])
def test_none_is_no_lower_precision(none):
    """As optimum-neuron has it."""
    given = {"auto_cast": none, "auto_cast_type": none if none != "none" else None}
    assert split_options(given, NoOptions).compile == CompileOptions()


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("instance_type", "inf2", "instance_type: unknown option. Did you mean target?"),
        ("use_auth_token", True, "use_auth_token: unknown option. Did you mean token?"),
        (
            "cache_dir",
            "here",
            "cache_dir: unknown option. Try: HF_HOME=DIR for the hub's files, NEURONKIT_CACHE=DIR for compiled graphs.",
        ),
        (
            "force_download",
            True,
            "force_download: unknown option. Try: without it; the hub is asked for what has changed.",
        ),
        ("disable_neuron_cache", True, "disable_neuron_cache: unknown option. Try: cache=False (--no-cache)."),
        (
            "library_name",
            "transformers",
            "library_name: unknown option. "
            "Try: without it; a checkpoint's modules.json says that it is a sentence transformer.",
        ),
        (
            "device_ids",
            [0, 1],
            "device_ids: unknown option. A compiled model takes CPU tensors. "
            "Try: without it; placement of neuronkit.load chooses the core of a Neuron device.",
        ),
        (
            "neuron_config",
            {},
            "neuron_config: unknown option. Try: its fields by name (batch_size=1, sequence_length=128).",
        ),
        (
            "attn_implementation",
            "sdpa",
            "attn_implementation: unknown option. What attention runs as is settled by the compiler. Try: without it.",
        ),
    ],
)
def test_names_of_other_libraries(name, value, line):
    """Refused, with what to type instead."""
    with pytest.raises(OptionError) as caught:
        split_options({name: value}, NoOptions)
    assert str(caught.value) == line
    if name != "instance_type":
        with pytest.raises(OptionError, match=re.escape(line.partition(". ")[2])):
            build(SourceOptions, {name: value}, "call")


@pytest.mark.parametrize("name", ["num_cores", "tensor_parallel_size"])
def test_cores_of_other_libraries(name):
    """Their names look like those of a size, which are known only with the plugin."""
    assert unknown_shape_error(name, ["batch_size"]) == (
        f"{name}: unknown option. A model is on one core. Try: without it; one process for each core serves more calls."
    )


def test_before_the_plugin_is_known():
    """Its options and shapes pass unchecked, the core's do not."""
    parsed = split_options({"folder": 1, "depth": "x", "revision": "main"}, None)
    assert parsed.source.revision == "main"
    with pytest.raises(OptionError, match="optlevel: must be one of 1, 2, 3"):
        split_options({"folder": 1, "optlevel": 9}, None)


def test_all_mistakes_at_once():
    """A line for each, in one error that is a ValueError."""
    given = {
        "batch_size": 0,
        "sequence_length": "16,",
        "optlevel": 4,
        "auto_cast": "some",
        "static": "maybe",
        "jobs": 0,
        "atol": "-1",
        "mode": "medium",
        "steps": 9,
        "scales": 3,
        "optlvel": True,
        "zzz": "text",
    }
    with pytest.raises(ValueError, match="optlevel") as raised:
        split_options(given, Options)
    assert type(raised.value) is OptionError
    lines = sorted(str(raised.value).splitlines())
    unknown = next(line for line in lines if line.startswith("zzz"))
    lines.remove(unknown)
    assert unknown.startswith("zzz: unknown option. Known: atol, auto_cast, auto_cast_type, batch_size, ")
    assert lines == [
        "atol: must be at least 0 (got -1.0).",
        "auto_cast: must be one of none, matmul, all (got 'some').",
        "batch_size: sizes must be at least 1 (got 0).",
        "jobs: must be at least 1 (got 0).",
        "mode: must be one of fast, slow (got 'medium').",
        "optlevel: must be one of 1, 2, 3 (got 4).",
        "optlvel: unknown option. Did you mean optlevel?",
        "scales: must be a list (got 3).",
        "sequence_length: must be a size or a list of sizes (got '16,').",
        "static: must be true or false (got 'maybe').",
        "steps: must be at most 8 (got 9).",
    ]


@pytest.mark.parametrize("value", ["8", 8, np.int64(8), [8], (8,), "8,16", [16, 8]])
def test_sizes(value):
    """An int, a list, or either as text."""
    assert 8 in split_options({"height": value}, None).shapes["height"]


@pytest.mark.parametrize("value", [0, -1, [], "", "a", 1.5, True, [1, "x"], {"a": 1}])
def test_wrong_sizes(value):
    """Nothing else is a size."""
    with pytest.raises(
        OptionError, match=r"^batch_size: (sizes must be at least 1|must be a size or a list of sizes) \(got "
    ):
        split_options({"batch_size": value}, None)


def test_a_shape_that_is_none_counts_as_not_given():
    """As argument parsers hand it over."""
    assert split_options({"batch_size": None}, NoOptions).shapes == {}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("static", "on", True),
        ("static", "0", False),
        ("inline_weights", "none", None),
        ("inline_weights", False, False),
        ("compiler_workdir", Path("x"), "x"),
        ("jobs", "3", 3),
        ("jobs", np.int64(3), 3),
        ("atol", 1, 1.0),
        ("atol", np.float32(0.5), 0.5),
        ("auto_cast_type", "float16", "fp16"),
        ("auto_cast", "matmul", "matmul"),
    ],
)
def test_values(name, value, expected):
    """Values convert to the declared type, and nothing is lost."""
    found = getattr(build(CompileOptions, {name: value}, "compile"), name)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("spans", "1,2,3", (1, 2, 3)),
        ("spans", [], ()),
        ("place", "fr,7", ("fr", 7)),
        ("place", ["7", 7], ("7", 7)),
        ("colours", {"sea": "blue"}, {"sea": Colour.BLUE}),
        ("colours", '{"sea": "GREEN"}', {"sea": Colour.GREEN}),
        ("labels", {"1": "one"}, {1: "one"}),
        ("labels", None, None),
        ("words", "one,two", ("one", "two")),
        ("words", ["one"], ("one",)),
        ("anything", "1,b", ["1", "b"]),
    ],
)
def test_containers(name, value, expected):
    """All items of one type, or each of its own."""
    made = build(Containers, {name: value}, "call")
    assert getattr(made, name) == expected
    assert build(Containers, json.loads(json.dumps(as_json(made))), "call") == made


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("spans", "1,x", "spans: must be a whole number (got 'x')."),
        ("place", "7,fr", "place: must be a whole number (got 'fr')."),
        ("place", "fr", "place: must be a list of 2 (got 'fr')."),
        ("place", ("fr", 1, 2), "place: must be a list of 2 (got ('fr', 1, 2))."),
        ("colours", "sea=blue", "colours: must be a mapping, as text {\"name\": value} (got 'sea=blue')."),
        ("colours", ["sea"], "colours: must be a mapping, as text {\"name\": value} (got ['sea'])."),
        ("labels", {"one": "1"}, "labels: must be a whole number (got 'one')."),
    ],
)
def test_wrong_containers(name, value, message):
    """As for other values, and there must be as many as are declared."""
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        build(Containers, {name: value}, "call")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("static", 1, "static: must be true or false (got 1)."),
        ("jobs", True, "jobs: must be a whole number (got True)."),
        ("jobs", "1.5", "jobs: must be a whole number (got '1.5')."),
        ("atol", "small", "atol: must be a number (got 'small')."),
        ("atol", [1], "atol: must be a number (got [1])."),
        ("atol", "nan", "atol: must be a number (got 'nan')."),
        ("target", 3, "target: must be text (got 3)."),
        ("optlevel", None, "optlevel: must be a whole number (got None)."),
    ],
)
def test_wrong_values(name, value, message):
    """The message says what it must be and what it was."""
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        build(CompileOptions, {name: value}, "compile")


def test_stages():
    """An option of one stage is refused at the other, with the reason."""
    assert names(Options, "compile") == ["folder", "mode", "steps", "scales", "quiet"]
    assert names(Options, "call") == ["steps", "scales", "spans", "place", "top_k", "quiet"]
    assert build(Options, {"top_k": "none"}, "call").top_k is None
    with pytest.raises(
        OptionError, match=r"^folder: accepted at compile time only\.\ntopk: unknown option\. Did you mean top_k\?$"
    ):
        build(Options, {"folder": "x", "topk": 1}, "call")
    with pytest.raises(OptionError, match=r"^top_k: accepted in calls only\.$"):
        build(Options, {"top_k": 1}, "compile")


def test_a_call_option_at_compile_time_says_so():
    """A compile that is given one says where it belongs, instead of taking it for a size."""
    with pytest.raises(OptionError, match=r"^top_k: accepted in calls only\.$"):
        split_options({"top_k": 1}, Options)


def test_required_option_and_the_class_own_checks():
    """A missing one and what the class itself refuses are lines like the others."""
    with pytest.raises(OptionError, match=r"^token: required\.$"):
        build(Strict, {}, "call")
    with pytest.raises(OptionError, match=r"^low must not be above high\.$"):
        build(Strict, {"token": "x", "low": 3, "high": 2}, "compile")
    with pytest.raises(OptionError, match=r"^zzz: unknown option\.$"):
        build(NoOptions, {"zzz": 1}, "call")


def test_as_json():
    """What goes into a manifest is JSON, paths as text."""
    assert json.loads(json.dumps(as_json(Options(folder=Path("a/b"))))) == {
        "folder": "a/b",
        "mode": "fast",
        "steps": 4,
        "scales": [],
        "spans": [1],
        "place": ["en", 0],
        "top_k": 1,
        "quiet": False,
    }


@pytest.mark.parametrize(
    ("made", "chosen"),
    [
        (Options(), {}),
        (Options(steps=5, scales=[0.5], top_k=3), {"steps": 5, "scales": [0.5]}),
        (Strict(token="x", high=8), {"token": "x", "high": 8}),
        (CompileOptions(cache=False), {"cache": False}),
    ],
)
def test_what_was_chosen(made, chosen):
    """Of what a manifest recorded only what says something."""
    assert as_chosen(type(made), as_json(made, "compile")) == chosen


@pytest.mark.parametrize("options_class", [CompileOptions, SourceOptions, Options, Strict, NoOptions])
def test_schema(options_class):
    """A schema is JSON, names every field, and its defaults satisfy it."""
    schema = json.loads(json.dumps(json_schema(options_class)))
    assert set(schema) == {"$schema", "title", "type", "properties", "required", "additionalProperties"}
    assert (schema["type"], schema["additionalProperties"]) == ("object", False)
    assert list(schema["properties"]) == names(options_class)
    for name, entry in schema["properties"].items():
        assert set(entry) <= {
            "type",
            "anyOf",
            "items",
            "prefixItems",
            "minItems",
            "maxItems",
            "enum",
            "minimum",
            "maximum",
            "default",
            "description",
            "x-stage",
        }
        assert ("default" in entry) or name in schema["required"] or name == "scales"
        if "default" in entry:
            assert complies(entry["default"], entry), f"the default of {name} breaks its own schema"


def test_schema_of_some_fields():
    """Types, limits, choices and stages are there."""
    properties = json_schema(Options)["properties"]
    assert properties["folder"] == {
        "type": ["string", "null"],
        "description": "Where.",
        "default": None,
        "x-stage": "compile",
    }
    assert properties["mode"] == {"enum": ["fast", "slow"], "default": "fast", "x-stage": "compile"}
    assert properties["steps"] == {"type": "integer", "default": 4, "minimum": 1, "maximum": 8, "x-stage": None}
    assert properties["scales"] == {"type": "array", "items": {"type": "number"}, "x-stage": None}
    assert properties["spans"] == {
        "type": "array",
        "items": {"type": "integer"},
        "default": [1],
        "x-stage": "call",
    }
    assert properties["place"] == {
        "type": "array",
        "prefixItems": [{"type": "string"}, {"type": "integer"}],
        "minItems": 2,
        "maxItems": 2,
        "default": ["en", 0],
        "x-stage": "call",
    }
    assert properties["quiet"] == {"type": "boolean", "default": False, "x-stage": None}
    assert json_schema(Strict)["required"] == ["token"]


def complies(value: Any, schema: dict[str, Any]) -> bool:
    """Tell whether a value satisfies the parts of JSON schema that options use."""
    kinds = {"boolean": bool, "integer": int, "number": (int, float), "string": str, "null": type(None), "array": list}
    wanted = schema.get("type", [])
    wanted = [wanted] if isinstance(wanted, str) else wanted
    fits = any(isinstance(value, kinds[kind]) and (kind == "boolean") >= isinstance(value, bool) for kind in wanted)
    if wanted and not fits:
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    return value is None or schema.get("minimum", value) <= value <= schema.get("maximum", value)


def test_schema_of_mappings():
    schema = json_schema(Containers)["properties"]
    assert schema["colours"] == {
        "type": "object",
        "additionalProperties": {"enum": ["blue", "green"]},
        "x-stage": None,
    }
    assert schema["words"] == {"type": "array", "items": {"type": "string"}, "default": [], "x-stage": None}
