"""
Artifacts that optimum-neuron wrote: one traced graph, and what it was compiled for in the ``neuron`` section of
``config.json``. They are read as they are; nothing is written into them.

Recognised by what the section says, whatever the directory is called. What only its exporter knew (which inputs in which
order, which outputs) is told by the section in some releases and by the task and the architecture in the others.
"""

from __future__ import annotations

import json
import shlex
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neuronkit.artifact.manifest import (
    SCHEMA,
    CompiledBucket,
    CompiledGraphRecord,
    File,
    Manifest,
    PluginRecord,
    SourceRecord,
    Validation,
)
from neuronkit.errors import ArtifactCorruptError, ArtifactMismatchError, SourceError, UnknownTaskError
from neuronkit.export.config import Axis, Input, Output
from neuronkit.shape_names import AXES_OF_SHAPES

EXPORTER = "optimum-neuron"
COMPILER = "neuronx-cc"
_GRAPH = "encoder"
_SENTENCE = "sentence-similarity"
_SENTENCE_MODEL = "transformer"
"""The section's ``model_type`` of what sentence-transformers loaded, whatever its task is called."""
_OUTPUTS: Mapping[str, tuple[str | None, Mapping[str, tuple[Axis, ...]]]] = {
    "feature-extraction": (
        "transformers.modeling_outputs:BaseModelOutputWithPooling",
        {"last_hidden_state": ("batch", "sequence"), "pooler_output": ("batch",)},
    ),
    "fill-mask": ("transformers.modeling_outputs:MaskedLMOutput", {"logits": ("batch", "sequence")}),
    "multiple-choice": (
        "transformers.modeling_outputs:MultipleChoiceModelOutput",
        {"logits": ("batch", "num_choices")},
    ),
    "question-answering": (
        "transformers.modeling_outputs:QuestionAnsweringModelOutput",
        {"start_logits": ("batch", "sequence"), "end_logits": ("batch", "sequence")},
    ),
    _SENTENCE: (None, {"token_embeddings": ("batch", "sequence"), "sentence_embedding": ("batch",)}),
    "text-classification": ("transformers.modeling_outputs:SequenceClassifierOutput", {"logits": ("batch",)}),
    "token-classification": ("transformers.modeling_outputs:TokenClassifierOutput", {"logits": ("batch", "sequence")}),
}
"""By task: the class of the outputs, and the outputs with the axes that vary."""
_OLDER_TASKS = {
    "default": "feature-extraction",
    "masked-lm": "fill-mask",
    "sequence-classification": "text-classification",
}
_WITH_TOKEN_TYPES = frozenset(
    "albert bert convbert deberta deberta-v2 electra flaubert mobilebert roformer xlm".split()
)
"""Architectures whose graphs take ``token_type_ids`` as their third input."""
_WITH_POOLER = frozenset("albert bert camembert esm mobilebert mpnet roberta xlm-roberta".split())
"""Architectures whose graphs return the pooler's output."""
_TYPES_ARE_WORDS = frozenset({"flaubert", "xlm"})
"""Architectures where leaving token types out differs from giving zeros: the graph needs them from the caller."""
_DTYPES = ("int32", "int64")


def section(directory: Path) -> dict[str, Any] | None:
    """Return the ``neuron`` section that optimum-neuron wrote into a directory's ``config.json``, or None."""
    found = _read(directory / "config.json").get("neuron")
    if not isinstance(found, dict) or "neuronkit" in found:
        return None
    return found if "compiler_type" in found or _compiled_files(directory) else None


