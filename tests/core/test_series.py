"""Series: tuples of tensors under numbered names."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from neuronkit.export import members, numbered


@given(
    st.lists(st.integers(), max_size=12),
    st.sets(st.sampled_from(["state", "state_x", "states_0", "state_01", "other"])),
)
def test_members_are_what_was_numbered(items, others):
    """In their order, ten and more too, whatever else has a name that begins like theirs."""
    names = numbered("state", items)
    assert list(names.values()) == items
    assert members("state", {*names, *others}) == list(names)


def test_a_series_ends_at_its_first_gap():
    """A number without those before it belongs to none."""
    assert members("state", {"state_0", "state_2"}) == ["state_0"]
    assert members("state", {"state_1"}) == []
