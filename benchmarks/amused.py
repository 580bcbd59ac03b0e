"""
aMUSEd 256 with random weights, a transformer of 603 million parameters: images of 12 steps with guidance, one and four at a
time, beside eager diffusers; in fp32, and in bf16 beside eager in both precisions.

Usage: ``python -m benchmarks.amused [--only PART ...] [--prepare] [--work DIR] [--quick]``
"""

from __future__ import annotations

import json
from typing import Any

from benchmarks.contest import Side, keep_part, part_parser, rounds, summary
from benchmarks.random_weights import write_amused

STEPS = 12
PARTS = {
    "batch1": ("fp32", 1, 4),
    "batch4": ("fp32", 4, 2),
    "batch1-bf16": ("bf16", 1, 4),
    "batch4-bf16": ("bf16", 4, 2),
}
"""Precision, images at a time, and rounds."""


def main() -> None:
    arguments = part_parser(__doc__, list(PARTS)).parse_args()
    quick = arguments.quick
    work = arguments.work / ("amused-quick" if quick else "amused")
    checkpoint = write_amused(work / "checkpoint", quick=quick)
    for part in arguments.only:
        precision, number, count = PARTS[part]

        def start(name: str, kind: str, precision: str = precision) -> Side:
            worker = (str(checkpoint), str(work), precision, "16" if quick else "256", "1" if quick else "2", "")
            return Side(name, "own", "image_generation.py", kind, *worker)

        with start("neuronkit", "apart") as side:
            built = side.call("build")
        preparation = {"export_s": round(built["export_s"], 1), "peak_gb": round(built["peak_bytes"] / 1e9, 2)}
        if arguments.prepare:
            print(json.dumps({part: preparation}, indent=1))
            continue
        sides = [start("eager", "eager", "fp32"), start("neuronkit", "apart")]
        if precision != "fp32":
            sides.insert(1, start(f"eager-{precision}", "eager"))
        result = {"preparation": preparation, **contest(sides, number, 1 if quick else count)}
        keep_part("amused", part, result, quick=quick)


def contest(sides: list[Side], number: int, count: int) -> dict[str, Any]:
    """Time images of all sides in turns, eager in fp32 first; `load` has warmed them up."""
    loads = {side.name: side.call("load") for side in sides}
    times = summary(rounds(sides, "images", count=count, per_round=1, warm_up=0, steps=STEPS, number=number))
    eager, *_, ours = (side.call("drawn") for side in sides)
    for side in sides:
        side.close()
    median = {name: figures["median_ms"] for name, figures in times.items()}
    return {
        "steps": STEPS,
        "images_at_a_time": number,
        "call": times,
        "images_per_second": {name: round(number * 1e3 / value, 4) for name, value in median.items()},
        **{
            f"neuronkit_over_{name}": round(median["neuronkit"] / value, 3)
            for name, value in median.items()
            if name != "neuronkit"
        },
        "max_abs_diff_to_eager": max(abs(a - b) for a, b in zip(eager, ours, strict=True)),
        "load": {name: {"load_s": round(load["load_s"], 3)} for name, load in loads.items()},
        "memory_gb": {name: round(load["load_bytes"] / 1e9, 2) for name, load in loads.items()},
    }


if __name__ == "__main__":
    main()
