"""``neuronkit cache``: the compiled graphs that compiles share."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from neuronkit.cli.parser import CommandParser
from neuronkit.cli.printing import format_size, format_table, print_report

if TYPE_CHECKING:
    from neuronkit.artifact.cache import GraphCache

SUMMARY = "List or clear the cache of compiled graphs."

_ABOUT = """
Compiled graphs are kept by content, so that compiling the same thing again, or another checkpoint of the same
architecture, takes no compiling. The directory is $NEURONKIT_CACHE, or neuronkit in the platform's cache directory.
Artifacts do not need it.

JSON of list: {"schema": 1, "directory", "size", "entries": [{"key", "label", "size", "path"}]}, sizes in bytes; the
first includes the compiler's own caches. JSON of clear: {"schema": 1, "directory", "freed"}.
"""
_EXAMPLES = """
neuronkit cache list
neuronkit cache clear
"""


def configure(parser: CommandParser) -> None:
    """Add the arguments."""
    parser.describe(_ABOUT, usage="{list,clear} [--json]", commands=_EXAMPLES)
    parser.add_argument("action", choices=("list", "clear"), help="Show what is there, or remove all of it.")
    parser.add_argument("--json", action="store_true", help="Print JSON.")


def run(arguments: argparse.Namespace) -> int:
    """List or clear."""
    from neuronkit.artifact.cache import GraphCache

    cache = GraphCache()
    return _list(cache, arguments.json) if arguments.action == "list" else _clear(cache, arguments.json)


def _list(cache: GraphCache, as_json: bool) -> int:
    sizes = [(entry, sum(file.size for file in entry.record.files)) for entry in cache.entries()]
    if as_json:
        entries = [
            {"key": entry.key, "label": entry.label, "size": size, "path": entry.directory} for entry, size in sizes
        ]
        print_report({"directory": cache.root, "size": cache.size(), "entries": entries})
        return 0
    if sizes:
        print(
            format_table(
                ["GRAPH", "SIZE", "KEY"], ([entry.label, format_size(size), entry.key[:16]] for entry, size in sizes)
            )
        )
    total = format_size(cache.size())
    print(f"{len(sizes)} graphs in {cache.root}; {total} with the compiler's own caches", file=sys.stderr)
    return 0


def _clear(cache: GraphCache, as_json: bool) -> int:
    from neuronkit.errors import ArtifactWriteError

    before = cache.size()
    try:
        cache.clear()
    except OSError as error:
        raise ArtifactWriteError(
            f"The cache {cache.root} cannot be cleared: {error.strerror}.\n"
            "Try: as the user that it belongs to, or NEURONKIT_CACHE=DIR with another directory."
        ) from error
    freed = before - cache.size()
    if as_json:
        print_report({"directory": cache.root, "freed": freed})
    else:
        print(f"{format_size(freed)} freed in {cache.root}")
    return 0
