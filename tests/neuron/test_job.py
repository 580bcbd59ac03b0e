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

from neuronkit.backends.neuron import backend
from neuronkit.backends.neuron.backend import compile_timeout
from neuronkit.backends.neuron.errors import NeuronCompileError, NeuronCompileTimeoutError
from neuronkit.backends.neuron.job import JOB, Job, MemoryGate, log_file, read_job, run_job, write_job
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


def wait_for(condition, seconds: float = 20) -> bool:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_a_job_travels_as_json(tmp_path):
    job = Job(graph="unet", bucket="batch1", flags=["--target=inf2"], states=[2], lazy_load=True)
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
    assert (tmp_path / "work/encoder" / BUCKET.label / "compiler/command.txt").is_file()


def test_the_time_limit_ends_the_process_and_its_children(machine, tmp_path):
    machine.fail("timeout")
    machine.set("NEURONKIT_COMPILE_TIMEOUT", "2")
    work = tmp_path / "work"

    with pytest.raises(NeuronCompileTimeoutError, match="took longer than 2 s and was ended"):
        compile_toy(backend, CompileOptions(target="inf2", compiler_workdir=str(work)), tmp_path)
    assert alive(work) == []


def test_an_interrupt_ends_the_process(machine, tmp_path):
    machine.fail("timeout")
    work = tmp_path / "work"
    main = threading.get_ident()

    def interrupt():
        if wait_for(lambda: alive(work)):
            signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        compile_toy(backend, CompileOptions(target="inf2", compiler_workdir=str(work)), tmp_path)
    thread.join()
    assert alive(work) == []


def test_the_worker_ends_with_its_parent(machine, tmp_path):
    machine.fail("timeout")
    work = tmp_path / "work"
    work.mkdir()
    code = (
        "import sys; from pathlib import Path; from neuronkit.backends.neuron.job import Job, run_job\n"
        "run_job(Job(graph='encoder', bucket='fixed', flags=[]), Path(sys.argv[1]))"
    )
    # A program that never ends to read: what counts is that the worker waits.
    os.mkfifo(work / "program.pt2")
    parent = subprocess.Popen([sys.executable, "-c", code, str(work)])
    try:
        assert wait_for(lambda: len(alive(work)) == 2)
        time.sleep(1)
    finally:
        parent.kill()
        parent.wait()
    assert wait_for(lambda: not alive(work)), "the worker outlived its parent"


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


def test_logs_are_kept_by_component(monkeypatch, tmp_path):
    monkeypatch.setenv("NEURONKIT_CACHE", str(tmp_path))

    assert log_file(Job(graph="unet", bucket="batch1", flags=[])) == tmp_path / "logs/neuron/unet-batch1.log"


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan"])
def test_a_limit_that_is_no_number_is_refused(monkeypatch, value):
    monkeypatch.setenv("NEURONKIT_COMPILE_TIMEOUT", value)
    with pytest.raises(OptionError, match="NEURONKIT_COMPILE_TIMEOUT must be a positive number of seconds"):
        compile_timeout()


def test_no_limit_by_default(monkeypatch):
    monkeypatch.delenv("NEURONKIT_COMPILE_TIMEOUT", raising=False)
    assert compile_timeout() is None


def test_compilations_wait_for_memory():
    gate, order = MemoryGate(), []
    inside, leave = threading.Event(), threading.Event()

    def first():
        with gate.reserve(60, 100):
            inside.set()
            leave.wait(10)
            order.append("first")

    def second():
        inside.wait(10)
        with gate.reserve(60, 100):
            order.append("second")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    for thread in threads:
        thread.start()
    inside.wait(10)
    with gate.reserve(30, 100):
        order.append("small")
    leave.set()
    for thread in threads:
        thread.join()
    assert order == ["small", "first", "second"]


def test_one_compilation_always_runs():
    gate = MemoryGate()
    with gate.reserve(10**12, 1):
        assert gate.running == 1
    with gate.reserve(1, None):
        pass
    assert gate.running == 0
