"""The tests that come with packages, in one process that has only them installed."""

from __future__ import annotations

import pytest

from tests.examples.conftest import EXAMPLES
from tests.examples.generated import NAME


@pytest.mark.heavy
def test_packages_pass_their_own_tests(examples):
    """The conformance items of both models, none skipped, and what the examples test beside."""
    folders = [EXAMPLES / "acme-langid" / "tests", EXAMPLES / "acme-metrics" / "tests", examples.directory / NAME]
    counts, passed = examples.run_tests(*folders)
    assert counts.keys() <= {"passed", "warning"}
    for name in ("acme-langid", NAME):
        promises = [item for item in passed if f"{name}/tests/test_conformance.py::" in item]
        assert len(promises) >= 10, passed
