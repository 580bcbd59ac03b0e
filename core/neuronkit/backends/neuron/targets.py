"""Targets of the compiler, the chips behind them, and the instance types that have them."""

from __future__ import annotations

from collections.abc import Mapping

from neuronkit.errors import OptionError

FAMILIES: Mapping[str, str] = {"inf2": "trn1", "trn1": "trn1", "trn1n": "trn1", "trn2": "trn2"}
"""
The architecture of each target: Inferentia2 and Trainium1 have the same cores, so that a graph for one runs on the
other.
"""
TARGETS = tuple(FAMILIES)
_SERIES: Mapping[str, str] = {"trn2u": "trn2"}
"""Instance series whose name is not the target's."""
CORE_BYTES: Mapping[str, int] = {"trn1": 16 * 2**30, "trn2": 12 * 2**30}
"""Device memory of one physical core, by architecture."""
DEFAULT_LOGICAL_CORES: Mapping[str, int] = {"trn1": 1, "trn2": 2}
"""Physical cores in a logical one, unless the caller chooses."""
CORES_PER_CHIP: Mapping[str, int] = {"trn1": 2, "trn2": 8}
CHIPS: Mapping[str, int] = {
    "inf2.xlarge": 1,
    "inf2.8xlarge": 1,
    "inf2.24xlarge": 6,
    "inf2.48xlarge": 12,
    "trn1.2xlarge": 1,
    "trn1.32xlarge": 16,
    "trn1n.32xlarge": 16,
    "trn2.3xlarge": 1,
    "trn2.48xlarge": 16,
    "trn2u.48xlarge": 16,
}
"""Chips by instance type."""


def target_of(name: str) -> str | None:
    """Return the target of an instance type, or of a target itself: ``"trn2u.48xlarge"`` -> ``"trn2"``; None for others."""
    series = name.split(".", 1)[0]
    series = _SERIES.get(series, series)
    return series if series in FAMILIES else None


def parse_target(value: str) -> str:
    """
    Return the target that a name or an instance type stands for: ``"inf2"``, ``"inf2.8xlarge"`` -> ``"inf2"``.

    Raises:
        OptionError: It is none.

    """
    target = target_of(value)
    if target is None:
        raise OptionError(f"target: must be one of {', '.join(TARGETS)}, or an instance type of these (got {value!r}).")
    return target


def family(target: str) -> str:
    """Return the architecture of a target."""
    return FAMILIES[target]
