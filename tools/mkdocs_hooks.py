"""What mkdocs asks before it builds: the design decisions, and pages that nobody has placed, join the navigation by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

DECISIONS = "decisions"


def on_config(config: Any) -> Any:
    """Add a section with every record below ``docs/decisions``, in the order of their numbers, and one of what is left."""
    docs = Path(config["docs_dir"])
    pages = sorted(path.relative_to(docs).as_posix() for path in docs.rglob("*.md"))
    placed = set(_pages(config["nav"]))
    decisions = [page for page in pages if page.startswith(f"{DECISIONS}/")]
    others = [page for page in pages if page not in placed.union(decisions)]
    config["nav"].append({"Design decisions": decisions})
    if others:
        config["nav"].append({"More": others})
    return config


def _pages(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    items = nav.values() if isinstance(nav, dict) else nav
    return [page for item in items for page in _pages(item)]
