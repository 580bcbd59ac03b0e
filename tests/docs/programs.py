"""
The commands and programs of a page, run in order in one process.

What is between ```` ```console ```` and ```` ```python ```` runs; other fences do not. A command is what stands behind ``$``.
A name such as ``org/model`` means a hub id to readers; here a directory of that name holds a small random checkpoint.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import attrs

DOCS = Path(__file__).resolve().parents[2] / "docs"
_BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@attrs.frozen
class Step:
    """
    One command, or one program.

    Args:
        kind: ``console`` or ``python``.
        text: What is run.
        shown: What the page says that a command prints: the lines below it that are no commands.
    """

    kind: str
    text: str
    shown: str = ""


@attrs.frozen
class Done:
    """What a step printed."""

    step: Step
    out: str
    err: str


def read_steps(page: str) -> list[Step]:
    """Return what a page has to run, in its order."""
    steps = []
    for kind, text in _BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
        if kind == "python":
            steps.append(Step(kind, text))
            continue
        text = text.replace("\\\n", "")
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            steps.append(Step(kind, command.strip(), shown.strip("\n")))
    return steps


def run_steps(
    page: str,
    directory: Path,
    *,
    replaced: Mapping[str, str] = {},
    commands: Mapping[str, Callable[[list[str]], str]] = {},
) -> list[Done]:
    """
    Run a page in a directory.

    Args:
        page: Its name below ``docs``.
        directory: Where.
        replaced: Words to run in place of those of the page, such as smaller sizes.
        commands: Stand-ins for programs other than ``neuronkit``, by name; each returns what is printed.

    Returns:
        What each step printed.
    """
    done = []
    before = Path.cwd()
    os.chdir(directory)
    try:
        for step in read_steps(page):
            text = step.text
            for old, new in replaced.items():
                text = text.replace(old, new)
            out, err = io.StringIO(), io.StringIO()
            with redirect_stdout(out), redirect_stderr(err):
                if step.kind == "python":
                    exec(compile(text, f"{page}, a program", "exec"), {"__name__": "__main__"})
                elif text.startswith("neuronkit compile "):
                    _compile(text, out, err)
                else:
                    _run_command(text, commands, out, err)
            done.append(Done(step, out.getvalue(), err.getvalue()))
    finally:
        os.chdir(before)
    return done


_compiled: dict[str, tuple[Path, str, str]] = {}


def _compile(text: str, out: io.StringIO, err: io.StringIO) -> None:
    """Compile, or copy the artifact that the very same command, on another page, has made in this process."""
    target = Path(shlex.split(text)[-1])
    if text in _compiled:
        source, printed, said = _compiled[text]
        shutil.copytree(source, target)
        out.write(printed)
        err.write(said)
        return
    _run_command(text, {}, out, err)
    _compiled[text] = (target.absolute(), out.getvalue(), err.getvalue())


def _run_command(
    text: str, commands: Mapping[str, Callable[[list[str]], str]], out: io.StringIO, err: io.StringIO
) -> None:
    from neuronkit.cli import main

    words = shlex.split(text)
    variables = {}
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        variables[name] = value
    if words[0] != "neuronkit":
        out.write(commands[words[0]](words[1:]))
        return
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        status = main(words[1:])
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    assert status == 0, f"{text}\n{out.getvalue()}\n{err.getvalue()}"
