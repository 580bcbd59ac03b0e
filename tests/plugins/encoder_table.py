"""
Writes the table of docs/encoders.md: every encoder of every task, compiled for real and compared with the eager model.

``python -m tests.plugins.encoder_table`` compiles everything and rewrites both the results and the table, which takes
many minutes; with names of architectures, only those. ``--render`` rewrites the table from the results.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from tests.plugins.encoders import AUTO_CLASSES, CONFIGS, PAIRS, eager_model, example, tiny_encoder

DOCS = Path(__file__).parents[2] / "docs"
TABLE, RESULTS = DOCS / "encoders.md", DOCS / "encoders.json"
HEAD = """# Encoders

Every architecture with every encoder task that transformers defines for it. Each cell is the largest absolute
difference from the eager model that was seen with a small random checkpoint in float32, over a graph with dynamic axes
and one with fixed sizes, with padding on either side. The compile itself refuses differences over 1e-4 (`--atol`). A
dash: transformers has no such model.

The table is written by `make encoder-table` from the results in `encoders.json`; a test keeps it current.

"""


def measure(architecture: str, task: str, directory: Path) -> dict[str, Any]:
    """Compile one model with dynamic axes and with fixed buckets; return its status and the largest difference."""
    import neuronkit

    path = tiny_encoder(directory / "checkpoint", architecture, task)
    shapes: dict[str, Any] = {"num_choices": 3} if task == "multiple-choice" else {}
    eager = eager_model(path, task)
    largest = 0.0
    for static in (False, True):
        sizes = {"sequence_length": 32, "batch_size": 2} if static else {"sequence_length": 64}
        artifact = neuronkit.compile(
            path, directory / f"static-{static}", task=task, optlevel=1, static=static, **sizes, **shapes
        )
        largest = max(largest, artifact.manifest.validation.max_abs_diff or 0.0)
        model = neuronkit.load(directory / f"static-{static}")
        for rows, length, side in ((1, 5, None), (3, 13, "right"), (3, 21, "left")):
            inputs = example(architecture, task, rows, length, padding=side, seed=length)
            outputs = model(**inputs)
            if architecture == "modernbert":  # whose eager head of choices cannot do without a mask
                inputs.setdefault("attention_mask", torch.ones_like(inputs["input_ids"]))
            with torch.no_grad():
                expected = eager(**inputs)
            for name in expected:
                largest = max(largest, (outputs[name] - expected[name]).abs().max().item())
    return {"status": "equal" if largest <= 1e-4 else "differs", "difference": float(f"{largest:.1e}")}


def render(results: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Return the page."""
    tasks = sorted(AUTO_CLASSES)
    lines = [f"| architecture | {' | '.join(tasks)} |", f"|---|{'---|' * len(tasks)}"]
    for architecture in sorted(results):
        cells = []
        for task in tasks:
            found = results[architecture].get(task)
            cells.append("-" if found is None else f"{found['status']}, {found['difference']:.0e}")
        lines.append(f"| {architecture} | {' | '.join(cells)} |")
    return HEAD + "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    """Measure what is asked for, and write results and table."""
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    if "--render" not in arguments:
        for architecture, task in PAIRS:
            if (arguments and architecture not in arguments) or (
                not arguments and task in results.get(architecture, {})
            ):
                continue
            with tempfile.TemporaryDirectory() as directory:
                found = measure(architecture, task, Path(directory))
            results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}  # another process may have written
            results.setdefault(architecture, {})[task] = found
            print(architecture, task, found, flush=True)
            RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    kept = {architecture: results[architecture] for architecture in CONFIGS if architecture in results}
    TABLE.write_text(render(kept))


if __name__ == "__main__":
    main(sys.argv[1:])
