"""No built-in plugin is forgotten: one that is added without a conformance class fails here."""

from __future__ import annotations

import pytest

from neuronkit.testing import PluginConformance
from tests.conformance import test_text
from tests.conformance.keys import builtin_records


def suites(module: object) -> list[type[PluginConformance]]:
    """Return the conformance classes of a module that pytest collects."""
    found = [value for name, value in vars(module).items() if name.startswith("Test") and isinstance(value, type)]
    return [one for one in found if issubclass(one, PluginConformance)]


def test_every_builtin_key_is_checked() -> None:
    pytest.importorskip("diffusers")
    from tests.conformance import test_image

    checked: set[str] = set()
    compiled: set[str] = set()
    for suite in [*suites(test_text), *suites(test_image)]:
        keys = [suite.key] if isinstance(suite.key, str) else suite.key
        checked.update(keys)
        compiled.add(keys[0])
    records = builtin_records()
    assert len(records) > 130
    assert checked == {record.key for record in records}
    assert {one.target for one in records if one.key in compiled} == {one.target for one in records}
