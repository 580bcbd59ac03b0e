"""
Write ``docs/benchmarks.md`` from the results that the benchmarks kept in ``docs/benchmarks/``.

Usage: ``python -m benchmarks.report``
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.contest import RESULTS

TITLES = {
    "encoder": "BERT-base question answering (`python -m benchmarks.encoder`)",
    "embedding": "Sentence embedding with all-MiniLM-L6-v2 (`python -m benchmarks.embedding`)",
    "startup": "Start-up (`python -m benchmarks.startup`)",
    "decode": "GPT-2 decoding (`python -m benchmarks.decode`)",
    "diffusion": "Stable Diffusion 1.5 (`python -m benchmarks.diffusion`)",
    "amused": "aMUSEd 256 (`python -m benchmarks.amused`)",
}
INTRODUCTION = """# Benchmarks

Every table comes from one run of one command, in which all sides took turns. Ratios travel between machines better than
seconds do. What a run means is said in its notes.
"""


def main() -> None:
    kept = [(name, json.loads(file.read_text())) for name in TITLES for file in sorted(RESULTS.glob(f"*/{name}.json"))]
    parts = [INTRODUCTION, *ratios(kept)]
    for name, result in kept:
        described = result["machine"]
        parts.append(f"## {TITLES[name]}, {kind(result)}\n")
        parts.append(", ".join(f"{key} {value}" for key, value in described.items()) + ".\n")
        for section, content in result.items():
            if content is not described:
                parts.append(f"### {section.replace('_', ' ')}\n")
                parts.extend(render(content))
    (RESULTS.parent / "benchmarks.md").write_text("\n".join(parts).rstrip() + "\n")


def kind(result: Mapping[str, Any]) -> str:
    """Name the kind of machine that a result is from."""
    return f"{result['machine']['cpu']}, {result['machine']['arithmetic']}"


def ratios(kept: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    """Yield one table of every ratio (what has ``over`` in its name), a column for each kind of machine."""
    machines = list(dict.fromkeys(kind(result) for _, result in kept))
    found: dict[str, dict[str, Any]] = {}
    for name, result in kept:
        for path, value in leaves({name: result}):
            if "over" in re.findall(r"\w+", path):
                found.setdefault(path, {})[kind(result)] = value
    yield "## Ratios\n\nBelow 1 is better for times and memory, above 1 for what is counted per second.\n"
    lines = [f"| what | {' | '.join(machines)} |", f"|---|{'---|' * len(machines)}"]
    lines += [f"| {path} | {' | '.join(str(by.get(one, '')) for one in machines)} |" for path, by in found.items()]
    yield "\n".join(lines) + "\n"


def render(content: Any) -> Iterator[str]:
    """Yield a table for a mapping, one line per leaf; a list becomes a list."""
    if isinstance(content, list):
        yield "\n".join(f"- {item}" for item in content) + "\n"
        return
    lines = ["| what | value |", "|---|---|"]
    lines += [f"| {path} | {value} |" for path, value in leaves(content)]
    yield "\n".join(lines) + "\n"


def leaves(content: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every leaf of nested mappings with its path."""
    if not isinstance(content, Mapping):
        yield path or "value", f"{content:.3g}" if isinstance(content, float) and abs(content) < 1 else content
        return
    for key, value in content.items():
        yield from leaves(value, f"{path}, {key.replace('_', ' ')}" if path else key.replace("_", " "))


if __name__ == "__main__":
    main()