def read(directory: Path) -> Manifest | None:
    """
    Describe an artifact of optimum-neuron as if it were ours.

    Returns:
        None if the directory holds none.

    Raises:
        ArtifactCorruptError: The section lacks what loading needs, or the compiled file is missing or none.
        ArtifactMismatchError: It is of a kind that cannot be loaded: several components, tensor parallelism, another
            compiler, a task without a plugin.
    """
    found = section(directory)
    if found is None:
        if parts := sorted(path.name for path in _folders(directory) if section(path) is not None):
            config = _read(directory / "model_index.json") or _read(directory / "config.json")
            raise _unsupported(
                directory,
                f"consists of several components ({', '.join(parts)}); neuronkit loads those of one graph",
                config,
            )
        return None
    config = _read(directory / "config.json")
    file = _compiled_file(directory, found, config)
    task, architecture = _task(directory, found, config), str(config.get("model_type", ""))
    _check(directory, found, config, task)
    shapes = {name: [int(found[f"static_{name}"])] for name in _shape_names(task)}
    axes: tuple[Axis, ...] = tuple(AXES_OF_SHAPES[name] for name in shapes)
    if task == "multiple-choice":
        axes = ("batch", "num_choices", "sequence")
    output_class, _ = _OUTPUTS[task]
    bucket = CompiledBucket(
        sizes={AXES_OF_SHAPES[name]: sizes[0] for name, sizes in shapes.items()},
        bounds={},
        entry=file.name,
        files=[File(file.name, "", file.stat().st_size)],
        constants=[],
    )
    graph = CompiledGraphRecord(
        name=_GRAPH,
        kind="encoder",
        inputs=_inputs(directory, found, config, task, axes),
        outputs=_outputs(directory, found, config, task),
        buckets=[bucket],
    )
    return Manifest(
        schema=SCHEMA,
        neuronkit="",
        key=f"{architecture}.{task}",
        plugin=PluginRecord(None, None),
        backend="neuron",
        fingerprint=_fingerprint(found),
        source=SourceRecord(str(config.get("_name_or_path") or "MODEL")),
        shapes=shapes,
        options={
            "auto_cast": found.get("auto_cast") or "none",
            "auto_cast_type": found.get("auto_cast_type") or "bf16",
            "optlevel": int(found.get("optlevel") or 2),
            "dynamic_batch_size": bool(found.get("dynamic_batch_size", False)),
            "inline_weights": bool(found.get("inline_weights_to_neff", True)),
        },
        plugin_options={},
        output_class=output_class,
        graphs=[graph],
        weights=None,
        side_files=[],
        validation=Validation(f"not run (compiled by {EXPORTER})", 0.0),
        rebuild=_rebuild(directory, config, task, shapes, found),
    )


def _check(directory: Path, found: Mapping[str, Any], config: Mapping[str, Any], task: str) -> None:
    if found.get("compiler_type") not in (None, COMPILER):
        raise _unsupported(
            directory,
            f"was compiled with {found['compiler_type']}, for Inferentia1; neuronkit runs {COMPILER}'s",
            config,
        )
    if int(found.get("tensor_parallel_size") or 1) > 1:
        raise _unsupported(
            directory, f"is split over {found['tensor_parallel_size']} cores (tensor parallelism)", config
        )
    for name in ("output_attentions", "output_hidden_states"):
        if found.get(name):
            raise _unsupported(
                directory, f"was compiled with {name}, whose place in its outputs is not recorded", config
            )
    needed = ["compiler_type", "compiler_version", *(f"static_{name}" for name in _shape_names(task))]
    missing = [name for name in needed if found.get(name) is None]
    if not config.get("model_type"):
        missing.append("model_type (beside the section)")
    if missing:
        raise ArtifactCorruptError(
            f"The neuron section in {directory / 'config.json'} lacks {', '.join(missing)}: the graph cannot be called "
            f"without.\nTry: {_rebuild(directory, config, task, {}, found)}"
        )


