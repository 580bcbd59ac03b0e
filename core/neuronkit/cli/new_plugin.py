"""``neuronkit new-plugin``: a package of one's own, complete and running."""

from __future__ import annotations

import argparse
import shlex
import sys

from neuronkit.cli.parser import CommandParser
from neuronkit.cli.printing import print_report
from neuronkit.paths import named_path

SUMMARY = "Write a package with a plugin of your own, which installs, compiles, runs and passes its tests."

_ABOUT = """
Writes NAME/: a pyproject.toml with the entry point, a model, the plugin around it, a tiny checkpoint to try it with, the
conformance test, a README and a CI workflow. The model is a known one under a name of its own (BERT for tasks of
encoders, GPT-2 for text-generation, Stable Diffusion for text-to-image), so that everything runs before you change
anything; then put your model in its place.

The directory goes to stdout, what to type next to stderr.

JSON: {"schema": 1, "directory", "key", "files", "next": [COMMAND, ...]}.
"""
_EXAMPLES = """
neuronkit new-plugin acme-bert --task question-answering
neuronkit new-plugin acme-models --architecture acme-gpt --task text-generation --directory ~/src
"""


def configure(parser: CommandParser) -> None:
    """Add the arguments."""
    parser.describe(_ABOUT, usage="NAME --task TASK [options]", commands=_EXAMPLES)
    parser.add_argument("name", metavar="NAME", help="Name of the package, such as acme-bert.")
    parser.add_argument("--task", required=True, help="What the plugin is for, such as question-answering.")
    parser.add_argument(
        "--architecture", help="What checkpoints call themselves: their model_type. By default the package's name."
    )
    parser.add_argument("--directory", default=".", metavar="DIRECTORY", help="Where to write NAME/. Default: here.")
    parser.add_argument("--json", action="store_true", help="Print JSON.")


def run(arguments: argparse.Namespace) -> int:
    """Write the package, and say what to type next."""
    from neuronkit.scaffold.names import make_names
    from neuronkit.scaffold.tasks import find_sketch
    from neuronkit.scaffold.writing import render_package, write_package

    sketch, info = find_sketch(arguments.task)
    names = make_names(arguments.name, arguments.architecture, info.key, is_pipeline=sketch.is_pipeline)
    texts = render_package(names, sketch, info)
    directory = named_path(arguments.directory, "The directory") / names.package
    write_package(texts, directory)
    commands = [
        f"cd {shlex.quote(str(directory))}",
        'pip install --editable ".[test]"',
        f"python -m {names.module}.sample ./sample",
        " ".join(f"neuronkit compile --model ./sample --task {names.task} {sketch.flags} -O1 ./artifact".split()),
        f"neuronkit run ./artifact {sketch.example}",
        "pytest",
    ]
    if arguments.json:
        print_report({"directory": directory, "key": names.key, "files": list(texts), "next": commands})
        return 0
    print(directory)
    print(
        "\n".join(["", f"{names.key} in {len(texts)} files. Next:", *(f"  {one}" for one in commands)]), file=sys.stderr
    )
    return 0
