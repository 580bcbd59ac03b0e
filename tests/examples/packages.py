"""Packages that pip installs into a folder of the test's own, and commands that run with that folder on the path."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[2]

_SEVERAL = """
import contextlib, io, json, runpy, sys
from neuronkit.cli import main

ended = []
for words in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        if words[0] == "-m":
            sys.argv = words[1:]
            status = runpy.run_module(words[1], run_name="__main__") and 0
        else:
            status = main(words)
    ended.append([status, out.getvalue(), err.getvalue()])
print(json.dumps(ended))
"""
"""Runs commands one after the other in one process, because each would spend seconds on importing torch."""


@attrs.frozen
class Ended:
    """What a command came to."""

    status: int
    out: str
    err: str


@attrs.frozen
class Site:
    """
    A folder of installed packages, beside those of the running Python.

    Args:
        path: The folder.
        directory: Where commands run.
    """

    path: Path
    directory: Path

    def install(self, *packages: Path) -> None:
        """Build and install packages with pip, offline and without their dependencies."""
        offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
        self._process("-m", "pip", "install", "--quiet", *offline, "--target", str(self.path), *map(str, packages))

    def neuronkit(self, *words: str) -> str:
        """Run one command as a process of its own and return what it prints."""
        return self._process(str(Path(sys.executable).with_name("neuronkit")), *words)

    def commands(self, *commands: Sequence[str], **environment: str) -> list[Ended]:
        """Run commands in one process: words of ``neuronkit``, or of ``python`` when the first is ``-m``."""
        printed = self._process("-c", _SEVERAL, input=json.dumps(commands), environment=environment)
        return [Ended(*ended) for ended in json.loads(printed.splitlines()[-1])]

    def run_tests(self, *directories: Path) -> tuple[dict[str, int], list[str]]:
        """Run the tests of packages; return how many passed, failed, were skipped and so on, and the items that passed."""
        options = "-p no:cacheprovider --import-mode=importlib -rA --show-capture=no --rootdir /".split()
        printed = self._process("-m", "pytest", *options, *map(str, directories), check=False)
        summary = printed.strip().splitlines()[-1]
        counts = {word.rstrip("s"): int(number) for number, word in re.findall(r"(\d+) ([a-z]+)", summary)}
        assert counts, printed
        if set(counts) - {"passed", "warning"}:
            print(printed)
        return counts, re.findall(r"^PASSED (\S+)", printed, re.MULTILINE)

    def _process(self, *words: str, input: str = "", check: bool = True, environment: Mapping[str, str] = {}) -> str:
        own = {
            "PYTHONPATH": str(self.path),
            "PYTHONDONTWRITEBYTECODE": "1",
            "NEURONKIT_CACHE": str(self.directory / "cache"),
        }
        process = subprocess.run(
            [sys.executable, *words],
            input=input,
            capture_output=True,
            text=True,
            cwd=self.directory,
            env={**os.environ, **own, **environment},
            timeout=600,
        )
        assert not check or process.returncode == 0, process.stdout + process.stderr
        return process.stdout
