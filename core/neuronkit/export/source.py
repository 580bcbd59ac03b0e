"""Where a model comes from: a directory or a hub id, turned into a directory and its configuration."""

from __future__ import annotations

import json
import re
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs

from neuronkit.artifact.manifest import MANIFEST
from neuronkit.errors import SourceError
from neuronkit.export.hub import download
from neuronkit.options import SourceOptions
from neuronkit.paths import named_directory

CONFIG_FILES = ("config.json", "model_index.json")
"""Where the architecture is written: a transformers checkpoint, a diffusers pipeline."""
MODULES_FILE = "modules.json"
"""Where a sentence transformer names its modules."""
SENTENCE_SETTINGS_FILE = "config_sentence_transformers.json"
"""What sentence-transformers keeps of a model as a whole: its kind, its prompts, how it compares."""
GENERATION_FILE = "generation_config.json"
"""What transformers' `generate` does where a call does not say otherwise."""
ADAPTER_FILE = "adapter_config.json"
"""Where peft says which checkpoint an adapter belongs to."""
_WEIGHT_SUFFIXES = {".bin", ".ckpt", ".h5", ".msgpack", ".pt", ".pth", ".safetensors"}
"""What files of weights that libraries read end with."""
_CONFIG_PATTERNS = ["*.json", "*.txt", "*.model"]
_SINGLE_FILES = (".safetensors", ".ckpt")


@attrs.frozen
class Module:
    """
    One module of a sentence transformer, as its ``modules.json`` has it.

    Args:
        idx: Its place among the others.
        path: Its directory within the checkpoint; nothing stands for the checkpoint's own.
        type: Its class, with the package.
    """

    idx: int
    path: str
    type: str


@attrs.define(slots=False)
class Source:
    """
    A checkpoint on this machine.

    Args:
        model: What the caller gave: a directory or a hub id.
        path: The directory that holds the checkpoint; of a single-file checkpoint, that of its configuration.
        config: The parsed ``config.json`` or ``model_index.json``.
        options: Revision, subfolder and the like.
        file: The single file that holds all weights, if the checkpoint is one.
        folder: Where below `path` configuration, tokenizer and weights lie: the first module's directory of a sentence transformer
            that was saved by an older sentence-transformers.
    """

    model: str
    path: Path
    config: dict[str, Any]
    options: SourceOptions = attrs.field(factory=SourceOptions)
    file: Path | None = None
    folder: str = ""

    @property
    def model_path(self) -> Path:
        """The directory of the configuration, the tokenizer and the weights."""
        return self.path / self.folder

    @property
    def trust_remote_code(self) -> bool:
        """Whether the caller allows the checkpoint's own Python code to run."""
        return bool(self.options.trust_remote_code)

    @property
    def architecture(self) -> str:
        """The `model_type`, or the slug of a diffusers pipeline."""
        if model_type := self.config.get("model_type"):
            return str(model_type)
        if class_name := self.config.get("_class_name"):
            return diffusers_slug(class_name)
        raise SourceError(f"{self.path} says neither model_type nor _class_name in its configuration.")

    @cached_property
    def tokenizer(self) -> Any:
        """
        The checkpoint's tokenizer, or None if it has none.

        Raises:
            SourceError: Its files, or the configuration, are not what transformers reads.
        """
        if not any(
            (self.model_path / name).exists() for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt")
        ):
            return None
        from transformers import AutoTokenizer

        try:
            return AutoTokenizer.from_pretrained(self.model_path, trust_remote_code=self.trust_remote_code)
        except (MemoryError, SourceError):
            raise
        except Exception as error:  # tokenizers has no class of its own
            reason = " ".join(" ".join(str(error).splitlines()[:2]).split()) or type(error).__name__
            raise SourceError(
                f"The tokenizer of {self.model} cannot be loaded: {reason.rstrip('.')}.\n"
                "Try: the files of the tokenizer and config.json as they were saved; download or copy them again."
            ) from error

    @property
    def pad_token_id(self) -> int:
        """The tokenizer's pad id, else the model config's, else 0; the first that the model knows."""
        known = self.config.get("vocab_size")
        for value in (getattr(self.tokenizer, "pad_token_id", None), self.config.get("pad_token_id")):
            if isinstance(value, int) and value >= 0 and (known is None or value < known):
                return value
        return 0

    @property
    def longest_sequence(self) -> int:
        """The default ``sequence_length``: what model and tokenizer allow, at most 512 tokens."""
        allowed = [512, self.config.get("max_position_embeddings"), getattr(self.tokenizer, "model_max_length", None)]
        return min(int(limit) for limit in allowed if isinstance(limit, int) and limit > 0)

    def side_files(self) -> list[Path]:
        """
        Return the files beside the weights (tokenizer, configuration, chat template, code), relative to `path`, sorted.

        They are those of `path` itself and of the folders in it, no deeper. Hidden ones are left out, indices of weights in
        several files, and what lies in a folder that is another artifact.
        """
        inside = [entry for entry in self.path.glob("*") if entry.is_dir() and not entry.is_symlink()]
        own = [
            folder
            for folder in inside
            if not folder.name.startswith(".") and not (folder / MANIFEST).is_file()  # another artifact
        ]
        files = (file for folder in (self.path, *own) for file in folder.glob("*"))
        return sorted(file.relative_to(self.path) for file in files if _goes_beside(file))


