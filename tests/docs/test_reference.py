"""The reference is what the code says, and nothing is missing from it."""

from __future__ import annotations

import re

import pytest
from tools.reference import classes, commands, hooks, settings
from tools.reference import errors as errors_page
from tools.reference.pages import FOLDER, PAGES

import neuronkit
from neuronkit.cli import COMMANDS, build_parser
from neuronkit.options import CompileOptions, SourceOptions, names
from tests.docs.programs import DOCS

ROOT = DOCS.parent


def read(name: str) -> str:
    """Return a page of the reference as it is committed."""
    return (FOLDER / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_page_is_what_the_code_generates(name):
    """A change of the code that the reference shows comes with the page."""
    pytest.importorskip("diffusers")
    assert read(name) == PAGES[name](), f"docs/reference/{name} is not what the code says. Try: make docs-reference"


def test_no_page_is_left_over():
    """Every page of the folder is written by the tool."""
    assert {path.name for path in FOLDER.iterdir()} == set(PAGES)


def test_every_hook_is_described():
    """By a section of its own, with each of its parameters."""
    page = read("hooks.md")
    for name, specification in hooks.specifications().items():
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert section, name
        for parameter in specification.__code__.co_varnames[: specification.__code__.co_argcount]:
            assert f"- `{parameter}`:" in section, f"{name}: {parameter}"
    assert {"compile", "load", "forward", "remove_padding", "export_config", "postprocess"} <= set(
        hooks.specifications()
    )


def test_every_public_name_is_described():
    """Those of `neuronkit.__all__`, and the classes of the entry points, each with its section."""
    library = read("library.md")
    for name in neuronkit.__all__:
        assert re.search(rf"^### {name}$", library, re.MULTILINE), name
    page = read("classes.md")
    assert len(classes.names()) >= 20
    for name in classes.names():
        assert re.search(rf"^## {name}$", page, re.MULTILINE), name


def test_every_command_and_option_is_described():
    """Every spelling that a parser accepts and shows."""
    page = read("cli.md")
    for command in COMMANDS:
        section = page.partition(f"\n## neuronkit {command}\n")[2].partition("\n## ")[0]
        for option in commands.option_names(build_parser(command)):
            assert re.search(rf"`{re.escape(option)}[ `]", section), f"neuronkit {command} {option}"


def test_every_option_is_described():
    """Those of the core and of every built-in plugin."""
    page = read("options.md")
    for kind in (CompileOptions, SourceOptions, *settings.plugin_options().values()):
        for name in names(kind):
            assert f"| `{name}` |" in page, name


def test_every_variable_is_described():
    """Whatever the packages read by a name that begins with the project's."""
    sources = [path for folder in ("core", "registry", "plugins") for path in (ROOT / folder).rglob("*.py")]
    found = {
        name for path in sources for name in re.findall(r"\bNEURONKIT_[A-Z_]+\b", path.read_text(encoding="utf-8"))
    }
    assert {"NEURONKIT_TRACE", "NEURONKIT_CACHE"} <= found
    assert found == set(settings.variables())


def test_every_error_is_described():
    """All classes below the root, wherever they are defined."""

    def below(kind: type) -> set[str]:
        ours = {kind.__name__} if kind.__module__.startswith("neuronkit") else set()
        return ours.union(*(below(child) for child in kind.__subclasses__()))

    described = {item.__name__ for items in errors_page.classes().values() for item in items}
    assert below(neuronkit.NeuronkitError) <= described
