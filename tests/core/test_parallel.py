"""Graphs that compile in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
from functools import partial
from pathlib import Path

import pytest
import torch

import neuronkit
from neuronkit.artifact.cache import GraphCache
from neuronkit.compilation.journey import compile_model
from neuronkit.compilation.parallel import run_forked
from neuronkit.errors import CompileError, OptionError
from tests.plugins.checkpoints import tiny_bert


def leave_pid(directory: Path, number: int) -> None:
    (directory / str(number)).write_text(str(os.getpid()))


def fail() -> None:
    raise ValueError("nobody reads this")


def wait_for_ever(directory: Path) -> None:
    leave_pid(directory, 0)
    signal.pause()


def test_every_task_runs_in_a_process_of_its_own(tmp_path, capfd):
    """Little memory makes them wait for each other, and a failure stops nothing and says nothing."""
    for memory in (1, 2**60):
        run_forked([fail, *(partial(leave_pid, tmp_path, number) for number in range(3))], 2, memory)
        found = {int(path.read_text()) for path in tmp_path.iterdir()}
        assert len(found) == 3
        assert os.getpid() not in found
    assert capfd.readouterr() == ("", "")


def test_an_interrupt_ends_them(tmp_path):
    def interrupt(number, frame):
        if (tmp_path / "0").exists():
            raise KeyboardInterrupt
        signal.setitimer(signal.ITIMER_REAL, 0.05)

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            run_forked([partial(wait_for_ever, tmp_path)], 1, 1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not Path(f"/proc/{(tmp_path / '0').read_text()}").exists()


def say_what_is_refused(pipe) -> None:
    try:
        run_forked([fail], 2, 1)
    except OptionError as error:
        pipe.send(str(error))


def test_a_worker_of_a_pool_has_no_processes():
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    worker = context.Process(target=say_what_is_refused, args=(theirs,), daemon=True)
    worker.start()
    worker.join(60)
    assert ours.poll()
    assert ours.recv() == (
        "jobs: a worker of a pool may have no processes of its own (got 2).\nTry: jobs=1, since the pool has several."
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("parallel") / "bert")


def given(**more):
    return {"optlevel": 1, "static": True, "sequence_length": [8, 16], "jobs": 2, **more}


def test_graphs_compile_together(checkpoint, tmp_path, monkeypatch):
    """This process compiles nothing any more, and the artifact is as good as any."""
    monkeypatch.setenv("NEURONKIT_CACHE", str(tmp_path / "cache"))
    said = []
    compile_model(
        checkpoint, tmp_path / "out", task="question-answering", backend_name="cpu", given=given(), progress=said.append
    )
    assert "2 graphs, up to 2 at the same time" in said
    assert sum(" from the cache (" in line for line in said) == 2
    assert any(line.startswith("validated:") for line in said)

    said.clear()
    again = given(force=True)
    compile_model(
        checkpoint, tmp_path / "out", task="question-answering", backend_name="cpu", given=again, progress=said.append
    )
    assert not any("at the same time" in line for line in said)

    ids = torch.arange(5, 17)[None]
    outputs = neuronkit.load(tmp_path / "out")(input_ids=ids)
    assert outputs.start_logits.shape == (1, 12)


def test_together_or_one_after_another_gives_the_same_artifact(checkpoint, tmp_path, monkeypatch):
    ids = torch.arange(5, 17)[None]
    scores, keys = [], []
    for jobs in (1, 2):
        cache = tmp_path / f"cache-{jobs}"
        monkeypatch.setenv("NEURONKIT_CACHE", str(cache))
        output = tmp_path / f"out-{jobs}"
        neuronkit.compile(checkpoint, output, task="question-answering", **given(jobs=jobs))
        keys.append(sorted(entry.key for entry in GraphCache(cache).entries()))
        scores.append(neuronkit.load(output)(input_ids=ids).start_logits)
    assert keys[0] == keys[1]
    assert torch.equal(*scores)


def test_a_graph_that_fails_leaves_the_others_in_the_cache(checkpoint, tmp_path, monkeypatch):
    """The error is the one that compiling here gives."""
    from neuronkit.backends.cpu import backend

    monkeypatch.setenv("NEURONKIT_CACHE", str(tmp_path / "cache"))
    compile_here = type(backend).compile

    def refuse(self, graph, bucket, module, options, directory):
        if bucket.sizes["sequence"] == 8:
            raise CompileError("no eights")
        return compile_here(self, graph, bucket, module, options, directory)

    monkeypatch.setattr(type(backend), "compile", refuse)
    with pytest.raises(CompileError, match="no eights"):
        neuronkit.compile(checkpoint, tmp_path / "out", task="question-answering", **given())
    assert not (tmp_path / "out").exists()
    (entry,) = GraphCache(tmp_path / "cache").entries()
    assert "sequence16" in entry.label
