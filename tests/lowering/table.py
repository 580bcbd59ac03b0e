"""
Lowers the graphs of every built-in plugin through torch-xla, runs them on XLA's CPU device, and writes the page.

``python -m tests.lowering.table`` needs torch-xla and the release of torch that goes with it; `make test-lowering` gives
it an environment of its own. With parts of keys (``gpt2``, ``.fill-mask``) it measures only those plugins; ``--render``
rewrites the page from the results. It fails if a graph does not lower, or differs from the eager model.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE, RESULTS = ROOT / "docs/lowering.md", ROOT / "docs/lowering.json"
TOLERANCE = 1e-4
HEAD = """# Lowering

Every graph of every built-in plugin, with a tiny random checkpoint in float32 at one fixed size, put through torch-xla:
the front-end that `torch_neuronx.trace` uses as well. What came out ran on XLA's CPU device and was compared with the
unwrapped eager model. No Neuron package and no Neuron device took part, so this says nothing about `neuronx-cc`.

Written by `make test-lowering`, which makes an environment of its own (several GB) and fails if a graph does not lower
or differs by more than {tolerance:g}; the results are in `lowering.json`. It lowers as `neuronkit check` does where
torch-xla is installed.

Results are kept plugin by plugin, each of its last run (`PLUGINS=<key>` runs some): {versions}.
{graphs} graphs of {plugins} plugins, {passed} of them equal.

"""
TABLE = """| plugin | graph | sizes | operators | kinds | largest difference |
|---|---|---|---|---|---|
"""


def checkpoints() -> Iterator[tuple[str, Callable[[Path], Path], dict[str, Any]]]:
    """Yield every key with what makes a checkpoint of it, and the shapes to lower it at."""
    from tests.generation.checkpoints import CONFIGS, tiny_decoder
    from tests.image.checkpoints import RECIPES, tiny_amused, tiny_stable_diffusion, tiny_stable_diffusion_xl
    from tests.plugins.encoders import PAIRS, tiny_encoder

    for architecture, task in PAIRS:
        shapes = {"batch_size": 2, "sequence_length": 16}
        if task == "multiple-choice":
            shapes["num_choices"] = 3
        yield (
            f"{architecture}.{task}",
            lambda path, architecture=architecture, task=task: tiny_encoder(path, architecture, task),
            shapes,
        )
    for architecture in CONFIGS:
        yield (
            f"{architecture}.text-generation",
            lambda path, architecture=architecture: tiny_decoder(path, architecture),
            {"batch_size": 2, "sequence_length": 16},
        )

    def latent_consistency(path: Path) -> Path:
        return tiny_stable_diffusion(path, class_name="LatentConsistencyModelPipeline")

    size = {"height": 32, "width": 32}
    for task in ("text-to-image", "image-to-image", "inpainting"):
        yield f"stable-diffusion.{task}", tiny_stable_diffusion, size
        yield f"stable-diffusion-xl.{task}", tiny_stable_diffusion_xl, size
        yield f"stable-diffusion-control-net.{task}", RECIPES["sd-control"], size
        yield f"stable-diffusion-xl-control-net.{task}", RECIPES["sdxl-control"], size
        yield f"amused.{task}", tiny_amused, size
        if task != "inpainting":
            yield f"latent-consistency.{task}", latent_consistency, size


def measure(key: str, model: Path, shapes: dict[str, Any]) -> list[dict[str, Any]]:
    """Lower every graph of a model, run it on XLA, and compare it with eager."""
    from neuronkit.backends.exporting import export_program
    from neuronkit.diagnosis import check, lowering, operators
    from neuronkit.errors import NeuronkitError
    from neuronkit.export.capture import TracedModule
    from neuronkit.validation.gate import compare
    from neuronkit.validation.references import reference

    prepared = check.prepare(model, task=key, given=shapes)
    found = []
    for graph, bucket, module in prepared.works:
        row: dict[str, Any] = {"graph": graph.name, "sizes": bucket.label}
        try:
            program = export_program(graph, bucket, TracedModule(module, graph).eval())
            row["refused"] = [problem.operator for problem in operators.find_refused(program)]
            states = [position for position, input in enumerate(graph.inputs) if input.state]
            lowered = lowering.lower(program, states)
            row |= {"operators": sum(lowered.operators.values()), "kinds": len(lowered.operators)}
            # States come back behind the outputs.
            outputs = len(graph.outputs)
            expected, *_ = reference(graph, bucket, module, prepared.config, prepared.model)
            report = compare(expected, lambda tensors: lowered.run(tensors)[:outputs], TOLERANCE)  # noqa: B023  # called at once
            row["difference"] = float(f"{max(report.max_abs_diff.values()):.1e}")
        except NeuronkitError as error:
            row["failure"] = str(error).splitlines()[0]
        found.append(row)
    return found


def versions() -> str:
    """Return the releases that count."""
    from importlib.metadata import version

    return ", ".join(f"{name} {version(name)}" for name in ("torch", "torch-xla", "transformers", "diffusers"))


def render(kept: dict[str, Any]) -> str:
    """Return the page."""
    rows = [(key, row) for key in sorted(kept["plugins"]) for row in kept["plugins"][key]]
    lines = [
        f"| {key} | {row['graph']} | {_sizes(row['sizes'])} | {row.get('operators', '-')} | {row.get('kinds', '-')} "
        f"| {_result(row)} |"
        for key, row in rows
    ]
    head = HEAD.format(
        tolerance=TOLERANCE,
        versions=kept["versions"],
        graphs=len(rows),
        plugins=len(kept["plugins"]),
        passed=sum(passed(row) for _, row in rows),
    )
    return head + TABLE + "\n".join(lines) + "\n"


def passed(row: dict[str, Any]) -> bool:
    """Return whether a graph lowered, equals eager and has nothing that the compiler refuses."""
    return "failure" not in row and not row["refused"]


def _sizes(label: str) -> str:
    """Return ``"batch 2, num_choices 3"`` for a bucket's label ``"batch2_num_choices3"``."""
    return ", ".join(f"{name.strip('_')} {size}" for name, size in re.findall(r"([a-z_]+)(\d+)", label)) or label


def _result(row: dict[str, Any]) -> str:
    if "failure" in row:
        return row["failure"]
    return f"{row['difference']:.0e}" + (f"; refused: {', '.join(row['refused'])}" if row["refused"] else "")


def main(arguments: list[str]) -> int:
    """Measure what is asked for, write results and page, and return the exit status."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"plugins": {}}
    if arguments != ["--render"]:
        import torch

        torch.set_num_threads(1)
        kept["versions"] = versions()
        for key, make, shapes in checkpoints():
            if arguments and not any(part in key for part in arguments):
                continue
            with tempfile.TemporaryDirectory() as directory:
                kept["plugins"][key] = measure(key, make(Path(directory) / "checkpoint"), shapes)
            for row in kept["plugins"][key]:
                print(key, row["graph"], row["sizes"], _result(row), flush=True)
            RESULTS.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    PAGE.write_text(render(kept))
    return 0 if all(passed(row) for rows in kept["plugins"].values() for row in rows) else 1


if __name__ == "__main__":
    os.environ.setdefault("PJRT_DEVICE", "CPU")
    # Every graph runs once: what XLA would gain by optimising for the CPU is lost on compiling.
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")
    sys.exit(main(sys.argv[1:]))
