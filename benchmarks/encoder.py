"""
BERT-base question answering with random weights: latency at 1x128 and 8x128 in fp32 and bf16, first compile, the next
checkpoint's compile, load, and what neuronkit adds around the compiled graph. Eager is fp32 in every part.

Usage: ``python -m benchmarks.encoder [--only PART ...] [--quick]``
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.contest import Side, keep_part, rounds, summary

SIZES = ((1, 128), (8, 128))
PARTS = ("fp32", "bf16", "compile", "overhead")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to run; by default all")
    parser.add_argument("--quick", action="store_true", help="two layers and few rounds, to see that it runs")
    arguments = parser.parse_args()
    quick = arguments.quick
    with tempfile.TemporaryDirectory() as work:
        os.environ["NEURONKIT_CACHE"] = str(Path(work) / "cache")  # one part deletes from it
        checkpoints = [
            make_checkpoint(Path(work) / f"checkpoint-{seed}", seed, layers=2 if quick else 12) for seed in (0, 1)
        ]
        for part in arguments.only:
            if part == "compile":
                result: dict[str, Any] = compile_times(checkpoints, Path(work))
            elif part == "overhead":
                result = overhead(Path(work))
            else:
                result = latency(checkpoints[0], work, part, quick=quick)
            keep_part("encoder", part, result, quick=quick)


def make_checkpoint(path: Path, seed: int, layers: int) -> Path:
    import torch
    import transformers
    from tests.plugins.checkpoints import tiny_tokenizer

    torch.manual_seed(seed)
    transformers.BertForQuestionAnswering(transformers.BertConfig(num_hidden_layers=layers)).save_pretrained(path)
    tiny_tokenizer(512).save_pretrained(path)
    return path


def latency(checkpoint: Path, work: str, precision: str, *, quick: bool) -> dict[str, Any]:
    names = {"eager": "own", "neuronkit": "own", "onnx": "onnx", "openvino": "openvino"}
    if precision == "bf16":
        del names["onnx"]  # onnxruntime has no bf16 on CPUs
    sides = [
        Side(name, environment, "question_answering.py", name, str(checkpoint), work, precision)
        for name, environment in names.items()
    ]
    prepared = {}
    for side in sides:
        prepared[side.name] = {**side.call("prepare"), "memory": side.call("resident")}
    result: dict[str, Any] = {"preparation": prepared}
    for batch, sequence in SIZES:
        for side in sides:
            side.call("sizes", batch=batch, sequence=sequence)
        eager = sides[0].call("logits")
        differences = {
            side.name: max(abs(a - b) for a, b in zip(eager, side.call("logits"), strict=True)) for side in sides[1:]
        }
        times = rounds(sides, "run", count=3 if quick else 6, per_round=3 if quick else (6 if batch == 1 else 3))
        found = summary(times)
        best = min(found[name]["median_ms"] for name in names if name in ("onnx", "openvino"))
        result[f"{batch}x{sequence}"] = {
            **found,
            "max_abs_diff_to_eager": differences,
            "neuronkit_over_better_peer": round(found["neuronkit"]["median_ms"] / best, 3),
            "neuronkit_over_eager": round(found["neuronkit"]["median_ms"] / found["eager"]["median_ms"], 3),
        }
    for side in sides:
        side.close()
    return result


def compile_times(checkpoints: list[Path], work: Path) -> dict[str, float]:
    """Compile in this process, imports excluded: first with a warm Inductor cache, then a sibling checkpoint."""
    import transformers.models.bert.modeling_bert  # noqa: F401  # imports do not count

    import neuronkit
    from neuronkit.artifact.cache import GraphCache

    def once(checkpoint: Path) -> float:
        begin = time.perf_counter()
        neuronkit.compile(
            checkpoint, work / "timed", task="question-answering", batch_size=1, sequence_length=128, force=True
        )
        return time.perf_counter() - begin

    once(checkpoints[0])
    shutil.rmtree(GraphCache().root / "graphs")  # the compiler's own cache stays warm
    first = once(checkpoints[0])
    siblings = [once(checkpoints[1]) for _ in range(3)]
    begin = time.perf_counter()
    neuronkit.load(work / "timed")
    return {
        "first_s": round(first, 2),
        "sibling_s": round(statistics.median(siblings), 2),
        "load_s": round(time.perf_counter() - begin, 3),
    }


def overhead(work: Path) -> dict[str, float]:
    """Time one small call through the shell and through the bare runner, in turns."""
    import torch

    import neuronkit

    checkpoint = make_tiny(work / "tiny")
    neuronkit.compile(checkpoint, work / "tiny-artifact", task="question-answering", batch_size=8, sequence_length=128)
    model = neuronkit.load(work / "tiny-artifact")
    ids = torch.randint(5, 100, (1, 128))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
    loaded = next(iter(model.session.graphs.values()))
    tensors = [inputs[input.name] for input in loaded.graph.inputs]
    runner = loaded.runner(loaded.buckets[0])
    shell, raw = [], []
    for _ in range(400):
        begin = time.perf_counter()
        model(**inputs)
        middle = time.perf_counter()
        runner(tensors)
        shell.append(middle - begin)
        raw.append(time.perf_counter() - middle)
    added = (statistics.median(shell) - statistics.median(raw)) * 1e6
    return {"shell_us": round(statistics.median(shell) * 1e6, 1), "added_us": round(added, 1)}


def make_tiny(path: Path) -> Path:
    from tests.plugins.checkpoints import tiny_bert

    return tiny_bert(path, max_position_embeddings=128)


if __name__ == "__main__":
    main()
