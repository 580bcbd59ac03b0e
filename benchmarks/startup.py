"""
What it costs to start: ``import neuronkit`` and ``neuronkit list-plugins``, with and without 30 more packages, as whole
processes beside ``python -c pass``, in turns.

Usage: ``python -m benchmarks.startup``
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.contest import keep


def main() -> None:
    with tempfile.TemporaryDirectory() as packages:
        write_packages(Path(packages), 30)
        command = [str(Path(sys.executable).with_name("neuronkit")), "list-plugins"]
        sides = {
            "python -c pass": ([sys.executable, "-c", "pass"], None),
            "import neuronkit": ([sys.executable, "-c", "import neuronkit"], None),
            "list-plugins": (command, None),
            "list-plugins with 30 more packages": (command, packages),
        }
        times: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(15):
            for name, (words, path) in sides.items():
                environment = {**os.environ, **({"PYTHONPATH": path} if path else {})}
                begin = time.perf_counter()
                subprocess.run(words, check=True, capture_output=True, env=environment)
                times[name].append(time.perf_counter() - begin)
    medians = {name: statistics.median(values) for name, values in times.items()}
    bare = medians["python -c pass"]
    keep(
        "startup",
        {
            "median_ms": {name: round(value * 1e3, 1) for name, value in medians.items()},
            "ratio": {name: round(value / bare, 2) for name, value in medians.items()},
        },
    )


def write_packages(folder: Path, count: int) -> None:
    """Write the metadata of packages that declare a plugin each."""
    for number in range(count):
        info = folder / f"acme_{number}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: acme-{number}\nVersion: 1.0\nRequires-Dist: neuronkit>=0.1\n"
        )
        (info / "entry_points.txt").write_text(
            f"[neuronkit.models.v1]\nacme{number}.fill-mask = acme_{number}:plugin\n"
        )


if __name__ == "__main__":
    main()
