"""From exit statuses and codes to causes and cures."""

from __future__ import annotations

import re

import pytest

from neuronkit.backends.neuron import failures


@pytest.mark.parametrize(
    ("message", "status"),
    [("neuronx-cc failed with 70", 70), ("neuronx-cc failed with -9", -9), ("something else", None), ("", None)],
)
def test_the_status_is_in_the_error(message, status):
    assert failures.status_of(message) == status


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("Could not load the model status=4 message=Allocation Failure", "the core has no memory left"),
        ("Failed to execute the model status=1003 message=Numerical Error", "the result holds NaN"),
    ],
)
def test_the_run_time_s_status_has_a_cause(reason, cause):
    assert failures.run_failure(reason).cause == cause


@pytest.mark.parametrize("reason", ["Failed to execute the model status=1", "exit_status=4", "no status"])
def test_a_status_that_is_not_known_has_none(reason):
    assert failures.run_failure(reason) is None


def test_codes_are_found_once_in_order(tmp_path):
    (tmp_path / "a.log").write_text("[ERROR] [NCC_EVRF007] too many\nNCC_EOOM001, NCC_EVRF007 again")
    (tmp_path / "b.txt").write_text("NCC_EARG001 and MY_NCC_ABCD001 and NCC_X1")

    assert failures.codes_in(failures.logs_below(tmp_path)) == ("NCC_EVRF007", "NCC_EOOM001", "NCC_EARG001")


def test_only_text_is_read_as_a_log(tmp_path):
    (tmp_path / "graph.neff").write_bytes(b"NCC_EVRF007")
    assert failures.logs_below(tmp_path) == []


@pytest.mark.parametrize(
    ("status", "codes", "words"),
    [
        (70, ["NCC_EVRF007"], "more instructions than one program may have"),
        (70, ["NCC_EVRF004"], "complex numbers"),
        (70, ["NCC_EMOD025"], "a shape that depends on data"),
        (70, ["NCC_EVRF056"], "max_position_embeddings"),
        (-9, [], "ran out of memory"),
        (137, [], "fewer --jobs"),
        (-11, [], "segmentation fault"),
        (2, [], "compiler_args"),
        (70, ["NCC_ZZZZ999"], r"met an error of its own \(NCC_ZZZZ999: not a documented code\)"),
    ],
)
def test_explanations_have_a_cause_and_a_cure(status, codes, words):
    text = failures.explain(status, codes)

    assert re.search(words, text)
    assert "\nTry: " in text


def test_what_is_not_known_is_not_explained():
    assert failures.explain(3, []) is None
    assert failures.explain(None, []) is None


def test_the_table_is_in_alphabetical_order_and_well_formed():
    assert list(failures.CODES) == sorted(failures.CODES)
    assert all(re.fullmatch(r"NCC_[A-Z]{4}\d{3}", code) for code in failures.CODES)
    assert all(item.cause and item.cure for item in [*failures.CODES.values(), *failures.STATUSES.values()])
