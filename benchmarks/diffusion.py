"""
Stable Diffusion 1.5 with random weights: the UNet on the two rows of guidance at 256 and 512 pixels, in fp32 and bf16, and
whole images of 8 steps, with a ControlNet too; weights frozen into the graphs and apart from them; load and memory; what
neuronkit adds around its graphs.

Usage: ``python -m benchmarks.diffusion [--only PART ...] [--without-frozen] [--prepare] [--work DIR] [--quick]``
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.contest import Side, keep_part, part_parser, rounds, summary
from benchmarks.random_weights import write_controlnet, write_stable_diffusion

STEPS = 8
SIDES = {"eager": "own", "frozen": "own", "apart": "own", "openvino": "openvino"}
"""The sides and their environments; eager is fp32 in every part."""


def main() -> None:
    parser = part_parser(__doc__, list(PARTS))
    parser.add_argument(
        "--without-frozen", action="store_true", help="leave out frozen weights: compiling them takes long"
    )
    arguments = parser.parse_args()
    work = arguments.work / ("diffusion-quick" if arguments.quick else "diffusion")
    checkpoint = write_stable_diffusion(work / "checkpoint", quick=arguments.quick)
    for part in arguments.only:
        chosen = PARTS[part]
        names = [name for name in chosen.sides if name != "frozen" or not arguments.without_frozen]
        pixels = chosen.pixels // 16 if arguments.quick else chosen.pixels
        controlnet = write_controlnet(work / "controlnet", checkpoint) if chosen.controlled else None
        sides = Sides(names, checkpoint, work, chosen.precision, pixels, controlnet, quick=arguments.quick)
        prepared = sides.build()
        if arguments.prepare:
            print(json.dumps({part: prepared}, indent=1))
            continue
        result = {"preparation": prepared, **chosen.measure(sides)}
        keep_part("diffusion", part, result, quick=arguments.quick)


class Sides:
    """
    The sides of one part.

    Args:
        names: Those of `SIDES` that take part.
        checkpoint: What all of them run.
        work: Where compiled artifacts are.
        precision: ``"fp32"`` or ``"bf16"``.
        pixels: Height and width of an image.
        controlnet: A ControlNet beside the checkpoint, or None.
        quick: Few rounds, and nothing is compiled by Inductor.

    """

    def __init__(
        self,
        names: list[str],
        checkpoint: Path,
        work: Path,
        precision: str,
        pixels: int,
        controlnet: Path | None,
        *,
        quick: bool,
    ) -> None:
        self.names = names
        self.quick = quick
        self.weights = sum(file.stat().st_size for file in checkpoint.rglob("*.safetensors"))
        self._arguments = (
            str(checkpoint),
            str(work),
            precision,
            str(pixels),
            "1" if quick else "2",
            str(controlnet or ""),
        )

    def start(self, name: str) -> Side:
        """Start a side."""
        own = ("fp32" if name == "eager" else self._arguments[2],)
        arguments = (*self._arguments[:2], *own, *self._arguments[3:])
        return Side(name, SIDES[name], "image_generation.py", name, *arguments)

    def build(self) -> dict[str, Any]:
        """Compile what is missing, each side in a process that then ends."""
        figures = {}
        for name in self.names:
            with self.start(name) as side:
                if built := side.call("build"):
                    figures[name] = {
                        "export_s": round(built["export_s"], 1),
                        "peak_gb": round(built["peak_bytes"] / 1e9, 2),
                    }
        return figures


def unet(contestants: Sides) -> dict[str, Any]:
    """Time the UNet, the load, and the memory after it."""
    sides = [contestants.start(name) for name in contestants.names]
    loads = {side.name: side.call("load") for side in sides}
    wanted = sides[0].call("noise")
    differences = {side.name: _difference(wanted, side.call("noise")) for side in sides[1:]}
    times = summary(rounds(sides, "step", count=3 if contestants.quick else 6, per_round=1, warm_up=1))
    for side in sides:
        side.close()
    return {
        "step": times,
        "ratios": _ratios(times),
        "max_abs_diff_to_eager": differences,
        "load": {name: {"load_s": round(load["load_s"], 3)} for name, load in loads.items()},
        "apart_load_over_openvino": round(loads["apart"]["load_s"] / loads["openvino"]["load_s"], 3),
        "memory_over_weights": {
            name: round(load["load_bytes"] / contestants.weights, 3) for name, load in loads.items()
        },
    }


def pipeline(contestants: Sides) -> dict[str, Any]:
    """Time whole images, and what neuronkit adds around its graphs."""
    sides = [contestants.start(name) for name in contestants.names]
    for side in sides:
        side.call("load")
    times = summary(rounds(sides, "images", count=2 if contestants.quick else 4, per_round=1, warm_up=1, steps=STEPS))
    wanted = sides[0].call("drawn")
    differences = {side.name: _difference(wanted, side.call("drawn")) for side in sides[1:]}
    ours = next(side for side in sides if side.name == "apart")  # the default
    runs = ours.call("outside", count=3, steps=STEPS)
    step = statistics.median(ours.call("step", count=3))
    for side in sides:
        side.close()
    outside = statistics.median(run["whole"] - run["graphs"] for run in runs) / STEPS
    return {
        "steps": STEPS,
        "image": times,
        "ratios": _ratios(times),
        "max_abs_diff_to_eager": differences,
        "outside_graphs": {"ms_per_step": round(outside * 1e3, 3), "share_of_step": round(outside / step, 4)},
    }


def _ratios(times: dict[str, dict[str, float]]) -> dict[str, float]:
    median = {name: figures["median_ms"] for name, figures in times.items()}
    pairs = [(mode, other) for mode in ("apart", "frozen") for other in ("openvino", "eager")] + [("apart", "frozen")]
    return {
        f"{one}_over_{other}": round(median[one] / median[other], 3)
        for one, other in pairs
        if {one, other} <= set(median)
    }


def _difference(wanted: list[float], got: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(wanted, got, strict=True))


class Part(NamedTuple):
    """What is measured, in which precision, pixels along an image, who takes part, and whether with a ControlNet."""

    measure: Callable[[Sides], dict[str, Any]]
    precision: str
    pixels: int
    sides: tuple[str, ...] = tuple(SIDES)
    controlled: bool = False


PARTS = {
    "unet256": Part(unet, "fp32", 256),
    "unet256-bf16": Part(unet, "bf16", 256),
    "unet512": Part(unet, "fp32", 512),
    "unet512-bf16": Part(unet, "bf16", 512),
    "pipeline": Part(pipeline, "fp32", 256),
    "controlnet": Part(pipeline, "fp32", 256, ("eager", "apart"), controlled=True),  # optimum-intel has no ControlNets
}

if __name__ == "__main__":
    main()
