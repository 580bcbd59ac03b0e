"""``neuronkit check``: whether a model will compile for Neuron, without compiling it."""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from neuronkit.cli.flags import add_options, add_shapes, given
from neuronkit.cli.parser import CommandParser, UsageError
from neuronkit.cli.printing import format_size, print_report
from neuronkit.options import SourceOptions
from neuronkit.shape_names import AXES_OF_SHAPES

if TYPE_CHECKING:
    from neuronkit.diagnosis.check import GraphCheck, Report

SUMMARY = "Say whether a model will compile for Neuron."

_ABOUT = """
Exports every graph of the model at every fixed size, without any Neuron package, and names the operators that the
compiler is known to refuse, with what to write instead. Adds up the weights against the memory of one core. Where
torch-xla is installed, each graph also goes through its lowering. No answer but the compiler's own is final.

JSON: "schema", "passed", "key", "target", "graphs" ("graph", "kind", "bucket", "passed", "failure", "problems",
"operators", "weight_bytes", "lowering", "lowering_failure"), "fits", "device_bytes", "core_bytes", "compile_bytes",
"lowered".

Exit status: 0 when it should compile and fit, 1 when not.
"""
_EXAMPLES = """
neuronkit check ./my-bert --task question-answering --sequence-length 128,384
neuronkit check org/name --task text-generation --sequence-length 2048 --target trn1 --json
"""
_SHOWN_OPERATORS = 8


def configure(parser: CommandParser) -> None:
    """Add the arguments."""
    parser.describe(_ABOUT, usage="MODEL [--task TASK] [shapes] [--target TARGET] [--json]", commands=_EXAMPLES)
    parser.add_argument("model", metavar="MODEL", nargs="?", help="Directory or hub id of the checkpoint.")
    parser.add_argument("-m", "--model", dest="named", metavar="MODEL", help="The same, as compile has it.")
    parser.add_argument("--task", help="What the artifact would be for. By default the checkpoint says.")
    parser.add_argument(
        "--target", default=argparse.SUPPRESS, help="inf2, trn1, trn2 or an instance type. Default: inf2."
    )
    parser.add_argument("--json", action="store_true", help="Print JSON.")
    shapes = parser.add_argument_group(
        "shapes", "A size, or several with commas between: one bucket for each combination."
    )
    add_shapes(shapes, default=argparse.SUPPRESS)
    add_options(parser.add_argument_group("where the checkpoint is found"), SourceOptions)
    parser.take_undeclared()


def run(arguments: argparse.Namespace) -> int:
    """Check the model."""
    from neuronkit.diagnosis.check import check_model

    if (arguments.model is None) is (arguments.named is None):
        raise UsageError("MODEL is required, once: neuronkit check MODEL")
    values: dict[str, Any] = {**arguments.undeclared, **given(arguments, SourceOptions)}
    values |= {name: getattr(arguments, name) for name in (*AXES_OF_SHAPES, "target") if hasattr(arguments, name)}
    with redirect_stdout(sys.stderr):
        report = check_model(arguments.model or arguments.named, task=arguments.task, given=values)
    if arguments.json:
        print_report(_as_json(report))
    else:
        print(describe(report))
    return int(not report.passed)


def describe(report: Report) -> str:
    """Return what `run` prints for people."""
    lines = [f"{report.key} for {report.target}"]
    for graph in report.graphs:
        lines += ["", *_describe_graph(graph)]
    size, core = format_size(report.device_bytes), format_size(report.core_bytes)
    compiling = format_size(report.compile_bytes)
    lines += [
        "",
        f"weights: {size} for all graphs and sizes together, of {core} on one core"
        + ("" if report.fits else ": too much. Try: fewer sizes, fewer bits, or --no-inline-weights"),
        f"compiling the largest graph: about {compiling} of memory (a rough guess)",
    ]
    if not report.lowered:
        lines.append("not lowered: torch-xla is not installed (it needs an environment with torch 2.9)")
    lines += ["", "should compile" if report.passed else "will not compile as it is"]
    return "\n".join(lines)


def _describe_graph(graph: GraphCheck) -> list[str]:
    lines = [f"{'ok  ' if graph.passed else 'FAIL'}  {graph.graph} {graph.bucket} ({graph.kind or 'generic'})"]
    if graph.failure:
        lines.append(f"      cannot be exported: {graph.failure}")
    for problem in graph.problems:
        code = f" ({problem.refusal.code})" if problem.refusal.code else ""
        lines.append(f"      {problem.operator} x {problem.count}: {problem.refusal.cause}{code}")
        lines.append(f"      -> {problem.refusal.cure}")
    if graph.lowering_failure:
        lines += [f"      {line}" for line in graph.lowering_failure.splitlines()]
    if graph.operators:
        most = ", ".join(f"{name} {count}" for name, count in list(graph.operators.items())[:_SHOWN_OPERATORS])
        lines.append(f"      {sum(graph.operators.values())} operators: {most}")
    return lines


def _as_json(report: Report) -> dict[str, Any]:
    import attrs

    own = attrs.asdict(report, recurse=False)
    graphs = [{**attrs.asdict(graph), "passed": graph.passed} for graph in report.graphs]
    return {"passed": report.passed, "fits": report.fits, **own, "graphs": graphs}
