"""Whether a package's own requirements allow the running version."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable

from neuronkit_registry.names import normalize

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9._-]*[A-Za-z0-9])\s*(?:\[[^\]]*\])?\s*\(?([^;()]*)\)?\s*(;.*)?")
_PLAIN_CLAUSE = re.compile(r"(>=|<=|==|!=|>|<)\s*(\d+(?:\.\d+)*)")
_PLAIN_VERSION = re.compile(r"\d+(?:\.\d+)*")
_EXTRA = r"""\bextra\s*==\s*["']([^"']+)["']"""
_COMPARISONS = {
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
}


def find_excluding(requires: Iterable[str], package: str, version: str) -> str | None:
    """
    Return the first requirement that a version of a package does not meet, or None.

    Args:
        requires: Requirements as ``Requires-Dist`` has them; those on other packages are passed over.
        package: The package.
        version: Its version.
    """
    for requirement in requires:
        found = _REQUIREMENT.match(requirement)
        if found and normalize(found[1]) == normalize(package) and not _is_for_an_extra(found[3] or ""):
            plain = None if found[3] else _compare_plain(found[2], version)
            if not (_compare(requirement, version) if plain is None else plain):
                return found[0].partition(";")[0].strip()
    return None


def find_extra(requires: Iterable[str], package: str) -> str | None:
    """
    Return the extra that brings a package with the fewest others, the first of those that bring as many; None where none does.

    Args:
        requires: Requirements as ``Requires-Dist`` has them. There an extra that names others is a list of all their packages.
        package: The package.
    """
    brought: dict[str, list[str]] = {}
    for requirement in requires:
        found = _REQUIREMENT.match(requirement)
        if found and (extra := re.search(_EXTRA, found[3] or "")):
            brought.setdefault(extra[1], []).append(normalize(found[1]))
    able = [extra for extra, packages in brought.items() if normalize(package) in packages]
    return min(able, key=lambda extra: len(brought[extra]), default=None)


def _is_for_an_extra(marker: str) -> bool:
    return bool(marker and re.search(_EXTRA, marker) and not re.search(r"\bor\b", marker))


def _compare_plain(specifiers: str, version: str) -> bool | None:
    """Compare releases made of numbers alone; None when that does not decide. Spares 15 ms for importing packaging."""
    if not _PLAIN_VERSION.fullmatch(version):
        return None
    for clause in filter(None, (item.strip() for item in specifiers.split(","))):
        found = _PLAIN_CLAUSE.fullmatch(clause)
        if not found:
            return None
        if not _COMPARISONS[found[1]](_release(version), _release(found[2])):
            return False
    return True


def _release(version: str) -> tuple[int, ...]:
    numbers = [int(part) for part in version.split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _compare(requirement: str, version: str) -> bool:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        parsed = Requirement(requirement)
    except InvalidRequirement:
        return True
    if parsed.marker and not parsed.marker.evaluate({"extra": ""}):
        return True
    return parsed.specifier.contains(version, prereleases=True)
