"""The other pages with commands and programs run as they stand, too."""

from __future__ import annotations

import pytest
from tools.oldest import oldest

from neuronkit_plugins.image import amused
from tests.docs.programs import DOCS, run_steps

PICTURES = {
    "512": "32",
    "256": "16",
    "--steps 30": "--steps 2",
    "--steps 12": "--steps 2",
    "num_inference_steps=30": "num_inference_steps=2",
    "num_inference_steps=12": "num_inference_steps=2",
    "amused/amused-16": "amused/amused-256",
}


def run(page, workplace, **changes):
    """Return what the steps of a page print."""
    directory = workplace((DOCS / page).read_text(encoding="utf-8"))
    return run_steps(page, directory, **changes)


def test_artifact(workplace, exported_only):
    """Inspecting, verifying, and new weights."""
    done = run("artifact.md", workplace)
    assert "passed" in done[1].out
    assert '"verified": true' in done[2].out
    assert "'sequence_length': 384" in done[-1].out


def test_installation(workplace):
    """What a machine without Neuron says."""
    version, plugins, doctor = run("installation.md", workplace)
    assert version.out.startswith("neuronkit ")
    assert "bert.question-answering" in plugins.out
    assert "neuron" in doctor.out


def test_oldest_releases():
    """The page and the message of aMUSEd name the lower bounds of pyproject.toml."""
    page = (DOCS / "installation.md").read_text(encoding="utf-8")
    requirements = oldest(["torch", "transformers", "diffusers", "peft", "sentence-transformers"])
    assert [one for one in requirements if one.replace("==", " ") not in page] == []
    assert amused.TESTED.startswith(f"{requirements[2].removeprefix('diffusers==')} to ")


def test_migration(workplace, not_compiled):
    """What was typed for optimum-cli, and what was written for optimum-neuron."""
    done = run("migration.md", workplace)
    assert "NEGATIVE" in done[1].out or "POSITIVE" in done[1].out
    assert done[2].out.startswith("tensor([[")


def test_tracing(workplace, not_compiled):
    """The trace has the lines that the page shows, and the extension prints its own."""
    _, traced, wrapped = run("plugins/tracing.md", workplace)
    page = (DOCS / "plugins/tracing.md").read_text(encoding="utf-8")
    shown = [line for line in page.splitlines() if line.startswith("[neuronkit]")]
    said = traced.err.splitlines()
    for line in shown:
        beginning = line.partition("...")[0].partition(" in ")[0].partition("score")[0].partition("answer")[0]
        assert any(one.startswith(beginning) for one in said), line
    assert "bert.question-answering encoder: " in wrapped.out


def test_new_package(workplace):
    """The command writes the package, and says what the page says to type next."""
    (written,) = run("plugins/new-plugin.md", workplace)
    page = (DOCS / "plugins/new-plugin.md").read_text(encoding="utf-8")
    shown = [line.removeprefix("$ ") for line in page.splitlines() if line.startswith("$ ")][1:]
    said = [line.strip() for line in written.err.splitlines()]
    assert len(shown) == 5
    assert set(shown) <= set(said), (shown, said)


def test_text_generation(workplace, not_compiled):
    """As transformers writes it, and token by token."""
    done = run("text-generation.md", workplace)
    printed = done[-1].out.splitlines()
    assert len(printed) == 1 + 10
    assert sorted(line.split()[0] for line in printed[1:]) == ["0"] * 5 + ["1"] * 5


def test_image_generation(workplace, not_compiled):
    """Stable Diffusion and aMUSEd, with the same commands; and what the page quotes of their plugins is there."""
    pytest.importorskip("PIL")
    done = run("image-generation.md", workplace, replaced=PICTURES)
    assert done[-1].out.strip() == "(16, 16) (16, 16) (16, 16)"
    page = (DOCS / "image-generation.md").read_text(encoding="utf-8")
    folder = DOCS.parent / "plugins/neuronkit_plugins/image"
    sources = (folder / "amused.py").read_text(encoding="utf-8") + (folder / "pipeline.py").read_text(encoding="utf-8")
    quoted = [line for block in page.split("```py\n")[1:] for line in block.partition("```")[0].splitlines()]
    assert len(quoted) == 6
    assert [line for line in quoted if line not in sources] == []
