"""The quick start does what it says: every command and every program in it runs, in order, in one directory."""

from __future__ import annotations

import pytest

from tests.docs.programs import read_steps, run_steps

PAGE = "quickstart.md"


def python(words: list[str]) -> str:
    """Run a program that is given to Python on the command line."""
    option, text = words
    assert option == "-c"
    exec(compile(text, f"{PAGE}, a command", "exec"), {"__name__": "__main__"})
    return ""


@pytest.mark.compiled
def test_every_step_runs(tmp_path):
    """From the checkpoint to the refusal of a text that is too long; make is the business of whoever runs this."""
    done = run_steps(PAGE, tmp_path, commands={"make": lambda words: "", "python": python})

    def printed_by(start: str) -> str:
        (found,) = (step.out + step.err for step in done if step.step.text.startswith(start))
        return found

    assert "bert.sentence-similarity" in printed_by("neuronkit list-plugins")
    assert "validated" in printed_by("neuronkit compile --model minilm --sequence-length 128 embeddings/")
    assert "from the cache" in printed_by("neuronkit compile --model minilm --sequence-length 128 again/")
    assert "passed" in printed_by("neuronkit inspect")
    assert "input_ids has 302 along 'sequence', and the largest bucket has 128" in done[-1].out


def test_the_page_has_steps():
    """The page is read at all."""
    assert len(read_steps(PAGE)) >= 10
