"""The page of the command line, from its parsers."""

from __future__ import annotations

import argparse
import re
import textwrap

from neuronkit.cli import COMMANDS, build_parser
from neuronkit.cli.parser import UNDECLARED, CommandParser
from tools.reference.text import page, prose, table

INTRO = """
`neuronkit COMMAND --help` prints the same.

- Options may be typed with `-` or `_`: `--batch-size` is `--batch_size`.
- Results go to stdout, notes and progress to stderr. `--json` prints one JSON value.
- Exit status: 0 done, 1 the thing asked for failed, 2 wrong usage, 130 interrupted.
- `--debug`, before the command or behind it, shows the traceback of an error. `neuronkit --version` prints the version.
"""
_UNNAMED = 2
"""argparse makes two groups by itself: of what has no name, and of options. They share a table."""


def render() -> str:
    """Return the page."""
    parsers = {command: build_parser(command) for command in COMMANDS}
    rows = [[f"[`{command}`](#{anchor(command)})", parser.summary] for command, parser in parsers.items()]
    return page("Command line", INTRO, table(["command", "what it does"], rows), *map(_describe, parsers.values()))


def anchor(command: str) -> str:
    """Return the anchor of a command's heading, as GitHub and mkdocs make it."""
    return f"neuronkit-{command}"


def option_names(parser: CommandParser) -> list[str]:
    """Return the spellings of a command's options that ``--help`` shows."""
    return [name for action in _actions(parser) for name in action.option_strings]


def _describe(parser: CommandParser) -> str:
    parser.format_help()  # fills in the description
    about = (parser.description or "").removeprefix(parser.summary)
    parts = [f"## {parser.prog}", parser.summary, f"```console\n$ {parser.usage}\n```", _fenced_json(prose(about))]
    plain, *groups = _groups(parser)
    for title, actions in (plain, *groups):
        if actions:
            parts += [title, table(["argument", "meaning"], [[_spelling(one), _help(one)] for one in actions])]
            parts += _subcommands(actions)
    if parser.takes_undeclared:
        parts.append(_escape(prose(UNDECLARED)))
    examples = re.search(r"^examples:\n((?:  .*\n?)+)", parser.epilog or "", re.MULTILINE)
    if examples:
        lines = textwrap.dedent(examples.group(1)).strip().splitlines()
        parts.append("```console\n" + "\n".join(f"$ {line}" for line in lines) + "\n```")
    return "\n\n".join(part for part in parts if part)


def _groups(parser: CommandParser) -> list[tuple[str, list[argparse.Action]]]:
    shown = _actions(parser)
    groups = [(group, [one for one in group._group_actions if one in shown]) for group in parser._action_groups]
    own = [one for _, actions in groups[:_UNNAMED] for one in actions]
    return [("", own), *((_title(group), actions) for group, actions in groups[_UNNAMED:])]


def _title(group: argparse._ArgumentGroup) -> str:
    title = group.title or ""
    about = group.description or ""
    return f"**{title[:1].upper()}{title[1:]}**" + (f": {about[:1].lower()}{about[1:]}" if about else "")


def _subcommands(actions: list[argparse.Action]) -> list[str]:
    parts = []
    for action in actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, parser in action.choices.items():
                rows = [
                    [_spelling(one), _help(one)] for one in parser._actions if not isinstance(one, argparse._HelpAction)
                ]
                if rows:
                    parts += [f"`{name}`:", table(["argument", "meaning"], rows)]
    return parts


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [
        action
        for action in parser._actions
        if action.help is not argparse.SUPPRESS and not isinstance(action, argparse._HelpAction)
    ]


def _spelling(action: argparse.Action) -> str:
    if not action.option_strings:
        name = action.metavar or ("{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest)
        return f"`{name}`"
    value = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
    return ", ".join(f"`{name}{value}`" for name in action.option_strings)


def _help(action: argparse.Action) -> str:
    text = (action.help or "").replace("%%", "%")
    if action.choices and not action.option_strings and "{" not in text:
        text = text or "One of " + ", ".join(f"`{choice}`" for choice in action.choices) + "."
    return _escape(text)


def _escape(text: str) -> str:
    """Return help text as Markdown: options in it are code, unless they are already."""
    parts = text.split("`")
    parts[::2] = [
        re.sub(r"(?<![\w-])(--?[a-zA-Z][\w-]*)(?!\w)", r"`\1`", part.replace("<", "&lt;")) for part in parts[::2]
    ]
    return "`".join(parts)


def _fenced_json(text: str) -> str:
    """Return text with the description of JSON in a fence, where Markdown leaves it alone."""
    parts = []
    for part in text.split("\n\n"):
        found = re.match(r"JSON: (\{.*\})\.(?: (.*))?$", part)
        if found:
            parts += ["JSON:", f"```text\n{textwrap.fill(found.group(1), 100)}\n```", _escape(found.group(2) or "")]
        else:
            parts.append(_escape(part))
    return "\n\n".join(part for part in parts if part)
