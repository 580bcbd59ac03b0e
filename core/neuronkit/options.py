"""
Options: the core's own, a plugin's, and how the one ``**kwargs`` of every entry point is told apart.

Every option of the core and its default stands in `CompileOptions` and `SourceOptions`. A plugin's options are an ordinary
attrs class; `option` adds help, limits and the stage at which a field is accepted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_type_hints

import attrs

from neuronkit.conversion import as_sizes, convert, schema_of, unknown_type
from neuronkit.errors import OptionError
from neuronkit.shape_names import SHAPE_NAMES
from neuronkit_registry.names import closest

Stage = Literal["compile", "call"]
_META = "neuronkit"
_OTHER_NAMES = {"instance_type": "target", "use_auth_token": "token"}
"""What other libraries call an option, where that is too far from its name to be guessed."""
_PLACE = "A compiled model takes CPU tensors. Try: without it; placement of neuronkit.load chooses the core of a Neuron device."
_ONE_CORE = "A model is on one core. Try: without it; one process for each core serves more calls."
_NO_OPTIONS = {
    "attn_implementation": "What attention runs as is settled by the compiler. Try: without it.",
    "cache_dir": "Try: HF_HOME=DIR for the hub's files, NEURONKIT_CACHE=DIR for compiled graphs.",
    "device": _PLACE,
    "device_ids": _PLACE,
    "device_map": _PLACE,
    "disable_neuron_cache": "Try: cache=False (--no-cache).",
    "dtype": "An artifact has the dtype that it was compiled for. Try: auto_cast and auto_cast_type.",
    "force_download": "Try: without it; the hub is asked for what has changed.",
    "library_name": "Try: without it; a checkpoint's modules.json says that it is a sentence transformer.",
    "neuron_config": "Try: its fields by name (batch_size=1, sequence_length=128).",
    "num_cores": _ONE_CORE,
    "tensor_parallel_size": _ONE_CORE,
    "torch_dtype": "An artifact has the dtype that it was compiled for. Try: auto_cast and auto_cast_type.",
}
"""What other libraries take and nothing here does, and what to do instead."""


def option(
    default: Any = attrs.NOTHING,
    *,
    help: str = "",
    stage: Stage | None = None,
    choices: Sequence[Any] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    aliases: Mapping[Any, Any] | None = None,
) -> Any:
    """
    Declare a field of an options class.

    Args:
        default: Without one the option is required.
        help: One sentence for ``--help`` and the JSON schema.
        stage: Where it is accepted; None means at compile time and in every call, where the first sets the second's default.
        choices: The only values allowed.
        minimum: Smallest value allowed.
        maximum: Largest value allowed.
        aliases: Other spellings of values, None among them, with the values that they stand for.
    """
    meta = {
        "help": help,
        "stage": stage,
        "choices": None if choices is None else tuple(choices),
        "minimum": minimum,
        "maximum": maximum,
        "aliases": dict(aliases or {}),
    }
    return attrs.field(default=default, metadata={_META: meta})


@attrs.frozen(kw_only=True)
class CompileOptions:
    """The core's options for compiling."""

    optlevel: int = option(
        2,
        choices=(1, 2, 3),
        help="1 runs the exported program, 2 compiles it, 3 also times several kernels (cpu: with inline_weights).",
    )
    auto_cast: str = option(
        "none",
        choices=("none", "matmul", "all"),
        aliases={"matmult": "matmul", None: "none", "None": "none"},
        help="What runs in lower precision: nothing, matrix products, everything.",
    )
    auto_cast_type: str = option(
        "bf16",
        choices=("bf16", "fp16"),
        aliases={"bfloat16": "bf16", "float16": "fp16", None: "bf16", "None": "bf16"},
        help="The lower precision.",
    )
    static: bool = option(False, help="Fix every axis, as Neuron does, instead of leaving batch and sequence dynamic.")
    dynamic_batch_size: bool = option(False, help="Serve any batch size by splitting it over the compiled one.")
    inline_weights: bool | None = option(
        None,
        help="Freeze the weights into the graphs. By default the plugin decides; apart, all buckets share one copy.",
    )
    compiler_workdir: str | None = option(
        None, help="Directory for the compiler's own files; by default a temporary one."
    )
    validate: bool = option(True, help="Compare every compiled graph with the eager model before writing the artifact.")
    atol: float | None = option(
        None,
        minimum=0,
        help="Largest absolute difference from eager; by default 1e-4 in fp32, in lower precision the plugin's.",
    )
    force: bool = option(False, help="Replace an output directory that is not empty.")
    jobs: int = option(1, minimum=1, help="Graphs that compile at the same time, each in a process of its own.")
    target: str | None = option(None, help="Device to compile for, where the backend has a choice.")
    lnc: int | None = option(
        None, choices=(1, 2), help="Physical Neuron cores in a logical one; only trn2 has a choice."
    )
    compiler_args: str | None = option(None, help="Flags handed to neuronx-cc as they are, after neuronkit's own.")
    cache: bool = option(True, help="Reuse compiled graphs from the cache, and keep new ones there.")
    trust_artifact: bool = option(False, help="Load a downloaded artifact, which holds native code.")


