"""Installed packages that are written on the spot: real metadata, and modules beside it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path


def write_distribution(
    site: Path,
    name: str,
    plugins: Mapping[str, str] | None = None,
    *,
    version: str = "1.0",
    group: str = "neuronkit.models.v1",
    entry_points: str | None = None,
    modules: Mapping[str, str] | None = None,
    requires: Sequence[str] = (),
) -> Path:
    """
    Write a distribution as pip leaves it.

    Args:
        site: Where, as ``site-packages``.
        name: Name of the package.
        plugins: Its entry points in `group`; None for none.
        version: Its version.
        group: The entry-point group.
        entry_points: The text of ``entry_points.txt`` instead.
        modules: Source by the name of the module; None for none.
        requires: Lines of ``Requires-Dist``.

    Returns:
        The metadata directory.
    """
    metadata = site / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir(parents=True)
    headers = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    headers += [f"Requires-Dist: {requirement}" for requirement in requires]
    (metadata / "METADATA").write_text("\n".join(headers) + "\n\nDescription\n")
    if entry_points is None:
        entry_points = f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in (plugins or {}).items())
    (metadata / "entry_points.txt").write_text(entry_points)
    for module, source in (modules or {}).items():
        (site / f"{module}.py").write_text(textwrap.dedent(source).lstrip("\n"))
    return metadata
