"""The entry points that installed packages declare, read from their metadata; nothing is imported."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

import attrs

from neuronkit_registry.installed import Installed, find_installed, guess_name, location
from neuronkit_registry.names import normalize


@attrs.frozen
class Declaration:
    """
    One entry point.

    Args:
        group: Entry-point group.
        name: Left of the ``=``.
        value: Right of it.
        package: Name of the package.
        version: Version of the package.
        requires: The package's requirements, as its metadata has them.
    """

    group: str
    name: str
    value: str
    package: str
    version: str
    requires: tuple[str, ...] = ()


@attrs.frozen
class Scan:
    """
    What one look at the installed packages found.

    Args:
        declarations: The entry points, sorted.
        problems: In words: packages that could not be read, or are installed more than once.
    """

    declarations: tuple[Declaration, ...] = ()
    problems: tuple[str, ...] = ()


def scan(namespace: str, path: Sequence[str] | None = None) -> Scan:
    """
    Read the entry points in all groups of a namespace.

    A package that is found twice counts once: where it comes first on the path and, within a directory, in its highest
    version. That is the copy whose code an import finds.

    Args:
        namespace: First part of the groups, such as ``neuronkit``.
        path: Where to look for packages; None is `sys.path`.
    """
    prefix = f"{namespace}."
    copies: dict[str, list[Installed]] = {}
    declaring: dict[Installed, Mapping[str, list[str]]] = {}
    problems: list[str] = []
    for distribution in find_installed(path):
        name = guess_name(distribution)
        if name.startswith("~"):  # what pip leaves behind when it is interrupted
            continue
        try:
            if prefix in (distribution.read_text("entry_points.txt") or ""):
                declaring[distribution] = _read_headers(distribution)
                name = declaring[distribution]["Name"][0]
        except (OSError, ValueError) as error:
            problems.append(_unreadable(distribution, error))
        else:
            copies.setdefault(normalize(name), []).append(distribution)

    declarations: list[Declaration] = []
    for name, found in copies.items():
        if declaring.keys().isdisjoint(found):
            continue
        first, *others = _in_order(found)
        if others:
            problems.append(_describe_copies(name, first, others))
        if first in declaring:
            try:
                declarations += list(_read_declarations(first, prefix, declaring[first]))
            except (OSError, ValueError) as error:
                problems.append(_unreadable(first, error))
    declarations.sort(key=lambda one: (one.group, one.name, normalize(one.package), one.value))
    return Scan(tuple(declarations), tuple(sorted(problems)))


def find_version(package: str, path: Sequence[str] | None = None) -> str | None:
    """
    Return the version of an installed package, or None when it is not there or cannot be read.

    Args:
        package: Its name.
        path: Where to look for packages; None is `sys.path`.
    """
    for found in find_installed(path):
        if normalize(guess_name(found)) == normalize(package):
            try:
                return _read_headers(found)["Version"][0]
            except (OSError, ValueError):
                return None
    return None


def _read_headers(distribution: Installed) -> dict[str, list[str]]:
    """Return the headers of METADATA. `importlib.metadata` would parse the whole of it with the email package."""
    text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    headers: dict[str, list[str]] = {}
    for line in text.splitlines():
        if not line:
            break
        name, colon, value = line.partition(":")
        if colon:
            headers.setdefault(name, []).append(value.strip())
    for name in ("Name", "Version"):
        if not any(headers.get(name, ())):
            raise ValueError(f"METADATA has no {name}")
    return headers


def _read_declarations(distribution: Installed, prefix: str, headers: Mapping[str, list[str]]) -> Iterator[Declaration]:
    package, version, requires = headers["Name"][0], headers["Version"][0], tuple(headers.get("Requires-Dist", ()))
    group = ""
    for line in map(str.strip, (distribution.read_text("entry_points.txt") or "").splitlines()):
        if line.startswith("[") and line.endswith("]"):
            group = line[1:-1].strip()
        elif line and not line.startswith("#") and group.startswith(prefix):
            name, equals, value = line.partition("=")
            if not equals:
                raise ValueError(f"{line!r} in entry_points.txt is no entry point")
            yield Declaration(group, name.strip(), value.strip(), package, version, requires)


def _in_order(found: Sequence[Installed]) -> list[Installed]:
    """Return the copies of one package, the one that counts first; a directory that is seen twice is one copy."""
    if len(found) == 1:
        return list(found)
    unique: dict[str, Installed] = {}
    for distribution in found:
        unique.setdefault(os.path.realpath(location(distribution)), distribution)
    by_directory: dict[str, list[str]] = {}
    for path in unique:
        by_directory.setdefault(os.path.dirname(path), []).append(path)
    return [unique[path] for paths in by_directory.values() for path in _highest_version_first(paths)]


def _highest_version_first(paths: list[str]) -> list[str]:
    if len(paths) == 1:
        return paths
    from packaging.version import InvalidVersion, Version

    def rank(path: str) -> tuple[Version, str]:
        version = os.path.splitext(os.path.basename(path))[0].partition("-")[2]
        try:
            return Version(version), path
        except InvalidVersion:
            return Version("0"), path

    return sorted(paths, key=rank, reverse=True)


def _describe_copies(name: str, first: Installed, others: Sequence[Installed]) -> str:
    ignored = ", ".join(location(item) for item in others)
    return (
        f"{name} is installed {len(others) + 1} times: {location(first)} is used, {ignored} ignored. "
        f"Try: pip uninstall {name} until it is gone, then install it once."
    )


def _unreadable(distribution: Installed, error: Exception) -> str:
    return (
        f"{location(distribution)} cannot be read and is ignored ({error}). "
        f"Try: pip install --force-reinstall {normalize(guess_name(distribution))}."
    )
