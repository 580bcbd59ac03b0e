"""The pages of options and of environment variables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from neuronkit.backends.neuron.flags import RECIPES
from neuronkit.manager import make_manager, options_class
from neuronkit.options import CompileOptions, SourceOptions, json_schema
from neuronkit.plugins import get_registry
from neuronkit.shape_names import AXES_OF_SHAPES
from tools.reference.text import module_docstrings, page, prose, table

ROOT = Path(__file__).parents[2]
SHAPES = """
## Shapes

A shape is a number, or several with commas between (a list in Python): one bucket for each combination. `height` and
`width` pair up. A plugin may declare axes of its own; they
are given by their names, which must not be those of options.
"""
DEFAULTS = """
`batch_size` is 1 and `sequence_length` the smaller of 512 and what model and tokenizer allow, unless the plugin says
otherwise: a causal language model takes its number of positions,
`height` and `width` are those that the checkpoint was trained for, `num_choices` has no default.
"""
INTRO = """
The same names everywhere: `neuronkit compile --auto-cast matmul`, `neuronkit.compile(..., auto_cast="matmul")`,
`NeuronModelForX.from_pretrained(..., export=True, auto_cast="matmul")`.
A name that is neither a shape nor an option of the core or of the plugin is an error with a suggestion; all errors
are listed at once, but for those of sizes that only the loaded model can tell.
"""
PLUGIN = """
## Options of the built-in plugins

*compile*: given when compiling. *call*: given in a call, `neuronkit run --top-k 3` or `pipe(..., top_k=3)`. *both*:
what was given when compiling is the default of calls.
`neuronkit list-plugins -v --json` prints the same, for installed plugins too.
"""
VARIABLES = ("registry/neuronkit_registry/environment.py", "core/neuronkit/environment.py")
"""The modules that read variables, and describe them."""
OTHERS = """
## Variables of others

Read, never set: `NEURON_RT_VISIBLE_CORES`, `NEURON_RT_NUM_CORES` and `NEURON_LOGICAL_NC_CONFIG` (placement on Neuron
cores, see the [guide](../neuron.md)), `CXX` (the compiler of the cpu backend), `HF_TOKEN` and `HF_HUB_OFFLINE` (by
`huggingface_hub`), `XDG_CACHE_HOME` (the default cache).

Set while something compiles: `TORCHINDUCTOR_CACHE_DIR`, by the cpu backend, to a directory below the cache;
`NEURON_FUSE_SOFTMAX=1`, for the compiler's own process, where the component is of the kind {fused};
`NEURON_PLATFORM_TARGET_OVERRIDE`, for that process too, where this machine has no Neuron cores of the target's family, or
the variable is set already, and `NEURON_CC_FLAGS` is taken away from it; `TORCH_NEURONX_NEFF_CACHE_DIR`, by neuron-native,
to the directory where it gathers the binaries. When neuron-native loads, it reads this one and copies the artifact's
binaries to where it points.
"""


def render_options() -> str:
    """Return the page of options."""
    shapes = table(["shape", "axis"], [[f"`{name}`", f"`{axis}`"] for name, axis in AXES_OF_SHAPES.items()])
    parts = [SHAPES, shapes, DEFAULTS]
    parts += ["## Options of the core", _options(CompileOptions, stages=False)]
    parts += ["## Where the checkpoint is found", _options(SourceOptions, stages=False), PLUGIN]
    for title, kind in plugin_options().items():
        parts += [f"### {title}", _options(kind, stages=True)]
    return page("Options", INTRO, *parts)


def plugin_options() -> dict[str, type]:
    """Return the options classes of the built-in plugins, by the keys that share them."""
    found: dict[type, list[str]] = {}
    seen: dict[str, type] = {}
    registry = get_registry()
    for record in registry.records():
        if record.package == "neuronkit":
            if record.target not in seen:
                plugin = registry.resolve(f"{record.key}@neuronkit").plugin
                seen[record.target] = options_class(make_manager(plugin).hook)
            found.setdefault(seen[record.target], []).append(record.key)
    return {_title(keys): kind for kind, keys in found.items()}


def _title(keys: list[str]) -> str:
    tasks = sorted({key.partition(".")[2] for key in keys})
    architectures = sorted({key.partition(".")[0] for key in keys})
    images = {"text-to-image", "image-to-image", "inpainting"}
    return ", ".join(architectures) if set(tasks) <= images else ", ".join(tasks)


def _options(kind: type, *, stages: bool) -> str:
    schema = json_schema(kind)
    rows = []
    for name, entry in schema["properties"].items():
        default = "required" if name in schema["required"] else _value(entry.get("default"))
        row = [f"`{name}`", _type(entry), default, entry.get("description", "")]
        rows.append([*row[:3], entry["x-stage"] or "both", row[3]] if stages else row)
    headers = ["option", "values", "default", *(["given"] if stages else []), "meaning"]
    return table(headers, rows)


def _type(entry: dict[str, Any]) -> str:
    if "enum" in entry:
        return ", ".join(f"`{value}`" for value in entry["enum"] if value is not None)
    kinds = entry.get("type", "")
    names = [kinds] if isinstance(kinds, str) else list(kinds)
    words = {"integer": "whole number", "string": "text", "boolean": "true, false", "array": "list", "null": ""}
    words["object"] = "mapping"
    found = ", ".join(word for name in names if (word := words.get(name, name)))
    if "anyOf" in entry:
        found = ", ".join(dict.fromkeys(word for one in entry["anyOf"] if (word := _type(one))))
    limits = {"minimum": "at least", "maximum": "at most"}
    return ", ".join([found, *(f"{word} {entry[limit]:g}" for limit, word in limits.items() if limit in entry)]).strip(
        ", "
    )


def _value(value: Any) -> str:
    if value is None:
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def variables() -> dict[str, str]:
    """Return what every variable means."""
    found: dict[str, str] = {}
    for file in VARIABLES:
        text = module_docstrings(ROOT / file)
        for names, meaning in re.findall(r"^((?:``\w+``(?:, )?)+): (.*(?:\n(?!``|\n).+)*)", text, re.MULTILINE):
            found[names.strip("`")] = prose(meaning)
    return dict(sorted(found.items()))


def render_environment() -> str:
    """Return the page of environment variables."""
    rows = [[f"`{name}`", meaning[:1].upper() + meaning[1:]] for name, meaning in variables().items()]
    intro = (
        "Every variable that neuronkit reads. Those of discovery are read when a registry is first used and when it is "
        "refreshed, never at import."
    )
    fused = [f"`{kind}`" for kind, recipe in RECIPES.items() if recipe.fuse_softmax]
    others = OTHERS.format(fused=f"{', '.join(fused[:-1])} or {fused[-1]}")
    return page("Environment variables", intro, table(["variable", "meaning"], rows), others)
