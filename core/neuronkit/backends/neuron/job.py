"""One compilation in a process of its own: what it is given, how it is started, bounded, ended and judged."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from neuronkit.backends.neuron import failures, flags
from neuronkit.backends.neuron.errors import NeuronCompileError, NeuronCompileTimeoutError
from neuronkit.environment import cache_directory
from neuronkit_registry.installed import import_path

PROGRAM, JOB, RESULT, MODEL, LOG = "program.pt2", "job.json", "result.json", "model.neuron", "worker.log"
_WORKER = "neuronkit.backends.neuron.worker"
_POLL = 0.05


@attrs.frozen(kw_only=True)
class Job:
    """
    What the worker is told; it travels as JSON.

    Args:
        graph: Name of the graph.
        bucket: Label of the bucket.
        flags: For ``neuronx-cc``.
        inline_weights: Put the weights into the binary.
        dynamic_batch: Let the batch vary at run time.
        states: Positions of the inputs that stay on the device.
        outputs: Number of outputs.
        lazy_load: Load at the first call.
        async_load: Load in the background.
        path: Python's search path.
        parent: The process that waits for it, and with which it ends.

    """

    graph: str
    bucket: str
    flags: list[str]
    inline_weights: bool = True
    dynamic_batch: bool = False
    states: list[int] = attrs.field(factory=list)
    outputs: int = 1
    lazy_load: bool = False
    async_load: bool = False
    path: list[str] = attrs.field(factory=lambda: [entry for entry in import_path() if entry])
    parent: int = attrs.field(factory=os.getpid)


def write_job(job: Job, directory: Path) -> None:
    """Put a job beside its program."""
    (directory / JOB).write_text(json.dumps(attrs.asdict(job), indent=1), encoding="utf-8")


def read_job(directory: Path) -> Job:
    """Read what `write_job` wrote."""
    return Job(**json.loads((directory / JOB).read_text(encoding="utf-8")))


def run_job(
    job: Job, directory: Path, *, environment: Mapping[str, str] | None = None, timeout: float | None = None
) -> Path:
    """
    Compile, and return the file that came out.

    The process and all that it started end when this returns, whatever the reason: an interrupt, the time limit, an
    error.

    Args:
        job: Its program lies in `directory`.
        directory: The work directory.
        environment: Variables for the worker alone.
        timeout: Seconds; None waits for ever.

    Raises:
        NeuronCompileError: It failed; the message has cause, cure and the path of the log, which is kept in the cache.
        NeuronCompileTimeoutError: It took longer than `timeout`.

    """
    write_job(job, directory)
    log = directory / LOG
    worker = _Worker(job, directory, log, environment or {}, timeout)
    try:
        worker.start()
        worker.finished.wait()
    finally:
        worker.end()
    if worker.error is not None:
        raise worker.error
    if worker.status is None:
        kept, where = _keep(log, job)
        raise NeuronCompileTimeoutError(
            f"Compiling {job.graph!r} ({job.bucket}) took longer than {timeout:g} s and was ended.\n"
            f"{where}\n"
            "Try: a larger NEURONKIT_COMPILE_TIMEOUT, --optlevel 1, or smaller shapes.",
            log=kept,
        )
    if worker.status == 0 and (directory / MODEL).is_file():
        return directory / MODEL
    raise _failed(job, directory, log, worker.status)


class _Worker(threading.Thread):
    """
    Starts the process, waits for it and ends it.

    All three in a thread of its own: an interrupt reaches the main thread wherever it is, inside the constructor of a
    process too, and would leave a process behind that nobody knows. Nobody joins this thread, because a `join` that was
    interrupted takes it for ended (Python 3.11 and 3.12).

    Args:
        job: What to compile.
        directory: The work directory.
        log: Where the process writes.
        environment: Variables for the process alone.
        timeout: Seconds; None waits for ever.

    """

    def __init__(
        self, job: Job, directory: Path, log: Path, environment: Mapping[str, str], timeout: float | None
    ) -> None:
        super().__init__(name=f"compile {job.graph}", daemon=True)
        self.status: int | None = None
        self.error: BaseException | None = None
        self._command = [sys.executable, "-m", _WORKER, str(directory)]
        self._directory = directory
        self._log = log
        self._environment = _environment(job, environment)
        self._timeout = timeout
        self.finished = threading.Event()
        self._lock = threading.Lock()
        self._begun = False
        self._ended = threading.Event()

    def run(self) -> None:
        """Leave the process's status, or None where its time was over."""
        with self._lock:
            if self._ended.is_set():
                return
            self._begun = True
        try:
            self._supervise()
        except Exception as error:
            self.error = error
        finally:
            self.finished.set()

    def end(self) -> None:
        """End the process; when this returns there is none, and there will be none."""
        with self._lock:
            self._ended.set()
        if self._begun:
            self.finished.wait()

    def _supervise(self) -> None:
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        with self._log.open("wb") as opened:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=opened,
                stderr=subprocess.STDOUT,
                cwd=self._directory,
                env=self._environment,
                start_new_session=True,
            )
        try:
            while (status := process.poll()) is None:
                if self._ended.wait(_POLL) or (deadline is not None and time.monotonic() > deadline):
                    return
            self.status = status
        finally:
            _end(process)


