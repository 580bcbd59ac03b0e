"""The quick start does what it says: every command and every program in it runs, in order, in one directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs import programs

PAGE = "quickstart.md"


def read_steps() -> list[tuple[str, str]]:
    """Return the commands and programs in the order of the page; those of make are the business of whoever runs this."""
    return [(step.kind, step.text) for step in programs.read_steps(PAGE) if not step.text.startswith("make ")]


@pytest.mark.compiled
def test_every_step_runs(tmp_path):
    """From the checkpoint to the refusal of a text that is too long."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1"}
    printed = {}
    for kind, text in read_steps():
        words = ["bash", "-c", text] if kind == "console" else [sys.executable, "-c", text]
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        printed[text] = done.stdout + done.stderr

    def output_of(start: str) -> str:
        (found,) = (output for text, output in printed.items() if text.startswith(start))
        return found

    assert "bert.sentence-similarity" in output_of("neuronkit list-plugins")
    assert "validated" in output_of("neuronkit compile --model minilm --sequence-length 128 embeddings/")
    assert "from the cache" in output_of("neuronkit compile --model minilm --sequence-length 128 again/")
    assert "passed" in output_of("neuronkit inspect")
    too_long = list(printed.values())[-1]
    assert "input_ids has 302 along 'sequence', and the largest bucket has 128" in too_long


def test_the_page_has_steps():
    """The page is read at all."""
    assert len(read_steps()) >= 9
