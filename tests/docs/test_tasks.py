"""Every page of a task runs as it stands, on a small random checkpoint in the place of the one that it names."""

from __future__ import annotations

import json
import re

import pytest

from tests.docs.programs import DOCS, run_steps

PAGES = sorted(path.stem for path in (DOCS / "tasks").glob("*.md"))
SMALLER = {
    "512": "32",
    "--steps 30": "--steps 2",
    "num_inference_steps=30": "num_inference_steps=2",
    "steps=30": "steps=2",
}
"""Fewer pixels and steps than the pages name."""
PRINTED = {
    "feature-extraction": r"^\(\d+, 16\) \[\(\d+, 16\), \(\d+, 16\)\]$",
    "fill-mask": r"^\S+ 0\.\d+ the cat sleeps near the \S+\.$",
    "image-to-image": r"^\(32, 32\)$",
    "inpainting": r"^\(32, 32\)$",
    "multiple-choice": r" [012] \[0\.\d+, 0\.\d+, 0\.\d+\]$",
    "question-answering": r"\d \w",
    "sentence-similarity": r"^\(2, 16\) torch\.Size\(\[1, \d+, 16\]\) torch\.Size\(\[1, 16\]\)$",
    "text-classification": r"^\{'label': '(NEGATIVE|POSITIVE)', 'score': 0\.\d+\}$",
    "text-generation": r"^Once upon a time.",
    "text-to-image": r"^\(32, 32\) \(32, 32\)$",
    "token-classification": r"^(PER|LOC) 0\.\d+ \S",
}
"""A line that a program of the page prints."""


def test_every_task_has_a_page():
    """No task of a built-in plugin is without one, and none is listed that is not there."""
    from neuronkit import get_registry

    tasks = {record.task for record in get_registry().records() if record.package == "neuronkit"}
    assert set(PAGES) == tasks


@pytest.mark.parametrize("task", PAGES)
def test_page(task, workplace, not_compiled):
    """Each command ends with 0, each program without an error, and what is printed has the form that the page describes."""
    page = f"tasks/{task}.md"
    text = (DOCS / page).read_text(encoding="utf-8")
    directory = workplace(text)
    if "diffusion" in text:
        image = pytest.importorskip("PIL.Image")
        image.new("RGB", (32, 32), "teal").save(directory / "harbour.png")
        image.new("L", (32, 32), "white").save(directory / "mask.png")
    done = run_steps(page, directory, replaced=SMALLER if "diffusion" in text else {})
    assert [step.step.kind for step in done].count("console") >= 2
    assert [step.step.kind for step in done].count("python") >= 1
    assert "validated: max abs difference" in done[0].err
    for step in done:
        if (
            step.step.text.startswith("neuronkit run")
            and "--json" in step.step.text
            and "--output" not in step.step.text
        ):
            json.loads(step.out)
    printed = "".join(step.out for step in done if step.step.kind == "python")
    assert re.search(PRINTED[task], printed, re.MULTILINE), printed
