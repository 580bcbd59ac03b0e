"""
The oldest releases that the project admits of some packages, as requirements for pip.

    python -m tools.oldest torch transformers diffusers
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement


def oldest(packages: list[str]) -> list[str]:
    """
    Return ``package==release`` for each package, in their order.

    Raises:
        KeyError: ``pyproject.toml`` has no lower bound for a package.
    """
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [
        *project["dependencies"],
        *(one for extra in project["optional-dependencies"].values() for one in extra),
    ]
    bounds = {
        requirement.name: specifier.version
        for requirement in map(Requirement, declared)
        for specifier in requirement.specifier
        if specifier.operator == ">="
    }
    return [f"{package}=={bounds[package]}" for package in packages]


if __name__ == "__main__":
    print(*oldest(sys.argv[1:]))  # noqa: T201
