"""From templates to a package on disk, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from neuronkit import __version__
from neuronkit.artifact.store import atomic_directory
from neuronkit.errors import OutputExistsError
from neuronkit.plugins import MODELS
from neuronkit.scaffold.names import Names
from neuronkit.scaffold.sketch import Sketch
from neuronkit.scaffold.tasks import unusable
from neuronkit_registry import PluginInfo

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_COMMON = files("neuronkit.scaffold") / "templates" / "common"


def render_package(names: Names, sketch: Sketch, info: PluginInfo) -> dict[str, str]:
    """
    Return the text of every file of a package, by its path in the package's directory.

    Args:
        names: What its parts are called.
        sketch: What is written for the task.
        info: Where the sketch comes from.

    Raises:
        PluginContractError: A template of the sketch is not there, or cannot be filled in.
    """
    source = f"src/{names.module}"
    common = {
        ".github/workflows/test.yml": "workflow.yml",
        ".gitignore": "gitignore",
        "README.md": "README.md",
        "pyproject.toml": "pyproject.toml",
        f"{source}/__init__.py": "init.py",
        "tests/test_conformance.py": "test_conformance.py",
    }
    own = {f"{source}/{module}.py": f"{module}.py" for module in sketch.modules}
    own[f"{source}/plugin.py"] = f"{names.task}.py"
    values = substitutions(names, sketch)
    texts = {path: _fill(_COMMON / f"{template}.tmpl", values) for path, template in common.items()}
    for path, template in own.items():
        file = sketch.templates / f"{template}.tmpl"
        try:
            texts[path] = _fill(file, values)
        except KeyError as error:
            raise unusable(info, f"{file} has ${error.args[0]}, and there are: {', '.join(values)}") from error
        except (OSError, ValueError) as error:
            raise unusable(info, f"{file} cannot be read as a template: {error}") from error
    return dict(sorted(texts.items()))


def _fill(file: Traversable, values: Mapping[str, str]) -> str:
    return Template(file.read_text(encoding="utf-8")).substitute(values)


def substitutions(names: Names, sketch: Sketch) -> dict[str, str]:
    """Return what stands for each ``$name`` of the templates."""
    title = "".join(word.capitalize() for word in names.task.split("-"))
    extra = f"[{sketch.extra}]" if sketch.extra else ""
    model_class = f"{names.prefix}{sketch.suffix}"
    requirements = [f"neuronkit{extra}>={__version__.rpartition('.')[0]}", *sketch.requires]
    return {
        "architecture": names.architecture,
        "bad_raw": _literal(sketch.bad_raw),
        "base_class": sketch.base,
        "config_file": "model_index.json" if sketch.is_pipeline else "config.json",
        "example": sketch.example,
        "group": MODELS.entry_point_group,
        "key": names.key,
        "marker": f'"_class_name": "{model_class}"' if sketch.is_pipeline else f'"model_type": "{names.architecture}"',
        "model_class": model_class,
        "module": names.module,
        "package": names.package,
        "plugin_class": f"{names.prefix}{title}",
        "prefix": names.prefix,
        "raw": _literal(sketch.raw),
        "requirements": _literal(requirements),
        "result": sketch.result,
        "shapes": f"{sketch.flags} " if sketch.flags else "",
        "task": names.task,
        "test_shapes": _literal(sketch.test_shapes),
    }


def _literal(value: Any) -> str:
    """Return a value in Python with double quotes, as formatters write it."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(key)}: {_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return repr(value)


def write_package(texts: dict[str, str], directory: Path) -> None:
    """
    Write the files of a package.

    Args:
        texts: By path.
        directory: The package's, which must not exist or be empty.

    Raises:
        OutputExistsError: There is something already.
        ArtifactWriteError: The disk is full, or the directory cannot be written.
    """
    if directory.is_file() or (directory.is_dir() and any(directory.iterdir())):
        raise OutputExistsError(
            f"{directory} exists already; nothing was written. Try: another name, or --directory of another place"
        )
    with atomic_directory(directory) as temporary:
        for path, text in texts.items():
            file = temporary / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
