"""``neuronkit doctor``: what this machine has of what Neuron needs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from neuronkit.cli.parser import CommandParser
from neuronkit.cli.printing import print_report

if TYPE_CHECKING:
    from neuronkit.diagnosis.doctor import Diagnosis

SUMMARY = "Say what this machine has of what Neuron needs."

_ABOUT = """
Looks at Python, torch, the Neuron packages, devices, driver, cores and the processes on them, memory and cache. Starts
nothing and imports no Neuron package; works where nothing of it is installed. In a container that sees the host's /dev,
/proc and /sys elsewhere, NEURONKIT_HOST_ROOT names the directory that stands for /.

JSON: "schema", "healthy", "can_compile" and "can_run" (for Neuron), and "findings": "name", "status" ("ok", "absent",
"warning", "problem"), "detail", "hint".

Exit status: 1 if there is a problem. What is merely absent is none.
"""
_EXAMPLES = """
neuronkit doctor
neuronkit doctor --json
"""
_MARKS = {"ok": "ok", "absent": "-", "warning": "warn", "problem": "FAIL"}


def configure(parser: CommandParser) -> None:
    """Add the arguments."""
    parser.describe(_ABOUT, usage="[--json]", commands=_EXAMPLES)
    parser.add_argument("--json", action="store_true", help="Print JSON.")


def run(arguments: argparse.Namespace) -> int:
    """Examine the machine."""
    from neuronkit.diagnosis.doctor import examine

    diagnosis = examine()
    if arguments.json:
        facts = {"healthy": diagnosis.healthy, "can_compile": diagnosis.can_compile, "can_run": diagnosis.can_run}
        print_report({**facts, "findings": diagnosis.findings})
    else:
        print(describe(diagnosis))
    return int(not diagnosis.healthy)


def describe(diagnosis: Diagnosis) -> str:
    """Return what `run` prints for people."""
    width = max(len(finding.name) for finding in diagnosis.findings) + 2
    lines = []
    for finding in diagnosis.findings:
        lines.append(f"{_MARKS[finding.status]:<6}{finding.name:<{width}}{finding.detail}")
        if finding.hint:
            lines.append(f"{'':<{6 + width}}-> {finding.hint}")
    lines += [
        "",
        f"compile for Neuron here: {_yes(diagnosis.can_compile)}; run on Neuron here: {_yes(diagnosis.can_run)}",
    ]
    return "\n".join(lines)


def _yes(value: bool) -> str:
    return "yes" if value else "no"