def _goes_beside(file: Path) -> bool:
    kept = file.suffix in {".json", ".txt", ".model", ".jinja", ".py"} and not file.name.endswith(".index.json")
    return kept and not file.name.startswith(".") and file.is_file()


def resolve_source(model: str | Path, options: SourceOptions | None = None) -> Source:
    """
    Find a model and read its configuration.

    Args:
        model: A directory, a hub id (``org/name``), or a diffusion checkpoint in a single ``.safetensors`` or ``.ckpt`` file.
        options: Revision, subfolder, token and the like.

    Raises:
        SourceError: There is no such directory, the hub could not be reached, or there is no configuration in it.
    """
    options = options or SourceOptions()
    if options.config:
        options = attrs.evolve(options, config=str(named_directory(options.config, "config")))
    path = named_directory(model, "The model", SourceError)
    if path.is_file():
        return _single_file(path, options)
    if not path.is_dir():
        path = download(str(model), options)
    if options.subfolder:
        path = path / options.subfolder
    if (path / MANIFEST).is_file():
        raise SourceError(
            f"{path} is an artifact already, and no checkpoint.\n"
            "Try: the checkpoint that it was made of; neuronkit.load runs the artifact as it is."
        )
    _refuse_compiled(path)
    folder = _first_module(path)
    config = _read_config(Path(options.config) if options.config else path / folder)
    _require_names(config, path)
    return Source(model=str(model), path=path, config=config, options=options, folder=folder)


def read_module_list(directory: Path) -> list[Module]:
    """
    Return the modules that a checkpoint names, in their order; none where it has no ``modules.json``.

    Raises:
        SourceError: The file is not what sentence-transformers writes.
    """
    file = directory / MODULES_FILE
    if not file.is_file():
        return []
    found = _read_json(file)
    if not isinstance(found, list):
        raise _not_modules(file, f"it is a {type(found).__name__}, not a list")
    return sorted((_read_module(file, place, item) for place, item in enumerate(found)), key=lambda module: module.idx)


def _read_module(file: Path, place: int, item: Any) -> Module:
    if not isinstance(item, dict):
        raise _not_modules(file, f"item {place} is a {type(item).__name__}, not an object")
    wanted = {"idx": int, "path": str, "type": str}
    missing = [f"no {name!r}" for name in wanted if name not in item]
    if missing:
        raise _not_modules(file, f"item {place} has {' and '.join(missing)}")
    for name, kind in wanted.items():
        if type(item[name]) is not kind:
            raise _not_modules(
                file, f"item {place} has the {name} {item[name]!r}, which is not of type {kind.__name__}"
            )
    return Module(**{name: item[name] for name in wanted})


def _not_modules(file: Path, reason: str) -> SourceError:
    return SourceError(
        f"{file} does not list the modules of a sentence transformer: {reason}.\n"
        "Try: download the checkpoint again, save it again with SentenceTransformer.save_pretrained, or write its items like "
        '{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}'
    )


def _first_module(path: Path) -> str:
    """Return the folder of a sentence transformer's first module, or nothing where the configuration lies at the root."""
    if any((path / name).is_file() for name in CONFIG_FILES):
        return ""
    modules = read_module_list(path)
    return modules[0].path if modules else ""


def _refuse_compiled(path: Path) -> None:
    """
    Refuse what optimum-neuron compiled, where there are no weights beside it.

    Raises:
        SourceError: It names the checkpoint that was compiled, if that is recorded.
    """
    from neuronkit.artifact.optimum import EXPORTER, section

    folders = (path, *(item for item in path.glob("*") if item.is_dir()))
    compiled = any(section(folder) is not None for folder in folders)
    if compiled and not any(file.suffix in _WEIGHT_SUFFIXES for file in path.rglob("*")):
        made_of = _read_config(path).get("_name_or_path")
        raise SourceError(
            f"{path} is an artifact that {EXPORTER} compiled, and has no weights that could be compiled again.\n"
            f"Try: the checkpoint that it was made of{f' ({made_of})' if made_of else ''}."
        )


