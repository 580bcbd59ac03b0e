"""
The metadata of installed packages, as `importlib.metadata.distributions` would find it.

Importing that module takes as long as all the rest of a listing, so directories are read here, and only what is left,
zip files and the finders of others, goes through it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

_SUFFIXES = (".dist-info", ".egg-info")


class Installed(Protocol):
    """One package's metadata. `importlib.metadata.Distribution` is one."""

    def read_text(self, filename: str, /) -> str | None:
        """Return the text of one of its files, or None when there is none."""
        ...


class MetadataDirectory:
    """
    A ``.dist-info`` or ``.egg-info`` directory.

    Args:
        path: The directory.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def read_text(self, filename: str, /) -> str | None:
        """Return the text of one of its files, or None when there is none."""
        try:
            with open(f"{self._path}/{filename}", encoding="utf-8") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None


def import_path() -> list[str]:
    """Return `sys.path` as imports read it: they pass over what is no text, such as a Path that somebody put there."""
    return [entry for entry in sys.path if isinstance(entry, str)]


def find_installed(path: Sequence[str] | None = None) -> Iterator[Installed]:
    """
    Yield the metadata of every package, copies included, in the order of the path.

    Args:
        path: Where to look for packages; None is `sys.path`, and whatever other finders know.
    """
    for entry in import_path() if path is None else path:
        folder = entry or "."
        if os.path.isdir(folder):
            yield from map(MetadataDirectory, _metadata_directories(folder))
        elif os.path.exists(folder):
            yield from _found_by_importlib(folder)
    if path is None:
        yield from _found_by_others(sys.meta_path)


def location(installed: Installed) -> str:
    """Return where a package's metadata is."""
    # Distribution has no public attribute for its own directory; importlib's one subclass calls it `_path`, too.
    return str(getattr(installed, "_path", installed))


def guess_name(installed: Installed) -> str:
    """Return a package's name as its metadata directory has it, which spares reading a file."""
    stem = os.path.splitext(os.path.basename(location(installed)))[0]
    return re.sub(r"-\d.*", "", stem)


def _metadata_directories(folder: str) -> Iterator[str]:
    is_egg = folder.lower().endswith(".egg")
    try:
        names = os.listdir(folder)
    except PermissionError:  # as importlib.metadata: what cannot be listed cannot be imported either
        return
    for name in names:
        lowered = name.lower()
        if lowered.endswith(_SUFFIXES) or (is_egg and lowered == "egg-info"):
            yield os.path.join(folder, name)


def _found_by_importlib(file: str) -> Iterable[Installed]:
    from importlib.metadata import distributions

    return distributions(path=[file])


def _found_by_others(finders: Iterable[Any]) -> Iterator[Installed]:
    for finder in finders:
        if getattr(finder, "__name__", None) != "PathFinder" and hasattr(finder, "find_distributions"):
            from importlib.metadata import DistributionFinder

            yield from finder.find_distributions(DistributionFinder.Context())