def log_file(job: Job) -> Path:
    """Return where the log of a failure is kept: in the cache, for each process the latest one of a graph and bucket."""
    return cache_directory() / "logs" / "neuron" / f"{job.graph}-{job.bucket}-{os.getpid()}.log"


def _keep(log: Path, job: Job) -> tuple[Path | None, str]:
    """Copy a log out of the work directory; return where it is now, or None, and the line that says so."""
    kept = log_file(job)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(log, kept)
    except OSError as error:
        return None, (
            f"Its log could not be kept, because {kept} cannot be written: {error.strerror}.\n"
            "Try: NEURONKIT_CACHE=DIR with another directory, or --compiler-workdir DIR, where everything stays."
        )
    return kept, f"Its log: {kept}"


def _environment(job: Job, extra: Mapping[str, str]) -> dict[str, str]:
    scripts = str(Path(sys.executable).parent)
    # Every flag is in the artifact's record and in the cache's key; those of this variable would be in neither.
    inherited = {name: value for name, value in os.environ.items() if name != flags.VARIABLE}
    return {
        **inherited,
        "PATH": os.pathsep.join([scripts, os.environ.get("PATH", "")]),
        "PYTHONPATH": os.pathsep.join(job.path),
        "TOKENIZERS_PARALLELISM": "false",
        **extra,
    }


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _failed(job: Job, directory: Path, log: Path, status: int) -> NeuronCompileError:
    result: dict[str, Any] = {}
    if (directory / RESULT).is_file():
        result = json.loads((directory / RESULT).read_text(encoding="utf-8"))
    message = result.get("message", "")
    compiler = failures.status_of(message)
    if compiler is None and status < 0:
        compiler = status
    own_logs = [file for file in failures.logs_below(directory) if file != log]
    codes = failures.codes_in([log, *own_logs])
    with log.open("a", encoding="utf-8") as opened:
        for file in own_logs:
            opened.write(f"\n--- {file.relative_to(directory)}\n{file.read_text(encoding='utf-8', errors='replace')}")
    if compiler is not None:
        what = f"neuronx-cc failed with {compiler}"
    else:
        what = f"{result['type']}: {message}" if result else f"the worker ended with status {status}"
    lines = [f"Graph {job.graph!r} ({job.bucket}) could not be compiled for Neuron: {what}"]
    if explanation := failures.explain(compiler, codes):
        lines.append(explanation)
    kept, where = _keep(log, job)
    lines.append(where)
    return NeuronCompileError("\n".join(lines), status=compiler, codes=codes, log=kept)
