"""Threads that compile at once: torch is made for one, and so each has its turn."""

from __future__ import annotations

import multiprocessing
import os
import threading

import pytest

import neuronkit
from neuronkit.environment import temporarily
from neuronkit.hooks import hookimpl
from neuronkit.state import Turns
from neuronkit.turns import ForkedLock, in_turn
from tests.core.tide import KEY, TASK, Tide

VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def run_together(*functions):
    """Run each in a thread, and return what they raised."""
    raised = []

    def run(function):
        try:
            function()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def compile_tide(checkpoint, output, **options):
    return neuronkit.compile(checkpoint, output, task=TASK, optlevel=1, cache=False, sequence_length=6, **options)


class Meeting(Tide):
    """Its checkpoints are loaded by two threads at once, if these may."""

    def __init__(self):
        super().__init__()
        self.barrier = threading.Barrier(2)
        self.met = False

    @hookimpl
    def export_config(self, source):
        try:
            self.barrier.wait(0.3)
            self.met = True
        except threading.BrokenBarrierError:
            pass
        return super().export_config(source)


def test_two_threads_compile_one_after_the_other(tide_checkpoint, tmp_path):
    plugin = Meeting()
    with neuronkit.get_registry().temporary(plugin, KEY):
        outputs = [tmp_path / "one", tmp_path / "two"]
        raised = run_together(*(lambda output=output: compile_tide(tide_checkpoint, output) for output in outputs))
    assert raised == []
    assert not plugin.met
    assert all((output / "neuronkit.json").is_file() for output in outputs)


class Nested(Tide):
    """Compiles another artifact of the same checkpoint first."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    @hookimpl
    def export_config(self, source):
        output, self.output = self.output, None
        if output is not None:
            compile_tide(source.path, output)
        return super().export_config(source)


def test_a_plugin_may_compile_while_it_is_compiled(tide_checkpoint, tmp_path):
    with neuronkit.get_registry().temporary(Nested(tmp_path / "inner"), KEY):
        compile_tide(tide_checkpoint, tmp_path / "outer")
    assert (tmp_path / "inner" / "neuronkit.json").is_file()


def test_a_setting_is_of_one_thread(monkeypatch):
    """Another waits; so each finds its own, and what was there before is there after both."""
    monkeypatch.delenv(VARIABLE, raising=False)
    first, second = threading.Event(), threading.Event()
    found = []

    def compile_first():
        with temporarily(VARIABLE, "first"):
            first.set()
            second.wait(0.3)
            found.append(os.environ[VARIABLE])

    def compile_second():
        first.wait()
        with temporarily(VARIABLE, "second"):
            second.set()
            found.append(os.environ[VARIABLE])

    assert run_together(compile_first, compile_second) == []
    assert found == ["first", "second"]
    assert VARIABLE not in os.environ


def run_forked(target, held):
    """Run a function in a fork that is made while a thread holds what a function gives, and return how the fork ended."""
    holds, done = threading.Event(), threading.Event()

    def hold():
        with held():
            holds.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    holds.wait()
    process = multiprocessing.get_context("fork").Process(target=target)
    process.start()
    process.join(30)
    done.set()
    thread.join()
    process.kill()
    return process.exitcode


def take_turns():
    with in_turn("compile"), in_turn("read"):
        pass


@pytest.mark.parametrize("what", ["compile", "read"])
def test_a_fork_does_not_wait_for_a_thread_that_it_does_not_have(what):
    """Nor for the one that made it."""
    assert run_forked(take_turns, lambda: in_turn(what)) == 0


@pytest.mark.parametrize("of_a_model", [False, True])
def test_a_fork_has_a_lock_of_its_own(of_a_model):
    """Free, although a thread that is not there had it, as where a model was generating; and one alone, however many forks."""
    lock, turns = ForkedLock(), Turns()

    def held():
        return turns.begin() if of_a_model else lock.own

    def take():
        with held():
            assert of_a_model or list(lock._locks) == [os.getpid()]

    assert run_forked(take, held) == 0
    take()
