"""The process that compiles: it ends whatever happens, its log is kept, its failures are explained."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from neuronkit.backends.neuron import backend, job
from neuronkit.backends.neuron.errors import NeuronCompileError, NeuronCompileTimeoutError
from neuronkit.backends.neuron.job import JOB, Job, read_job, run_job, write_job
from neuronkit.environment import compile_timeout
from neuronkit.errors import CompileError, OptionError
from neuronkit.options import CompileOptions
from tests.neuron.toys import BUCKET, compile_toy
from tests.standin.simulation import write


def alive(directory: Path) -> list[int]:
    """Processes whose command names a directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(directory).encode() in words:
                found.append(int(entry.name))
    return found


def wait_until(condition, process: subprocess.Popen[bytes] | None = None) -> bool:
    """Wait until a condition holds, as long as it takes; False if `process` ends before. Hanging is a failure, too."""
    while not condition():
        if process is not None and process.poll() is not None:
            return False
        time.sleep(0.02)
    return True


def test_a_job_travels_as_json(tmp_path):
    job = Job(graph="unet", bucket="batch1", flags=["--target", "inf2"], states=[2], lazy_load=True)
    write_job(job, tmp_path)

    assert read_job(tmp_path) == job
    assert (tmp_path / JOB).is_file()


def test_a_refused_graph_is_explained_and_its_log_kept(machine, tmp_path):
    machine.fail("70:NCC_EVRF007@encoder")
    options = CompileOptions(target="inf2", compiler_workdir=str(tmp_path / "work"))

    with pytest.raises(NeuronCompileError) as caught:
        compile_toy(backend, options, tmp_path)
    error, text = caught.value, str(caught.value)
    assert text.startswith(
        f"Graph 'encoder' ({BUCKET.label}) could not be compiled for Neuron: neuronx-cc failed with 70\n"
    )
    assert "NCC_EVRF007: more instructions than one program may have.\nTry: --optlevel 1" in text
    assert (error.status, error.codes) == (70, ("NCC_EVRF007",))
    assert isinstance(error, CompileError)
    assert "injected failure (simulated)" in error.log.read_text()
    assert f"Its log: {error.log}" in text
    (kept,) = (tmp_path / "work/encoder").iterdir()
    assert kept.name.startswith(f"{BUCKET.label}-")
    assert (kept / "compiler/command.txt").is_file()


def test_flags_that_no_record_would_have_do_not_reach_the_worker(broken_worker, monkeypatch, machine, capsys):
    monkeypatch.setenv("NEURON_CC_FLAGS", "--optlevel=3")
    with pytest.raises(NeuronCompileError) as caught:
        broken_worker("import os; print(os.environ.get('NEURON_CC_FLAGS')); raise SystemExit(3)")
    assert caught.value.log.read_text() == "None\n"
    backend.check_options(CompileOptions(target="inf2"))
    assert capsys.readouterr().err == "note: NEURON_CC_FLAGS is not used; --compiler-args takes flags\n"


def test_the_worker_is_told_the_platform_where_there_is_no_device(machine, tmp_path, monkeypatch):
    told = {}

    def run(job, directory, *, environment, timeout):
        told.update(environment)
        raise NeuronCompileError("enough")

    monkeypatch.setattr(job, "run_job", run)
    with pytest.raises(NeuronCompileError, match="enough"):
        compile_toy(backend, CompileOptions(target="inf2"), tmp_path)
    assert told == {"NEURON_PLATFORM_TARGET_OVERRIDE": "trn1"}


def test_the_time_limit_ends_the_process_and_its_children(machine, tmp_path):
    machine.fail("timeout")
    machine.set("NEURONKIT_COMPILE_TIMEOUT", "2")
    work = tmp_path / "work"

    with pytest.raises(NeuronCompileTimeoutError, match="took longer than 2 s and was ended"):
        compile_toy(backend, CompileOptions(target="inf2", compiler_workdir=str(work)), tmp_path)
    assert alive(work) == []


@pytest.fixture
def waiting(tmp_path):
    """A work directory whose worker never ends: what it imports first says so, in a file, and waits."""
    write(tmp_path / "shadow/torch.py", "import pathlib, signal\npathlib.Path('begun').touch()\nsignal.pause()\n")
    work = tmp_path / "work"
    work.mkdir()
    return work


def run_waiting(work: Path) -> None:
    """Run the job that never ends."""
    run_job(WAITING, work, environment={"PYTHONPATH": str(work.with_name("shadow"))})


WAITING = Job(graph="encoder", bucket="fixed", flags=[])


def interrupt(main: int) -> None:
    """What Ctrl-C does."""
    signal.pthread_kill(main, signal.SIGINT)


