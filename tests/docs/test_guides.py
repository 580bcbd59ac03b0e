"""The other pages with commands and programs run as they stand, too."""

from __future__ import annotations

from tests.docs.programs import DOCS, run_steps

PICTURES = {
    "512": "32",
    "256": "32",
    "--steps 30": "--steps 2",
    "--steps 12": "--steps 2",
    "num_inference_steps=12": "num_inference_steps=2",
}


def run(page, workplace):
    """Return what the steps of a page print, by their text."""
    directory = workplace((DOCS / page).read_text(encoding="utf-8"))
    return run_steps(page, directory)


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
