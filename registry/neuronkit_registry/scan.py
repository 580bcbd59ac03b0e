"""The entry points that installed packages declare, read from their metadata; nothing is imported."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import Distribution, distributions

import attrs

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
    copies: dict[str, list[Distribution]] = {}
    declaring: dict[Distribution, Mapping[str, list[str]]] = {}
    problems: list[str] = []
    for distribution in distributions() if path is None else distributions(path=list(path)):
        name = _guess_name(distribution)
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
                declarations += _read_declarations(first, prefix, declaring[first])
            except Exception as error:  # what importlib raises for a line that is no entry point depends on its version
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
    for found in distributions(name=package) if path is None else distributions(name=package, path=list(path)):
        try:
            return _read_headers(found)["Version"][0]
        except (OSError, ValueError):
            return None
    return None


def _location(distribution: Distribution) -> str:
    # Distribution has no public attribute for its own directory; importlib's one subclass calls it `_path`.
    return str(getattr(distribution, "_path", distribution))


def _guess_name(distribution: Distribution) -> str:
    """Return the package's name as its metadata directory has it, which spares reading a file."""
    stem = os.path.splitext(os.path.basename(_location(distribution)))[0]
    return re.sub(r"-\d.*", "", stem)


def _read_headers(distribution: Distribution) -> dict[str, list[str]]:
    """Return the headers of METADATA. `Distribution.metadata` would parse the whole of it with the email package."""
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


def _read_declarations(
    distribution: Distribution, prefix: str, headers: Mapping[str, list[str]]
) -> Iterator[Declaration]:
    package, version, requires = headers["Name"][0], headers["Version"][0], tuple(headers.get("Requires-Dist", ()))
    for point in distribution.entry_points:
        if point.group.startswith(prefix):
            yield Declaration(point.group, point.name, point.value, package, version, requires)


def _in_order(found: Sequence[Distribution]) -> list[Distribution]:
    """Return the copies of one package, the one that counts first; a directory that is seen twice is one copy."""
    if len(found) == 1:
        return list(found)
    from packaging.version import InvalidVersion, Version

    unique: dict[str, Distribution] = {}
    for distribution in found:
        unique.setdefault(os.path.realpath(_location(distribution)), distribution)
    directories = list(dict.fromkeys(os.path.dirname(path) for path in unique))

    def rank(path: str) -> tuple[int, Version, str]:
        version = os.path.splitext(os.path.basename(path))[0].partition("-")[2]
        try:
            parsed = Version(version)
        except InvalidVersion:
            parsed = Version("0")
        return -directories.index(os.path.dirname(path)), parsed, path

    return [unique[path] for path in sorted(unique, key=rank, reverse=True)]


def _describe_copies(name: str, first: Distribution, others: Sequence[Distribution]) -> str:
    ignored = ", ".join(_location(item) for item in others)
    return (
        f"{name} is installed {len(others) + 1} times: {_location(first)} is used, {ignored} ignored. "
        f"Try: pip uninstall {name} until it is gone, then install it once."
    )


def _unreadable(distribution: Distribution, error: Exception) -> str:
    return (
        f"{_location(distribution)} cannot be read and is ignored ({error}). "
        f"Try: pip install --force-reinstall {normalize(_guess_name(distribution))}."
    )