def test_an_interrupt_ends_the_process(waiting):
    main = threading.get_ident()

    def interrupt_once_it_runs():
        wait_until((waiting / "begun").exists)
        interrupt(main)

    thread = threading.Thread(target=interrupt_once_it_runs)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_waiting(waiting)
    thread.join()
    assert alive(waiting) == []


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_interrupt_while_the_process_starts_leaves_none(monkeypatch, waiting, moment):
    main, started, handled = threading.get_ident(), [], threading.Event()

    class Popen(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            if moment == "before":
                interrupt(main)
                handled.wait()
            super().__init__(*args, **kwargs)
            started.append(self.pid)
            if moment == "after":
                interrupt(main)
                handled.wait()

    end = job._Worker.end

    def noted(worker):
        handled.set()
        end(worker)

    monkeypatch.setattr(job.subprocess, "Popen", Popen)
    monkeypatch.setattr(job._Worker, "end", noted)
    with pytest.raises(KeyboardInterrupt):
        run_waiting(waiting)
    assert len(started) == 1
    assert not Path(f"/proc/{started[0]}").exists()
    assert alive(waiting) == []


def test_an_interrupt_before_the_thread_runs_starts_nothing(monkeypatch, waiting):
    started = []
    monkeypatch.setattr(job.subprocess, "Popen", lambda *args, **kwargs: started.append(args))

    def interrupted(worker):
        raise KeyboardInterrupt

    monkeypatch.setattr(job._Worker, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_waiting(waiting)
    assert started == []


def test_a_process_that_cannot_be_started_is_an_error(monkeypatch, waiting):
    monkeypatch.setattr(job.sys, "executable", str(waiting / "nowhere"))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        run_waiting(waiting)


def test_the_worker_ends_with_its_parent(waiting):
    code = (
        "import sys; from pathlib import Path; from neuronkit.backends.neuron.job import Job, run_job\n"
        "run_job(Job(graph='encoder', bucket='fixed', flags=[]), Path(sys.argv[1]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(waiting.with_name("shadow"))}
    parent = subprocess.Popen([sys.executable, "-c", code, str(waiting)], env=environment)
    try:
        assert wait_until((waiting / "begun").exists, parent)
        assert len(alive(waiting)) == 2
    finally:
        parent.kill()
        parent.wait()
    assert wait_until(lambda: not alive(waiting))


@pytest.fixture
def broken_worker(tmp_path):
    """Run a job whose process does something else before it reads it."""
    work = tmp_path / "work"
    work.mkdir()

    def run(code: str):
        write(tmp_path / "neuronkit/__init__.py", code)
        job = Job(graph="encoder", bucket="fixed", flags=[])
        run_job(job, work, environment={"PYTHONPATH": str(tmp_path)})

    return run


def test_a_worker_that_cannot_start_says_why(broken_worker):
    with pytest.raises(NeuronCompileError, match=r"the worker ended with status 3\nIts log: ") as caught:
        broken_worker("print('no such library'); raise SystemExit(3)")
    assert caught.value.log.read_text() == "no such library\n"
    assert caught.value.status is None


def test_a_worker_killed_for_memory_is_recognised(broken_worker):
    with pytest.raises(
        NeuronCompileError, match=r"(?s)failed with -9\n.*ran out of memory.*Try: a machine with more memory"
    ):
        broken_worker("import os; os.kill(os.getpid(), 9)")


def test_a_worker_that_writes_nothing_is_an_error(broken_worker):
    with pytest.raises(NeuronCompileError, match="the worker ended with status 0"):
        broken_worker("raise SystemExit(0)")


def test_logs_of_failures_are_kept_by_component(monkeypatch, broken_worker, tmp_path):
    cache = tmp_path / "cache"
    monkeypatch.setenv("NEURONKIT_CACHE", str(cache))
    with pytest.raises(NeuronCompileError) as caught:
        broken_worker("raise SystemExit(1)")
    assert caught.value.log == cache / f"logs/neuron/encoder-fixed-{os.getpid()}.log"


def test_a_log_that_cannot_be_kept_hides_no_failure(monkeypatch, broken_worker, tmp_path):
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("NEURONKIT_CACHE", str(tmp_path / "cache"))
    with pytest.raises(NeuronCompileError, match="the worker ended with status 3") as caught:
        broken_worker("raise SystemExit(3)")
    kept = tmp_path / f"cache/logs/neuron/encoder-fixed-{os.getpid()}.log"
    assert str(caught.value).endswith(
        f"\nIts log could not be kept, because {kept} cannot be written: Not a directory.\n"
        "Try: NEURONKIT_CACHE=DIR with another directory, or --compiler-workdir DIR, where everything stays."
    )
    assert caught.value.log is None


def test_without_a_cache_nothing_is_written_there(machine, tmp_path):
    machine.set("NEURONKIT_CACHE", str(tmp_path / "file"))
    (tmp_path / "file").write_text("a file")
    compile_toy(backend, CompileOptions(target="inf2", cache=False), tmp_path)


def test_two_compiles_share_a_work_directory(machine, tmp_path):
    options = CompileOptions(target="inf2", compiler_workdir=str(tmp_path / "work"))
    for output in ("one", "two"):
        (tmp_path / output).mkdir()
        compile_toy(backend, options, tmp_path / output)
    assert [(kept / "job.json").is_file() for kept in (tmp_path / "work/encoder").iterdir()] == [True, True]


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan"])
def test_a_limit_that_is_no_number_is_refused(monkeypatch, value):
    monkeypatch.setenv("NEURONKIT_COMPILE_TIMEOUT", value)
    with pytest.raises(OptionError, match="NEURONKIT_COMPILE_TIMEOUT must be a positive number of seconds"):
        compile_timeout()


def test_no_limit_by_default(monkeypatch):
    monkeypatch.delenv("NEURONKIT_COMPILE_TIMEOUT", raising=False)
    assert compile_timeout() is None
