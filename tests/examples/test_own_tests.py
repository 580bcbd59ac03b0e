"""The tests that come with the examples, in one process that has only them installed."""

from __future__ import annotations

from tests.examples.conftest import EXAMPLES


def test_examples_pass_their_own_tests(examples):
    """The conformance items of the model, and around it what each package tests beside."""
    counts = examples.run_tests(EXAMPLES / "acme-langid" / "tests", EXAMPLES / "acme-metrics" / "tests")
    assert counts.keys() <= {"passed", "warning"}
    assert counts["passed"] >= 25
