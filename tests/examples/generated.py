"""A package that ``neuronkit new-plugin`` writes, and the commands that its README shows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from neuronkit.cli import main
from neuronkit.scaffold.tasks import find_sketch
from tests.examples.packages import Ended, Site

NAME = "acme-kit"
FIELDS = {
    "question-answering": {"answer", "end", "score", "start"},
    "text-generation": {"generated_text"},
    "text-to-image": None,
}
"""One task for each kind of model, and the fields of its result; an image is a file."""


def generate(task: str, directory: Path) -> Path:
    """Write the package, and return its directory."""
    assert main(["new-plugin", NAME, "--task", task, "--directory", str(directory)]) == 0
    return directory / NAME


def commands(task: str) -> list[list[str]]:
    """Return the commands from a sample to a result, as `Site.commands` takes them."""
    sketch, _ = find_sketch(task)
    shapes = [word for name, size in sketch.shapes.items() for word in (f"--{name}", str(size))]
    inputs = [word for name, value in sketch.raw.items() for word in (f"--{name}", str(value))]
    return [
        ["-m", "acme_kit.sample", "kit-sample"],
        ["compile", "--model", "kit-sample", "--task", task, *shapes, "-O1", "kit-artifact"],
        ["run", "kit-artifact", *inputs, "--json"],
    ]


def check(task: str, site: Site, ended: Sequence[Ended]) -> None:
    """Check that the package is listed, and what its commands came to."""
    (plugin,) = json.loads(site.neuronkit("list-plugins", "--package", NAME, "--json"))["plugins"]
    assert (plugin["key"], plugin["status"]) == (f"{NAME}.{task}", "available")
    assert [one.status for one in ended] == [0, 0, 0], ended
    result, fields = json.loads(ended[-1].out), FIELDS[task]
    assert (site.directory / result).stat().st_size > 0 if fields is None else set(result) == fields
