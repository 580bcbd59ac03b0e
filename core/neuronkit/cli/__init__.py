"""
The command line: ``neuronkit COMMAND ...``.

One module per command, imported when the command is typed. Such a module has `SUMMARY` (one line for
``neuronkit --help``), ``configure(parser)``, which describes the command and adds its arguments, and
``run(arguments)``, which returns the exit status. A module imports nothing heavy at its top: torch, transformers and
rich belong inside functions.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neuronkit.cli.parser import CommandParser

COMMANDS = {
    "bench": "neuronkit.cli.bench",
    "cache": "neuronkit.cli.cache",
    "check": "neuronkit.cli.check",
    "compile": "neuronkit.cli.compile",
    "demo": "neuronkit.cli.demo",
    "doctor": "neuronkit.cli.doctor",
    "inspect": "neuronkit.cli.inspect",
    "list-plugins": "neuronkit.cli.list_plugins",
    "new-plugin": "neuronkit.cli.new_plugin",
    "run": "neuronkit.cli.run",
}
"""Every command and its module, sorted. To add one, write the module and a line here."""


def main(words: Sequence[str] | None = None) -> int:
    """
    Run a command.

    Args:
        words: What was typed after ``neuronkit``; None takes it from the process.

    Returns:
        The exit status: 0 done, 1 the thing asked for failed, 2 wrong usage, 130 interrupted.

    """
    from neuronkit.cli.dispatch import dispatch

    return dispatch(list(sys.argv[1:] if words is None else words))


def build_parser(command: str) -> CommandParser:
    """Return the parser of a command, which is also its reference."""
    from neuronkit.cli.dispatch import make_parser

    return make_parser(command)
