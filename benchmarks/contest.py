"""What every benchmark needs: sides as processes, rounds in turn, medians, ratios, the machine, the report."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from benchmarks.peers.environments import ROOT, interpreter

RESULTS = ROOT / "docs" / "benchmarks"
"""Holds a folder for each kind of machine that figures were kept from."""
_ARITHMETIC = {"avx2": "AVX2", "avx512f": "AVX512", "avx512_bf16": "AVX512-BF16", "amx_bf16": "AMX"}
"""What figures differ by most, in rising order, by the CPU's flags."""


class Side:
    """
    A contestant: a worker script in its own process.

    Args:
        name: For the report.
        environment: Of `benchmarks.peers.environments`; ``"own"`` is this one.
        script: Worker in ``benchmarks/peers``.
        arguments: For the script.

    """

    def __init__(self, name: str, environment: str, script: str, *arguments: str) -> None:
        self.name = name
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [interpreter(environment), "-W", "ignore", str(ROOT / "benchmarks" / "peers" / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if not os.environ.get("VERBOSE") else None,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"},
        )

    def call(self, function: str, **arguments: Any) -> Any:
        """Call one of the worker's functions."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"call": function, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended while it was asked for {function!r}; VERBOSE=1 shows why")
        return json.loads(line)["result"]

    def close(self) -> None:
        """End the worker."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def rounds(
    sides: Sequence[Side], function: str, *, count: int, per_round: int, warm_up: int = 2, **arguments: Any
) -> dict[str, list[float]]:
    """Time a function of every side in turns: `count` rounds of `per_round` calls each; returns seconds by side."""
    times: dict[str, list[float]] = {side.name: [] for side in sides}
    for side in sides:
        side.call(function, count=warm_up, **arguments)
    for number in range(count):
        order = sides if number % 2 == 0 else list(reversed(sides))
        for side in order:
            times[side.name] += side.call(function, count=per_round, **arguments)
    return times


def summary(times: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """Return minimum, median and 90th percentile by side, in milliseconds."""
    found = {}
    for name, values in times.items():
        ordered = sorted(value * 1e3 for value in values)
        found[name] = {
            "min_ms": round(ordered[0], 3),
            "median_ms": round(statistics.median(ordered), 3),
            "p90_ms": round(ordered[int(len(ordered) * 0.9)], 3),
        }
    return found


def machine() -> dict[str, Any]:
    """Describe the machine and the versions that a figure depends on."""
    lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
    fields = {key.strip(): value.strip() for key, _, value in lines}
    flags = set(fields.get("flags", "").split())
    return {
        "cpu": fields.get("model name", platform.processor()),
        "arithmetic": next((name for flag, name in reversed(_ARITHMETIC.items()) if flag in flags), "none of these"),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": version("torch"),
        "transformers": version("transformers"),
        "date": time.strftime("%Y-%m-%d"),
    }


def results(known: Mapping[str, Any]) -> Path:
    """Return the folder for the figures of a machine that `machine` described."""
    words = re.sub(r"\(\w+\)|Processor|CPU|@.*", " ", known["cpu"]) + f" {known['arithmetic']}"
    return RESULTS / "-".join(re.findall(r"[a-z0-9]+", words.lower()))


def keep(name: str, result: Mapping[str, Any]) -> None:
    """Print a result as JSON and keep it in ``docs/benchmarks/<machine>/<name>.json``."""
    described = machine()
    folder = results(described)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": described, **result}, indent=1)
    (folder / f"{name}.json").write_text(text + "\n")
    print(text)


def keep_part(name: str, part: str, result: Mapping[str, Any], *, quick: bool = False) -> None:
    """
    Put a part of a benchmark beside the parts that were kept before on the same machine with the same versions.

    Args:
        name: Of the benchmark.
        part: Of it.
        result: The part's figures.
        quick: It was a trial: print them, and keep nothing.

    """
    if quick:
        print(json.dumps({part: result}, indent=1))
        return
    file = results(machine()) / f"{name}.json"
    before = json.loads(file.read_text()) if file.exists() else {}
    known = before.pop("machine", {})
    varying = ("load_before", "date")
    same = all(known.get(key) == value for key, value in machine().items() if key not in varying)
    keep(name, {**(before if same else {}), part: result})


def part_parser(about: str | None, parts: Sequence[str]) -> argparse.ArgumentParser:
    """Make a parser for the arguments of a benchmark that comes in parts."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--only", nargs="+", choices=parts, default=list(parts), help="parts to run; by default all")
    parser.add_argument("--prepare", action="store_true", help="write the checkpoint and compile, and time nothing")
    parser.add_argument("--work", type=Path, default=ROOT / ".bench", help="where all that stays for the next part")
    parser.add_argument("--quick", action="store_true", help="tiny, and few rounds, to see that it runs")
    return parser
