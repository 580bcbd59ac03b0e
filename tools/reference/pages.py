"""Which pages there are."""

from __future__ import annotations

from pathlib import Path

from tools.reference import classes, commands, errors, hooks, library, manifest, settings

FOLDER = Path(__file__).parents[2] / "docs" / "reference"
PAGES = {
    "classes.md": classes.render,
    "cli.md": commands.render,
    "environment.md": settings.render_environment,
    "errors.md": errors.render,
    "hooks.md": hooks.render,
    "library.md": library.render,
    "manifest.md": manifest.render,
    "options.md": settings.render_options,
}
"""Every page and what writes it."""


def render_all() -> dict[str, str]:
    """Return the text of every page by its file name."""
    return {name: render() for name, render in PAGES.items()}