def adapter_advice(directory: Path) -> str:
    """Return what to do with the directory of an adapter that has no weights of its own model beside it."""
    base = read_settings(directory / ADAPTER_FILE).get("base_model_name_or_path") or "its base model"
    return (
        f"merge the adapter into {base} first: "
        "PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(directory)"
    )


def _read_config(directory: Path) -> dict[str, Any]:
    for name in CONFIG_FILES:
        file = directory / name
        if file.is_file():
            return read_settings(file)
    if (directory / ADAPTER_FILE).is_file():
        raise SourceError(f"{directory} holds an adapter, and no checkpoint.\nTry: {adapter_advice(directory)}.")
    raise SourceError(f"{directory} has neither {' nor '.join(CONFIG_FILES)}: it is not a checkpoint.")


def _require_names(config: dict[str, Any], path: Path) -> None:
    """
    Check of what kind is what tells an architecture and its task.

    Raises:
        SourceError: It is of another kind than text.
    """
    named = [("model_type", config.get("model_type")), ("_class_name", config.get("_class_name"))]
    listed = config.get("architectures")
    named += [("architectures", value) for value in (listed if isinstance(listed, list) else [listed])]
    for field, value in named:
        if value is not None and not isinstance(value, str):
            raise SourceError(
                f"{path} has {field} {value!r} in its configuration, which is no text.\n"
                "Try: the configuration as it was saved; download or copy the checkpoint again."
            )


def optional_settings(file: Path) -> dict[str, Any]:
    """Return a JSON object that a checkpoint may lack; empty where there is none. See `read_settings`."""
    return read_settings(file) if file.is_file() else {}


def read_settings(file: Path) -> dict[str, Any]:
    """
    Return what a checkpoint's file sets, by name.

    Raises:
        SourceError: It is not JSON, or not an object.
    """
    found = _read_json(file)
    if not isinstance(found, dict):
        raise SourceError(f"{file} holds a {type(found).__name__}, and not settings by name.")
    return found


def read_generation_settings(directory: Path) -> dict[str, Any] | None:
    """
    Return what the ``generation_config.json`` of a checkpoint or an artifact sets, by name, or None where there is none.

    Raises:
        SourceError: It is not JSON, or not an object.
    """
    file = directory / GENERATION_FILE
    if not file.is_file():
        return None
    try:
        return read_settings(file)
    except SourceError as error:
        raise SourceError(
            f"{error}\nTry: download the checkpoint again, or remove its {GENERATION_FILE}, and compile it: without that file "
            "the settings are those of its config.json."
        ) from error


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # also numbers and nesting that are too long for Python
        raise SourceError(f"{file} is not valid JSON: {error}") from error
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror}") from error


def _single_file(path: Path, options: SourceOptions) -> Source:
    """
    Return a single-file checkpoint, with the configuration that the caller names or that diffusers knows it by.

    A ``.ckpt`` file is unpickled with weights only, so that no code of it runs.
    """
    if path.suffix not in _SINGLE_FILES:
        raise SourceError(f"{path} is a file, but no checkpoint: it should end with {' or '.join(_SINGLE_FILES)}.")
    if options.config:
        directory = Path(options.config)
    elif options.local_files_only:
        raise SourceError(
            f"{path} holds weights alone. Try: --config DIR, a directory with the model_index.json and the configurations of "
            "a checkpoint of the same architecture."
        )
    else:
        from diffusers.loaders.single_file_utils import fetch_diffusers_config, load_single_file_checkpoint

        known = fetch_diffusers_config(load_single_file_checkpoint(str(path)))["pretrained_model_name_or_path"]
        try:
            directory = download(known, SourceOptions(token=options.token), patterns=_CONFIG_PATTERNS)
        except SourceError as error:
            raise SourceError(
                f"{path} holds weights alone, and the configuration of its architecture ({known}) could not be fetched.\n"
                "Try: --config DIR, a directory with the model_index.json and the configurations of such a checkpoint."
            ) from error
    return Source(model=str(path), path=directory, config=_read_config(directory), options=options, file=path)


def diffusers_slug(class_name: str) -> str:
    """
    Return the architecture of a diffusers pipeline class: ``StableDiffusionXLImg2ImgPipeline`` -> ``stable-diffusion-xl``.

    Drops a trailing ``Pipeline``, then ``Img2Img`` or ``Inpaint``, then ``Model``, and writes the rest in kebab case.
    """
    name = class_name.removesuffix("Pipeline").removesuffix("Img2Img").removesuffix("Inpaint").removesuffix("Model")
    return "-".join(re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z0-9]*", name)).lower()
