"""Where weights are by default."""

from __future__ import annotations

import json

import pytest


@pytest.mark.parametrize("inline", [None, True])
def test_the_manifest_has_where_the_weights_are(artifact, inline):
    """Apart, unless the caller asks for them inside, where nothing is bound at load; options keep what was asked for."""
    given = {} if inline is None else {"inline_weights": inline}
    manifest = json.loads((artifact("sd", **given) / "neuronkit.json").read_text())
    assert manifest["options"]["inline_weights"] is inline
    for graph in manifest["graphs"]:
        assert graph["inline_weights"] is bool(inline)
        assert bool(graph["buckets"][0]["constants"]) is not bool(inline)