@attrs.frozen(kw_only=True)
class SourceOptions:
    """Where the checkpoint is found."""

    subfolder: str | None = option(None, help="Folder of the checkpoint inside the model.")
    revision: str | None = option(None, help="Branch, tag or commit on the hub.")
    local_files_only: bool = option(False, help="Never ask the hub.")
    token: str | bool | None = option(None, help="Access token for the hub.")
    trust_remote_code: bool = option(False, help="Allow the checkpoint's own Python code to run.")
    config: str | None = option(None, help="Directory with the configuration, where it is not beside the weights.")


@attrs.frozen
class NoOptions:
    """The options of a plugin that has none."""


@attrs.frozen
class Parsed:
    """
    What a caller gave, sorted.

    Args:
        shapes: Sizes by shape name.
        unknown_shapes: The names among them that only an axis of the plugin can explain.
        compile: The core's options.
        source: Where the checkpoint is found.
        plugin: An instance of the plugin's options class.
    """

    shapes: dict[str, list[int]]
    unknown_shapes: tuple[str, ...]
    compile: CompileOptions
    source: SourceOptions
    plugin: Any


def split_options(given: Mapping[str, Any], plugin_class: type | None) -> Parsed:
    """
    Sort the keywords of a compile into shapes, core options, source options and the plugin's.

    Args:
        given: Python values or their spelling on the command line.
        plugin_class: The plugin's options class. None while the plugin is not known yet: then everything but the source options
            and the core's is let through unchecked, and `Parsed.plugin` is empty.

    Raises:
        OptionError: A name is unknown or a value is wrong; the message has a line for each.
    """
    known = {
        **dict.fromkeys(names(SourceOptions), SourceOptions),
        **dict.fromkeys(names(CompileOptions), CompileOptions),
    }
    own = names(plugin_class or NoOptions, "compile")
    sorted_out: dict[type, dict[str, Any]] = {SourceOptions: {}, CompileOptions: {}}
    plugin_given: dict[str, Any] = {}
    shapes: dict[str, list[int]] = {}
    unknown_shapes = []
    problems = []
    for name, value in given.items():
        if name in own:
            plugin_given[name] = value
        elif name in known:
            sorted_out[known[name]][name] = value
        elif name in SHAPE_NAMES:
            if value is not None:
                try:
                    shapes[name] = as_sizes(value)
                except ValueError as error:
                    problems.append(f"{name}: {error}")
        elif plugin_class is not None and name in names(plugin_class):
            problems.append(f"{name}: accepted in calls only.")
        elif plugin_class is not None:
            try:
                shapes[name] = as_sizes(value)
                unknown_shapes.append(name)
            except ValueError:
                problems.append(_unknown(name, [*own, *known, *SHAPE_NAMES]))
    built: list[Any] = []
    for kind, values in ((CompileOptions, sorted_out[CompileOptions]), (SourceOptions, sorted_out[SourceOptions])):
        built.append(_collect(kind, values, "compile", problems))
    plugin = _collect(plugin_class or NoOptions, plugin_given, "compile", problems)
    if problems:
        raise OptionError("\n".join(problems))
    return Parsed(shapes, tuple(unknown_shapes), built[0], built[1], plugin)


def build(
    options_class: type, given: Mapping[str, Any], stage: Stage, *, fixed: Mapping[str, Any] = MappingProxyType({})
) -> Any:
    """
    Make an options instance.

    Args:
        options_class: The class.
        given: Python values or their spelling on the command line.
        stage: Where they are given.
        fixed: What was set by a compile, for the message to whoever gives it again.

    Raises:
        OptionError: A name is unknown or not accepted at this stage, or a value is wrong; the message has a line for each.
    """
    problems: list[str] = []
    accepted = names(options_class, stage)
    values = {}
    for name, value in given.items():
        if name in accepted:
            values[name] = value
        elif name in names(options_class):
            problems.append(
                f"{name}: accepted at compile time only." if stage == "call" else f"{name}: accepted in calls only."
            )
        elif name in fixed:
            problems.append(
                f"{name}: set when the model was compiled ({fixed[name]}). Try: without it, or compile again with {name}={value}."
            )
        else:
            problems.append(_unknown(name, accepted))
    instance = _collect(options_class, values, stage, problems)
    if problems:
        raise OptionError("\n".join(problems))
    return instance


@cache
def find_mistakes(options_class: type) -> tuple[str, ...]:
    """Return what of an options class nobody could give, or record in a manifest, in words."""
    try:
        hints = _hints(options_class)
    except NameError as error:
        return (f"a type of its fields is not there at run time: {error}",)
    found = []
    for field in attrs.fields(options_class):
        if field.name in (*names(CompileOptions), *names(SourceOptions)):
            found.append(f"{field.name} is an option of the core; give it another name")
        elif field.name in SHAPE_NAMES and _meta(field).get("stage") != "call":
            found.append(
                f"{field.name} is a size, which a compile would no longer be given; give it another name, or stage='call'"
            )
        elif not field.init or field.alias != field.name:
            found.append(f"{field.name} is no argument of the class that bears its name; make it a public field")
        elif _meta(field).get("stage") != "call" and (kind := unknown_type(hints.get(field.name, Any))) is not None:
            found.append(
                f"{field.name} is of type {getattr(kind, '__name__', kind)}, which cannot be typed or recorded; use bool, int, "
                "float, str, Path, Literal, an Enum, or lists, tuples, mappings and unions of these, or stage='call'"
            )
    return tuple(found)


