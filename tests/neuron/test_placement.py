"""Which cores a session gets."""

from __future__ import annotations

import threading

import pytest

from neuronkit.backends.neuron.host import Host
from neuronkit.backends.neuron.placement import CoreAllocator, Placement, choose, parse_cores, visible_cores
from neuronkit.errors import OptionError
from tests.standin.simulation import build_machine


@pytest.fixture
def host(tmp_path, monkeypatch):
    """An inf2.24xlarge: twelve cores."""
    for name in ("NEURON_RT_VISIBLE_CORES", "NEURON_RT_NUM_CORES", "NEURON_LOGICAL_NC_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return Host(build_machine(tmp_path, "inf2.24xlarge"))


@pytest.mark.parametrize(
    ("text", "cores"), [("3", (3,)), ("0-3", (0, 1, 2, 3)), ("0,1", (0, 1)), ("1, 2-3", (1, 2, 3)), ("5-5", (5,))]
)
def test_cores_are_a_number_a_range_or_a_list(text, cores):
    assert parse_cores(text) == cores


@pytest.mark.parametrize("text", ["1,0", "0,2", "3-1", "0,0"])
def test_cores_must_be_consecutive(text):
    with pytest.raises(OptionError, match="placement: must be consecutive and ascending"):
        parse_cores(text)


@pytest.mark.parametrize("text", ["", "one", "-1", "0-", "0;1"])
def test_anything_else_is_refused(text):
    with pytest.raises(OptionError, match="placement: must be a number, a range or a list"):
        parse_cores(text)


def test_what_a_process_sees(host, monkeypatch):
    assert visible_cores(host) == 12
    monkeypatch.setenv("NEURON_RT_NUM_CORES", "4")
    assert visible_cores(host) == 4
    monkeypatch.setenv("NEURON_RT_VISIBLE_CORES", "6-7")
    assert visible_cores(host) == 2


def test_sessions_take_one_core_each_in_turn(host):
    allocator = CoreAllocator()

    assert [choose(None, "none", host, allocator).cores[0] for _ in range(13)] == [*range(12), 0]


@pytest.mark.parametrize(("mode", "count"), [("none", 1), ("unet", 2), ("transformer", 2), ("all", 12)])
def test_modes_take_as_many_cores_as_they_need(host, mode, count):
    assert choose(None, mode, host, CoreAllocator()) == Placement(tuple(range(count)), mode)


def test_a_pair_never_wraps_around():
    allocator = CoreAllocator()
    assert [allocator.take(2, 5) for _ in range(3)] == [(0, 1), (2, 3), (0, 1)]


def test_the_callers_cores_win(host):
    assert choose("4-5", "unet", host, CoreAllocator()).cores == (4, 5)


@pytest.mark.parametrize("cores", ["12", "11-12"])
def test_a_core_beyond_the_last_is_refused(host, cores):
    with pytest.raises(OptionError, match="there is no core 12; this process sees 12"):
        choose(cores, "none", host, CoreAllocator())


def test_a_mode_that_does_not_exist_is_refused(host):
    with pytest.raises(
        OptionError, match=r"data_parallel_mode: must be one of none, unet, transformer, all \(got 'both'\)"
    ):
        choose(None, "both", host)


def test_several_cores_are_refused_where_no_graph_is_split(host):
    with pytest.raises(
        OptionError, match=r"^placement: one core, because this artifact splits no calls .* \(got '0-1'\)"
    ):
        choose("0-1", "none", host)
    assert choose("0-1", "all", host).cores == (0, 1)


def test_the_variable_is_named_where_it_is_wrong(host, monkeypatch):
    monkeypatch.setenv("NEURON_RT_VISIBLE_CORES", "0,2")
    with pytest.raises(OptionError, match=r"^NEURON_RT_VISIBLE_CORES: must be consecutive"):
        choose(None, "none", host)


def test_more_cores_than_there_are_is_refused():
    with pytest.raises(OptionError, match="placement: 3 cores are needed, and this process sees 2"):
        CoreAllocator().take(3, 2)


@pytest.mark.parametrize(
    ("cores", "mode", "kind", "splits"),
    [
        ((0, 1), "unet", "unet", True),
        ((0, 1), "unet", "vae", False),
        ((0, 1), "all", "encoder", True),
        ((0,), "all", "unet", False),
        ((0, 1), "none", "unet", False),
    ],
)
def test_which_graphs_are_split(cores, mode, kind, splits):
    assert Placement(cores, mode).splits(kind) is splits


def test_threads_never_get_the_same_core_before_all_are_taken():
    allocator, taken, barrier = CoreAllocator(), [], threading.Barrier(8)

    def take():
        barrier.wait()
        taken.append(allocator.take(1, 8)[0])

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(8))
