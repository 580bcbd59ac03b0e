"""
GPT-2 with random weights, prompts of 64 tokens and 128 new ones: the decode graph beside the memory's limit, what the loop
adds, whole `generate` beside eager and optimum-intel, more prompts than rows beside fixed batches, and the load.

Usage: ``python -m benchmarks.decode [--only PART ...] [--quick]``
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.contest import Side, keep_part, rounds, summary

PROMPT, NEW_TOKENS = 64, 128
PARTS = {
    f"{precision}-{what}": (precision, rows)
    for precision in ("fp32", "bf16", "int8")
    for what, rows in (("batch1", 1), ("batch4", 4), ("queue", None))
}
"""A precision, and prompts at a time; None has more prompts than rows."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run; by default all")
    parser.add_argument("--quick", action="store_true", help="two layers, few tokens and rounds, to see that it runs")
    arguments = parser.parse_args()
    quick = arguments.quick
    with tempfile.TemporaryDirectory() as work:
        checkpoint = make_checkpoint(Path(work) / "checkpoint", layers=2 if quick else 12)
        for part in arguments.only:
            precision, rows = PARTS[part]
            found = (
                queue(checkpoint, work, precision, quick=quick)
                if rows is None
                else contest(checkpoint, work, precision, rows, 16 if quick else NEW_TOKENS, quick=quick)
            )
            keep_part("decode", part, found, quick=quick)


def make_checkpoint(path: Path, layers: int) -> Path:
    import torch
    import transformers
    from tests.plugins.checkpoints import tiny_tokenizer

    torch.manual_seed(0)
    config = transformers.GPT2Config(n_layer=layers, bos_token_id=0, eos_token_id=0)
    transformers.GPT2LMHeadModel(config).save_pretrained(path)
    tiny_tokenizer(512).save_pretrained(path)
    return path


def contest(checkpoint: Path, work: str, precision: str, batch: int, new_tokens: int, *, quick: bool) -> dict[str, Any]:
    names = {"eager": "own", "neuronkit": "own", "openvino": "openvino"}
    if precision == "int8":
        del names["eager"]  # transformers has no such weights without a further library
    sides = {
        name: Side(name, environment, "text_generation.py", name, str(checkpoint), work, precision)
        for name, environment in names.items()
    }
    ours = sides["neuronkit"]
    found: dict[str, Any] = {"preparation": {name: side.call("prepare", rows=batch) for name, side in sides.items()}}
    load = found["preparation"]["neuronkit"]
    found["load_over_weights"] = round(load["load_bytes"] / load["weight_bytes"], 3)
    for side in sides.values():
        side.call("prompts", batch=batch, length=PROMPT, new_tokens=new_tokens)
    wanted = sides["eager"].call("tokens") if "eager" in sides else ours.call("tokens")
    times = summary(rounds(list(sides.values()), "generate", count=1 if quick else 5, per_round=1))
    rate = {name: round(batch * new_tokens * 1e3 / times[name]["median_ms"], 1) for name in times}
    found["generate"] = {
        "tokens_per_second": rate,
        "neuronkit_over": {name: round(rate["neuronkit"] / rate[name], 3) for name in rate if name != "neuronkit"},
        "equal_tokens": {name: side.call("tokens") == wanted for name, side in sides.items()},
    }
    found["decode"] = decode(ours, quick=quick)
    for side in sides.values():
        side.close()
    return found


def decode(ours: Side, *, quick: bool) -> dict[str, float]:
    """Measure the graph at one position, the memory, and what the loop adds a step, all in turns."""
    position, step, stream, product, added = PROMPT, [], [], [], []
    ours.call("stream", count=3)
    for _ in range(3 if quick else 5):
        step += ours.call("step", count=3 if quick else 10, position=position)
        stream += ours.call("stream", count=3)
        product += ours.call("product", count=3)
        added += ours.call("loop", count=1)
    bandwidth = 2**29 / min(stream)
    traffic = ours.call("traffic", position=position)
    limit = traffic / bandwidth
    return {
        "bandwidth_gb_s": round(bandwidth / 1e9, 2),
        "limit_ms": round(limit * 1e3, 3),
        "step_min_ms": round(min(step) * 1e3, 3),
        "step_median_ms": round(statistics.median(step) * 1e3, 3),
        "min_over_limit": round(min(step) / limit, 3),
        "median_over_limit": round(statistics.median(step) / limit, 3),
        "product_bandwidth_gb_s": round(2**29 / min(product) / 1e9, 2),
        "min_over_product_limit": round(min(step) / (traffic * min(product) / 2**29), 3),
        "loop_us_per_step": round(statistics.median(added) * 1e6, 1),
    }


def queue(checkpoint: Path, work: str, precision: str, *, quick: bool) -> dict[str, float]:
    """Compare rows that are refilled with batches that wait for their longest text."""
    ours = Side("neuronkit", "own", "text_generation.py", "neuronkit", str(checkpoint), work, precision)
    ours.call("prepare", rows=4)
    prompts = 8 if quick else 32
    refilled: list[float] = []
    waiting: list[float] = []
    for _ in range(1 if quick else 3):
        refilled += ours.call("queue", count=1, prompts=prompts)
        waiting += ours.call("waves", count=1, prompts=prompts)
    ours.close()
    refilled_rate, waiting_rate = (1 / statistics.median(times) for times in (refilled, waiting))
    return {
        "prompts": prompts,
        "refilled_tokens_per_second": round(refilled_rate, 1),
        "fixed_tokens_per_second": round(waiting_rate, 1),
        "refilled_over_fixed": round(refilled_rate / waiting_rate, 3),
    }


if __name__ == "__main__":
    main()
