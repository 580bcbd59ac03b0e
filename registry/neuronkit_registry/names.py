"""Names as people type them: packages, ``key@package``, patterns, near misses."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cache


@cache
def normalize(package: str) -> str:
    """Return the name of a package in the one spelling that all its spellings share."""
    return re.sub(r"[-_.]+", "-", package).lower()


def split_qualified(name: str) -> tuple[str, str | None]:
    """Return key and package of ``key`` or ``key@package``."""
    key, _, package = name.partition("@")
    return key, package or None


def matches(pattern: str, key: str, package: str) -> bool:
    """
    Tell whether a pattern means a plugin.

    Args:
        pattern: A key, a package or ``key@package``, each of them possibly with ``*``, ``?`` and ``[...]``.
        key: The plugin's key.
        package: The plugin's package.
    """
    key_pattern, package_pattern = split_qualified(pattern)
    if package_pattern:
        return fnmatchcase(key, key_pattern) and _matches_package(package_pattern, package)
    return fnmatchcase(key, pattern) or _matches_package(pattern, package)


def _matches_package(pattern: str, package: str) -> bool:
    # A dot in the pattern stays a dot: "bert.*" means keys and must not match a package called bert-tools.
    pattern = pattern.lower().replace("_", "-")
    return fnmatchcase(normalize(package), pattern) or fnmatchcase(package.lower().replace("_", "-"), pattern)


def closest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known name that was most likely meant, or None when none is as similar as `cutoff`, from 0 to 1."""
    from difflib import get_close_matches

    found = get_close_matches(name, sorted(set(known)), 1, cutoff)
    return found[0] if found else None
