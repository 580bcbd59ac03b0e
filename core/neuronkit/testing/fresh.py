"""A process that has seen nothing of this one: same packages, another hash seed. Several classes of a test run share it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import IO, Any

import pytest

from neuronkit.testing.promises import BrokenPromiseError
from neuronkit_registry.installed import import_path

HASH_SEED = "4242"
_PROGRAM = (
    "import sys; start = set(sys.modules); from neuronkit.testing.worker import main; main(start)"  # nothing before it
)


class FreshProcess:
    """
    An interpreter that answers the requests of `neuronkit.testing.worker`.

    It is started at the first request, and again after one that ended it.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._errors: IO[str] | None = None

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """
        Have something done there, and return what came of it.

        Args:
            do: A name in `neuronkit.testing.worker`.
            **request: Its arguments, JSON-like.

        Raises:
            BrokenPromiseError: It failed, or ended the process; with what that wrote.
        """
        process = self._process
        if process is None or process.poll() is not None:
            self.stop()
            process = self._start()
        answer = ""
        if process.stdin and process.stdout:
            try:
                process.stdin.write(json.dumps({"do": do, **request}) + "\n")
                process.stdin.flush()
                answer = process.stdout.readline()
            except BrokenPipeError:  # its exit status says more
                answer = ""
        if not answer:
            status = process.wait()
            raise BrokenPromiseError(f"{do} ended a fresh process (exit status {status}):\n{self._read_errors()}")
        found: dict[str, Any] = json.loads(answer)
        if "error" in found:
            raise BrokenPromiseError(f"{do} failed in a fresh process:\n{found['error']}")
        return found

    def stop(self) -> None:
        """End the process, and close what it read and wrote."""
        if self._process is not None:
            self._process.communicate()
            self._process = None
        if self._errors is not None:
            self._errors.close()
            self._errors = None

    def _start(self) -> subprocess.Popen[str]:
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  # as long as the process
        path = os.pathsep.join(filter(None, import_path()))
        environ = {**os.environ, "PYTHONHASHSEED": HASH_SEED, "PYTHONPATH": path}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environ,
        )
        return self._process

    def _read_errors(self) -> str:
        if self._errors is None:
            return ""
        self._errors.seek(0)
        return self._errors.read()[-4000:]


def fresh_process(config: pytest.Config) -> FreshProcess:
    """Return the process for the packages on `sys.path` now; it ends with the test run."""
    known = config.stash.setdefault(_PROCESSES, {})
    path = tuple(sys.path)
    if path not in known:
        known[path] = FreshProcess()
        config.add_cleanup(known[path].stop)
    return known[path]


_PROCESSES = pytest.StashKey[dict[tuple[str, ...], FreshProcess]]()
