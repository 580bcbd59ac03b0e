"""The examples, installed once, and used once by a process that knows nothing of this suite; and with them a generated package."""

from __future__ import annotations

import attrs
import pytest

from tests.examples import generated
from tests.examples.packages import ROOT, Ended, Site

EXAMPLES = ROOT / "examples"
SENTENCES = {
    "de": "Das Wetter ist heute schön.",
    "en": "The weather is nice today.",
    "es": "Hoy hace buen tiempo.",
    "fr": "Il fait beau aujourd'hui.",
    "it": "Oggi il tempo è bello.",
}
"""None of them was trained on."""
GENERATED = "question-answering"
LONG = SENTENCES["fr"] + " " + SENTENCES["it"] * 25


@attrs.frozen
class Used:
    """
    What the commands came to.

    Args:
        site: Where they ran.
        compiled: ``neuronkit compile``.
        named: ``neuronkit run`` on every sentence.
        ranked: On a text that is longer than the graph.
        refused: On an empty text.
        generated: The commands of the generated package.
    """

    site: Site
    compiled: Ended
    named: Ended
    ranked: Ended
    refused: Ended
    generated: list[Ended]


@pytest.fixture(scope="session")
def examples(tmp_path_factory) -> Site:
    """A folder with the packages, in which nothing but pip has written."""
    directory = tmp_path_factory.mktemp("examples")
    site = Site(directory / "site", directory)
    site.install(EXAMPLES / "acme-langid", EXAMPLES / "acme-metrics", generated.generate(GENERATED, directory))
    return site


@pytest.fixture(scope="session")
def used(examples) -> Used:
    """The journeys of the READMEs: train, compile, run."""
    texts = [word for sentence in SENTENCES.values() for word in ("--text", sentence)]
    trained, *ended = examples.commands(
        ["-m", "acme_langid.train", "checkpoint"],
        ["compile", "--model", "checkpoint", "--task", "text-classification", "-O1", "artifact"],
        ["run", "artifact", "--json", *texts],
        ["run", "artifact", "--json", "--top-k", "2", "--text", LONG],
        ["run", "artifact", "--text", " "],
        *generated.commands(GENERATED),
        ACME_TIMING_FILE="timing.jsonl",
        ACME_METRICS_FILE="metrics.prom",
    )
    assert trained.status == 0
    return Used(examples, *ended[:4], ended[4:])
