"""``neuronkit list-plugins``: every candidate for every key, without importing any."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from neuronkit.cli.parser import CommandParser, UsageError, closest_hint
from neuronkit.cli.printing import format_table, print_report

if TYPE_CHECKING:
    from neuronkit_registry import PluginInfo

SUMMARY = "List the installed plugins: key, package, version, API, status."
_ABOUT = """
There is one line per candidate, sorted by key and package. Nothing is imported unless --check or -v --json asks for
it, so that a plugin which is broken cannot get in the way.

Status: available (would be imported if its key were asked for), loaded (was imported and keeps the contract),
disabled (by NEURONKIT_PLUGINS or NEURONKIT_DISABLE_PLUGINS), conflict (two packages offer the key and nothing says
which is meant), shadowed (another plugin of the key is used), incompatible (written for another neuronkit), malformed
(its entry point cannot be understood), broken (cannot be imported, or breaks the contract, that of its options included).

JSON: {"schema": 1, "neuronkit": VERSION, "hook_api": [MAJOR, MINOR], "plugins": [{"key", "architecture", "task",
"target", "package", "version", "api", "origin", "status", "reason", "hint"}], "problems": [TEXT, ...]}. With -v each
plugin also has "options": the JSON schema of its own options, or null where it cannot be imported.

Exit status: 0; with --check 1 if a plugin that was checked is broken.
"""
_EXAMPLES = """
neuronkit list-plugins
neuronkit list-plugins --task question-answering --json
neuronkit list-plugins --check --package acme-bert
"""


def configure(parser: CommandParser) -> None:
    """Add the arguments."""
    parser.describe(_ABOUT, usage="[options]", commands=_EXAMPLES)
    parser.add_argument("--json", action="store_true", help="Print JSON instead of a table.")
    parser.add_argument(
        "--check",
        action="store_true",
        help="Import each plugin in a process of its own; one that crashes or hangs is reported like any broken one.",
    )
    parser.add_argument("--task", metavar="TASK", help="Only plugins for a task; its other names are understood.")
    parser.add_argument("--package", metavar="PACKAGE", help="Only plugins of a package.")
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="Show origin and target too; with --json the options of each plugin.",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="How long one plugin may take to import. Default: 120.",
    )


def run(arguments: argparse.Namespace) -> int:
    """List, and check where that is asked for."""
    from neuronkit.plugins import get_registry

    if not arguments.timeout > 0:
        raise UsageError(f"--timeout must be more than 0 (got {arguments.timeout:g})")
    registry = get_registry()
    known = registry.records()
    records = _select(known, arguments.task, arguments.package)
    tells_options = arguments.verbose and arguments.json
    options: Sequence[Any] = [None] * len(records)
    broken = False
    if arguments.check or tells_options:
        from neuronkit.cli.probing import probe

        outcomes = probe(records, apart=arguments.check, seconds=arguments.timeout)
        records = [outcome.info for outcome in outcomes]
        options = [outcome.options for outcome in outcomes]
        broken = any(record.status == "broken" for record in records)
    problems = registry.problems()
    if arguments.json:
        print_report(_describe(records, problems, options if tells_options else None))
    else:
        if records:
            _print_table(records, verbose=arguments.verbose)
        else:
            print(f"no plugin matches{_suggestion(known, arguments.task)}", file=sys.stderr)
        for problem in problems:
            print(f"problem: {problem}", file=sys.stderr)
    return int(arguments.check and broken)


def _select(records: Sequence[PluginInfo], task: str | None, package: str | None) -> list[PluginInfo]:
    if task is not None:
        from neuronkit.tasks import canonical_task

        task = canonical_task(task)
    return [
        record
        for record in records
        if (task is None or record.task == task) and (package is None or record.is_from(package))
    ]


def _suggestion(records: Sequence[PluginInfo], task: str | None) -> str:
    """Return what to add where a task is nobody's: the one that was meant if any is like it, otherwise all there are."""
    from neuronkit.tasks import canonical_task

    tasks = {record.task for record in records if record.task}
    if task is None or not tasks or canonical_task(task) in tasks:
        return ""
    return "." + (closest_hint(task, tasks) or f" Tasks: {', '.join(sorted(tasks))}.")


def _describe(records: Sequence[PluginInfo], problems: Sequence[str], options: Sequence[Any] | None) -> dict[str, Any]:
    from neuronkit import __version__
    from neuronkit.hooks import API

    plugins = [attrs.asdict(record) for record in records]
    if options is not None:
        plugins = [{**plugin, "options": schema} for plugin, schema in zip(plugins, options, strict=True)]
    return {
        "neuronkit": __version__,
        "hook_api": list(API),
        "plugins": plugins,
        "problems": list(problems),
    }


def _print_table(records: Sequence[PluginInfo], *, verbose: bool) -> None:
    headers = ["KEY", "PACKAGE", "VERSION", "API", "STATUS", *(["ORIGIN", "TARGET"] if verbose else [])]
    rows = [
        [record.key, record.package or "-", record.version or "-", f"v{record.api}", record.status]
        + ([record.origin, record.target] if verbose else [])
        for record in records
    ]
    heading, *lines = format_table(headers, rows).splitlines()
    print(heading)
    for record, line in zip(records, lines, strict=True):
        print(line)
        for text in (record.reason, record.hint and f"Try: {record.hint}."):
            for part in (text or "").splitlines():
                print(f"    {part}")
