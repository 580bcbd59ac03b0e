"""
Importing plugins in other processes, so that one which crashes, exits or hangs is a result and not the end.

This module is both sides: `probe` starts ``python -m neuronkit.cli.probing``, which reads what to import from stdin
and writes a JSON line per plugin.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Timer
from typing import IO, Any

import attrs

from neuronkit_registry import ENABLED, Origin, PluginInfo, Status
from neuronkit_registry.installed import import_path
from neuronkit_registry.loading import ignoring


@attrs.frozen
class Outcome:
    """
    What came of importing a plugin.

    Args:
        info: Its record, with the status that the import gave it.
        options: JSON schema of its options, if the plugin loads.

    """

    info: PluginInfo
    options: dict[str, Any] | None = None


def probe(records: Sequence[PluginInfo], *, apart: bool, seconds: float) -> list[Outcome]:
    """
    Import every plugin that may be imported, ask it for its options, and return an outcome for every record, in their order.

    Args:
        records: The candidates; those that must not be imported come back as they are.
        apart: Each in a process of its own; otherwise in one, and in another after a plugin that ended it.
        seconds: How long one may take.

    """
    wanted = [record for record in records if record.status in ENABLED and record.origin is not Origin.RUNTIME]
    groups = [[record] for record in wanted] if apart else [wanted]
    children = _Children(seconds)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        try:
            found = [outcome for group in pool.map(children.import_all, groups) for outcome in group]
        except BaseException:
            children.stop()
            raise
    outcomes = dict(zip(map(id, wanted), found, strict=True))
    return [outcomes.get(id(record), Outcome(record)) for record in records]


class _Children:
    """The processes that import plugins for us."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def stop(self) -> None:
        """End every process, and start no other."""
        self._stopped = True
        for process in list(self._running):
            _kill(process)

    def import_all(self, records: Sequence[PluginInfo]) -> list[Outcome]:
        """Import plugins one after the other, with a new process behind each that ended the one before."""
        outcomes: list[Outcome] = []
        while len(outcomes) < len(records) and not self._stopped:
            outcomes += self._import_some(records[len(outcomes) :])
        return outcomes

    def _import_some(self, records: Sequence[PluginInfo]) -> list[Outcome]:
        """Return the outcomes of one process: at least one, and fewer than records only if the last one ended it."""
        request = {
            "path": import_path(),
            "plugins": [[record.key, record.package] for record in records],
        }
        outcomes: list[Outcome] = []
        with tempfile.TemporaryFile("w+", errors="replace") as noise:
            # The session of its own lets a plugin's own children be ended with it.
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "neuronkit.cli.probing"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=noise,
                text=True,
                start_new_session=True,
            )
            self._running.add(process)
            late: list[bool] = []
            try:
                _send(process, request)
                for record in records:
                    line = self._read_line(process, late)
                    if not line:
                        break
                    outcomes.append(_read_outcome(record, json.loads(line)))
                if len(outcomes) < len(records):
                    _kill(process)
                    outcomes.append(self._crashed(records[len(outcomes)], process.wait(), bool(late), noise))
            finally:
                _kill(process)
                process.wait()
                self._running.discard(process)
        return outcomes

    def _read_line(self, process: subprocess.Popen[str], late: list[bool]) -> str:
        assert process.stdout is not None  # noqa: S101  # it was opened with a pipe

        def end() -> None:
            late.append(True)
            _kill(process)

        timer = Timer(self._seconds, end)
        timer.start()
        try:
            return process.stdout.readline()
        finally:
            timer.cancel()

    def _crashed(self, record: PluginInfo, status: int, late: bool, noise: IO[str]) -> Outcome:
        if late:
            reason = f"Importing it took more than {self._seconds:g} s, and was given up"
        elif status < 0:
            reason = f"Importing it killed the interpreter ({_signal_name(-status)})"
        else:
            reason = f"Importing it ended the interpreter (exit status {status})"
        noise.seek(0)
        lines = noise.read().strip().splitlines()
        reason += f"; its last words were: {lines[-1].strip()}" if lines else ""
        hint = f"pip install --upgrade {record.package}{ignoring(record)}"
        return Outcome(attrs.evolve(record, status=Status.BROKEN, reason=reason, hint=hint))


def _send(process: subprocess.Popen[str], request: dict[str, Any]) -> None:
    assert process.stdin is not None  # noqa: S101  # it was opened with a pipe
    with suppress(BrokenPipeError):  # it ended at once; reading says so
        process.stdin.write(json.dumps(request))
        process.stdin.close()


def _read_outcome(record: PluginInfo, answer: dict[str, Any]) -> Outcome:
    status = Status(answer["status"])
    info = attrs.evolve(record, status=status, reason=answer["reason"], hint=answer["hint"])
    return Outcome(info, answer["options"])


def _kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):  # it ended meanwhile
            os.killpg(process.pid, signal.SIGKILL)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _answer_requests() -> None:
    """Be the child: import what stdin asks for, and write a line for each."""
    request = json.loads(sys.stdin.read())
    # What a plugin prints while it is imported must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.path[:] = request["path"]
    from neuronkit.plugins import MODELS, get_registry
    from neuronkit_registry.loading import load_plugin

    registry = get_registry()
    for key, package in request["plugins"]:
        info = registry.try_load(key, package)
        schema = None
        if info.status is not Status.BROKEN:
            info, schema = _ask_for_options(info, load_plugin(info, MODELS.contract))
        answer = {"status": info.status, "reason": info.reason, "hint": info.hint, "options": schema}
        print(json.dumps(answer, default=str), file=answers, flush=True)
    os._exit(0)  # threads that a plugin started must not keep us


def _ask_for_options(info: PluginInfo, plugin: Any) -> tuple[PluginInfo, dict[str, Any] | None]:
    from neuronkit.manager import make_manager, options_class
    from neuronkit.options import json_schema

    try:
        return info, json_schema(options_class(make_manager(plugin).hook))
    except Exception as error:  # whatever the plugin's code raises
        reason = f"Its options() failed: {type(error).__name__}: {error}"
        return attrs.evolve(
            info, status=Status.BROKEN, reason=reason, hint=f"pip install --upgrade {info.package}"
        ), None


if __name__ == "__main__":
    _answer_requests()
