"""``neuronkit compile``: a checkpoint into an artifact."""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout
from typing import Any

from neuronkit.cli.flags import add_options, add_shapes, given
from neuronkit.cli.parser import CommandParser, UsageError, add_value
from neuronkit.options import CompileOptions, SourceOptions
from neuronkit.paths import named_directory
from neuronkit.shape_names import AXES_OF_SHAPES

SUMMARY = "Compile a checkpoint into an artifact."

_ABOUT = """
Finds the plugin of the checkpoint's architecture and the task, compiles every graph that it declares for every size,
compares each with the eager model and writes the artifact to OUTPUT, whole or not at all. Prints the artifact's
directory; progress goes to stderr. Graphs that were compiled before come from the cache (see `neuronkit cache`).

What users of `optimum-cli export neuron` type is understood: --disable-validation, -O1, -O2, -O3, --unet,
--inline-weights-neff, --instance_type.
"""
_EXAMPLES = """
neuronkit compile --model ./my-bert --task question-answering --sequence-length 128,384 ./my-artifact
neuronkit compile -m org/name --batch-size 1,8 --auto-cast matmul --static ./my-artifact
neuronkit compile -m ./my-model --task bert.question-answering@acme-bert -o some_option=3 ./my-artifact
"""


def configure(parser: CommandParser) -> None:
    """Add the arguments; those of the core are read off its options classes."""
    parser.describe(_ABOUT, usage="--model MODEL [--task TASK] [options] OUTPUT", commands=_EXAMPLES)
    parser.add_argument(
        "output", metavar="OUTPUT", help="Directory to write; must be empty or not exist, unless --force."
    )
    parser.add_argument("-m", "--model", required=True, help="Directory or hub id of the checkpoint.")
    parser.add_argument(
        "--task",
        help="What the artifact is for, such as question-answering. By default the checkpoint says. TASK@PACKAGE or "
        "KEY@PACKAGE chooses among packages that offer the same key.",
    )
    parser.add_argument(
        "--backend", default="cpu", help="What compiles it: cpu, neuron, or another installed one. Default: cpu."
    )
    parser.add_argument(
        "-o",
        dest="plugin_options",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="An option of the plugin; `neuronkit list-plugins -v --json` has them. --NAME VALUE means the same.",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="No progress.")
    shapes = parser.add_argument_group(
        "shapes", "A size, or several with commas between: one bucket for each combination."
    )
    add_shapes(shapes, default=argparse.SUPPRESS)
    options = parser.add_argument_group("options")
    add_options(options, CompileOptions)
    _add_other_spellings(options)
    add_options(parser.add_argument_group("where the checkpoint is found"), SourceOptions)
    parser.take_undeclared()


def run(arguments: argparse.Namespace) -> int:
    """Compile, and print where the artifact is."""
    values = collect(arguments)
    from neuronkit.cli.progress import reporting
    from neuronkit.compilation.journey import compile_model

    with redirect_stdout(sys.stderr), reporting("compiling", quiet=arguments.quiet) as progress:
        compile_model(
            arguments.model,
            arguments.output,
            task=arguments.task,
            backend_name=arguments.backend,
            given=values,
            progress=progress,
        )
    print(named_directory(arguments.output, "The output"))
    return 0


def collect(arguments: argparse.Namespace) -> dict[str, Any]:
    """
    Return the shapes and options that were typed, as `neuronkit.compile` takes them.

    Raises:
        UsageError: An ``-o`` has no ``=``.

    """
    values = {name: getattr(arguments, name) for name in AXES_OF_SHAPES if hasattr(arguments, name)}
    values |= given(arguments, CompileOptions, SourceOptions)
    values |= arguments.undeclared
    if hasattr(arguments, "unet_id"):
        values["unet_id"] = arguments.unet_id
    for item in arguments.plugin_options:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise UsageError(f"-o takes NAME=VALUE (got {item!r})")
        add_value(values, name.strip().replace("-", "_"), value)
    return values


def _add_other_spellings(group: argparse._ArgumentGroup) -> None:
    same: dict[str, Any] = {"default": argparse.SUPPRESS}
    group.add_argument("-O", dest="optlevel", metavar="{1,2,3}", help="The same as --optlevel: -O1, -O2, -O3.", **same)
    group.add_argument(
        "--disable-validation", dest="validate", action="store_false", help="The same as --no-validate.", **same
    )
    group.add_argument(
        "--inline-weights-neff",
        dest="inline_weights",
        action="store_true",
        help="The same as --inline-weights.",
        **same,
    )
    group.add_argument("--instance-type", dest="target", metavar="TARGET", help="The same as --target.", **same)
    group.add_argument(
        "--unet", dest="unet_id", metavar="MODEL", help="The same as --unet-id, an option of diffusion plugins.", **same
    )