def names(options_class: type, stage: Stage | None = None) -> list[str]:
    """Return the names of an options class that are accepted at a stage; None asks for all."""
    return [
        field.name
        for field in attrs.fields(options_class)
        if stage is None or _meta(field).get("stage") in (None, stage)
    ]


def as_json(options: Any, stage: Stage | None = None) -> dict[str, Any]:
    """Return an options instance as JSON-like data; with a stage only what is accepted there."""
    kept = names(type(options), stage)
    values = attrs.asdict(options, value_serializer=lambda _, __, value: _as_json(value))
    return {name: value for name, value in values.items() if name in kept}


def _as_json(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def as_chosen(options_class: type, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return of options that `as_json` made for compiling those that are required, and those that differ from their defaults."""
    required = {
        field.name: recorded[field.name]
        for field in attrs.fields(options_class)
        if field.default is attrs.NOTHING and field.name in recorded
    }
    plain = as_json(build(options_class, required, "compile"))
    return {name: value for name, value in recorded.items() if name in required or value != plain.get(name)}


def json_schema(options_class: type) -> dict[str, Any]:
    """Return the JSON schema (2020-12) of an options class; ``x-stage`` says where an option is accepted, null means both."""
    hints = _hints(options_class)
    properties: dict[str, Any] = {}
    for field in attrs.fields(options_class):
        meta = _meta(field)
        entry = schema_of(hints.get(field.name, Any))
        if meta.get("help"):
            entry["description"] = meta["help"]
        if field.default is not attrs.NOTHING and not isinstance(field.default, attrs.Factory):  # type: ignore[arg-type]
            entry["default"] = list(field.default) if isinstance(field.default, tuple) else _as_json(field.default)
        if meta.get("choices"):
            entry["enum"] = [*meta["choices"], None] if "null" in entry.get("type", ()) else list(meta["choices"])
        for limit in ("minimum", "maximum"):
            if meta.get(limit) is not None:
                entry[limit] = meta[limit]
        entry["x-stage"] = meta.get("stage")
        properties[field.name] = entry
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": options_class.__name__,
        "type": "object",
        "properties": properties,
        "required": [field.name for field in attrs.fields(options_class) if field.default is attrs.NOTHING],
        "additionalProperties": False,
    }


def unknown_shape_error(name: str, known: Sequence[str]) -> str:
    """Return the line for a size that no axis of any graph takes."""
    return _unknown(name, [*known, *names(CompileOptions), *names(SourceOptions)])


def _unknown(name: str, known: Sequence[str]) -> str:
    if name in _NO_OPTIONS:
        return f"{name}: unknown option. {_NO_OPTIONS[name]}"
    other = _OTHER_NAMES.get(name)
    close = other if other in known else closest(name, known)
    hint = f" Did you mean {close}?" if close else f" Known: {', '.join(sorted(set(known)))}." if known else ""
    return f"{name}: unknown option.{hint}"


def _collect(options_class: type, given: Mapping[str, Any], stage: Stage, problems: list[str]) -> Any:
    hints = _hints(options_class)
    values = {}
    before = len(problems)
    for field in attrs.fields(options_class):
        if field.name in given:
            try:
                values[field.name] = _value(field, given[field.name], hints.get(field.name, Any))
            except (ValueError, TypeError) as error:
                problems.append(f"{field.name}: {error}")
        elif field.default is attrs.NOTHING and _meta(field).get("stage") in (None, stage):
            problems.append(f"{field.name}: required.")
    if len(problems) > before:
        return None
    try:
        return options_class(**values)
    except (ValueError, TypeError) as error:
        problems.append(str(error))
        return None


def _value(field: attrs.Attribute[Any], value: Any, hint: Any) -> Any:
    meta = _meta(field)
    value = meta.get("aliases", {}).get(value, value) if value is None or isinstance(value, str) else value
    value = convert(value, hint)
    if value is None:
        return value
    choices, low, high = meta.get("choices"), meta.get("minimum"), meta.get("maximum")
    if choices and value not in choices:
        raise ValueError(f"must be one of {', '.join(map(str, choices))} (got {value!r}).")
    if low is not None and value < low:
        raise ValueError(f"must be at least {low:g} (got {value!r}).")
    if high is not None and value > high:
        raise ValueError(f"must be at most {high:g} (got {value!r}).")
    return value


def _meta(field: attrs.Attribute[Any]) -> Mapping[str, Any]:
    return field.metadata.get(_META, {})


@cache
def _hints(options_class: type) -> dict[str, Any]:
    return get_type_hints(options_class)
