"""Which releases of a library a test runs with: some of what is compared with differs between them."""

from __future__ import annotations

from importlib.metadata import version

from packaging.version import Version


def at_least(package: str, release: str) -> bool:
    """Tell whether the installed release of a package is that one or a later one."""
    return Version(version(package)) >= Version(release)
