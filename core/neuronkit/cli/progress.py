"""Progress on stderr: plain lines, and on a terminal a running clock below them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def reporting(what: str, *, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """
    Yield a function that is called with a line at every step.

    Args:
        what: What is being done, for the running line.
        quiet: Print nothing.

    """
    if quiet:
        yield lambda line: None
    elif not sys.stderr.isatty():
        yield lambda line: print(line, file=sys.stderr, flush=True)
    else:
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            progress.add_task(what, total=None)
            yield lambda line: progress.console.print(line, markup=False, highlight=False)