def _task(directory: Path, found: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    if found.get("model_type") == _SENTENCE_MODEL:
        return _SENTENCE
    named = found.get("task") or config.get("task")
    if named is None:
        from neuronkit.export.source import Source
        from neuronkit.tasks import infer_task

        try:
            named = infer_task(Source(str(directory), directory, dict(config)))
        except (SourceError, UnknownTaskError) as error:
            raise ArtifactCorruptError(
                f"The neuron section in {directory / 'config.json'} lacks task, and nothing beside it tells: {error}"
            ) from error
    task = _OLDER_TASKS.get(named, named)
    if task not in _OUTPUTS:
        raise _unsupported(directory, f"was compiled for {task}; neuronkit loads {', '.join(sorted(_OUTPUTS))}", config)
    return str(task)


def _shape_names(task: str) -> tuple[str, ...]:
    return ("batch_size", "num_choices", "sequence_length")[:: 1 if task == "multiple-choice" else 2]


def _inputs(
    directory: Path, found: Mapping[str, Any], config: Mapping[str, Any], task: str, axes: Sequence[Axis]
) -> list[Input]:
    architecture = config["model_type"]
    names = found.get("input_names")
    if not names:
        has_types = architecture in _WITH_TOKEN_TYPES and task != _SENTENCE
        if architecture == "deberta" and not config.get("type_vocab_size"):
            has_types = False
        names = ["input_ids", "attention_mask", *(["token_type_ids"] if has_types else [])]
    dtype = found.get("int_dtype") or "int64"
    if dtype not in _DTYPES:
        raise _unsupported(directory, f"takes integers of type {dtype}", config)
    known: dict[str, dict[str, Any]] = {
        "input_ids": {"pad_value": _pad_token(directory, config)},
        "attention_mask": {"default": 1},
        "token_type_ids": {"default": None if architecture in _TYPES_ARE_WORDS else 0},
    }
    if unknown := [name for name in names if name not in known]:
        raise _unsupported(directory, f"takes the inputs {', '.join(unknown)}, which no plugin fills", config)
    return [Input(name, tuple(axes), dtype=dtype, **known[name]) for name in names]


def _outputs(directory: Path, found: Mapping[str, Any], config: Mapping[str, Any], task: str) -> list[Output]:
    _, declared = _OUTPUTS[task]
    names = list(found.get("output_names") or declared)
    if unknown := [name for name in names if name not in declared]:
        raise _unsupported(directory, f"returns {', '.join(unknown)}, which no plugin reads", config)
    if not found.get("output_names") and task == "feature-extraction" and config["model_type"] not in _WITH_POOLER:
        names.remove("pooler_output")
    return [Output(name, declared[name]) for name in names]


def _fingerprint(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of the compiler; what is None cannot be compared with this machine."""
    from neuronkit.backends.neuron.targets import FAMILIES

    target = str(found.get("instance_type") or "").split(".")[0]
    return {
        "exporter": EXPORTER,
        "torch_neuronx": None,
        "neuronx_cc": found["compiler_version"],
        "architecture": FAMILIES.get(target),
        "lnc": None,
        "dynamic_batch_size": bool(found.get("dynamic_batch_size", False)),
    }


def _pad_token(directory: Path, config: Mapping[str, Any]) -> int:
    """Return the tokenizer's pad id out of its files, else the configuration's, else 0; nothing is imported for it."""
    token = _read(directory / "tokenizer_config.json").get("pad_token")
    content = token.get("content") if isinstance(token, dict) else token
    for added in _read(directory / "tokenizer.json").get("added_tokens", ()):
        if content is not None and added.get("content") == content:
            return int(added["id"])
    pad = config.get("pad_token_id")
    return pad if isinstance(pad, int) else 0


def _compiled_file(directory: Path, found: Mapping[str, Any], config: Mapping[str, Any]) -> Path:
    files = _compiled_files(directory)
    if len(files) != 1:
        names = ", ".join(file.name for file in files) or "none"
        raise ArtifactCorruptError(
            f"{directory} has the configuration of an artifact that {EXPORTER} compiled, and must hold one .neuron file "
            f"(found: {names}).\nTry: copy the whole directory again."
        )
    if not zipfile.is_zipfile(files[0]):
        raise ArtifactCorruptError(
            f"{files[0]} is not a TorchScript file: it is truncated, or the pointer of a file that was not downloaded.\n"
            "Try: copy or download it again."
        )
    return files[0]


def _compiled_files(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.neuron"))


def _folders(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if path.is_dir()] if directory.is_dir() else []


def _read(file: Path) -> dict[str, Any]:
    """Return a JSON object, empty where there is none; what is damaged is not of this kind of artifact."""
    try:
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _unsupported(directory: Path, what: str, config: Mapping[str, Any]) -> ArtifactMismatchError:
    return ArtifactMismatchError(
        f"{directory} was made by {EXPORTER} and {what}.\n"
        f"Try: neuronkit compile --model {config.get('_name_or_path') or 'MODEL'} --backend neuron OUTPUT, from the "
        "checkpoint that it was made of."
    )


def _rebuild(
    directory: Path, config: Mapping[str, Any], task: str, shapes: Mapping[str, list[int]], found: Mapping[str, Any]
) -> str:
    from neuronkit.compilation.rebuild import rebuild_command
    from neuronkit.export.source import Source

    source = Source(str(config.get("_name_or_path") or "MODEL"), directory, dict(config))
    given: dict[str, Any] = dict(shapes)
    for name in ("auto_cast", "auto_cast_type"):
        if found.get(name):
            given[name] = found[name]
    command = rebuild_command(source, task, "neuron", given, directory)
    return shlex.join([*shlex.split(command)[:-2], "OUTPUT"])  # beside the only copy that there is, not in its place
