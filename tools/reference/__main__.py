"""Rewrite the pages of the reference: ``python -m tools.reference``."""

from __future__ import annotations

from tools.reference.pages import FOLDER, render_all

for name, text in render_all().items():
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / name).write_text(text, encoding="utf-8")
    print(FOLDER / name)  # noqa: T201
