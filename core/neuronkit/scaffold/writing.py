"""From templates to a package on disk, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from importlib.resources import files
from pathlib import Path
from string import Template

from neuronkit import __version__
from neuronkit.errors import OutputExistsError
from neuronkit.plugins import MODELS
from neuronkit.scaffold.names import Names
from neuronkit.scaffold.tasks import Sketch

_HEADS = {"encoder": "Bert", "decoder": "GPT2", "diffusion": "StableDiffusion"}
"""What the names of the classes that packages begin with begin with."""


def render_package(names: Names, sketch: Sketch) -> dict[str, str]:
    """
    Return the text of every file of a package, by its path in the package's directory.

    Args:
        names: What its parts are called.
        sketch: What is written for the task.
    """
    source, kind = f"src/{names.module}", sketch.kind
    templates = {
        ".github/workflows/test.yml": "common/workflow.yml",
        ".gitignore": "common/gitignore",
        "README.md": "common/README.md",
        "pyproject.toml": "common/pyproject.toml",
        f"{source}/__init__.py": "common/init.py",
        f"{source}/model.py": f"{kind}/model.py",
        f"{source}/plugin.py": f"{kind}/{names.task}.py",
        f"{source}/sample.py": f"{kind}/sample.py",
        "tests/test_conformance.py": "common/test_conformance.py",
    }
    if sketch.reads_texts:
        templates[f"{source}/texts.py"] = f"{kind}/texts.py"
    values = substitutions(names, sketch)
    folder = files("neuronkit.scaffold") / "templates"
    return {
        path: Template((folder / f"{template}.tmpl").read_text(encoding="utf-8")).substitute(values)
        for path, template in sorted(templates.items())
    }


def substitutions(names: Names, sketch: Sketch) -> dict[str, str]:
    """Return what stands for each ``$name`` of the templates."""
    suffix = sketch.base.removeprefix(_HEADS[sketch.kind])
    title = "".join(word.capitalize() for word in names.task.split("-"))
    diffusion = sketch.kind == "diffusion"
    extra = "[diffusion]" if diffusion else ""
    model_class = f"{names.prefix}{suffix}"
    return {
        "architecture": names.architecture,
        "bad_raw": json.dumps(sketch.bad_raw),
        "base_class": sketch.base,
        "config_file": "model_index.json" if diffusion else "config.json",
        "example": sketch.example,
        "group": MODELS.entry_point_group,
        "key": names.key,
        "marker": f'"_class_name": "{model_class}"' if diffusion else f'"model_type": "{names.architecture}"',
        "model_class": model_class,
        "module": names.module,
        "package": names.package,
        "plugin_class": f"{names.prefix}{title}",
        "prefix": names.prefix,
        "raw": json.dumps(sketch.raw),
        "requirement": f"neuronkit{extra}>={__version__.rpartition('.')[0]}",
        "result": sketch.result,
        "shapes": f"{sketch.flags} " if sketch.flags else "",
        "task": names.task,
        "test_shapes": json.dumps(sketch.test_shapes),
    }


def write_package(texts: dict[str, str], directory: Path) -> None:
    """
    Write the files of a package.

    Args:
        texts: By path.
        directory: The package's, which must not exist or be empty.

    Raises:
        OutputExistsError: There is something already, or the directory cannot be written.
    """
    if directory.is_file() or (directory.is_dir() and any(directory.iterdir())):
        raise OutputExistsError(
            f"{directory} exists already; nothing was written. Try: another name, or --directory of another place"
        )
    directory = directory.absolute()
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        for path, text in texts.items():
            file = temporary / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        temporary.chmod(0o755)
        os.replace(temporary, directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
