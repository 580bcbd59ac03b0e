"""
The parser of a command: argparse, with - and _ alike, and options that only a plugin knows.

argparse cannot tell whether the word behind an option that it does not know is its value. `CommandParser.parse`
therefore takes these options out first, by the rule that `UNDECLARED` states.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from neuronkit_registry.names import closest

UNDECLARED = (
    "An option that is not listed here is handed to the plugin: --name VALUE or --name=VALUE, repeated for a list; "
    "--name alone is true and --no-name false. VALUE may be a JSON list or object."
)
"""How undeclared options are read; the end of the help of every command that takes them."""

_PLAIN_VALUE = re.compile(r"[-+]?[\d.,]+|true|false", re.IGNORECASE)


class UsageError(Exception):
    """The words do not make a command; the message says what to change. Exit status 2."""


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """As argparse's, but without the import of shutil, which would cost every command some milliseconds."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=_terminal_width())


class CommandParser(argparse.ArgumentParser):
    """
    The parser of one command.

    Args:
        prog: ``neuronkit`` and the command.
        summary: One line on what it does.

    """

    def __init__(self, *, prog: str, summary: str) -> None:
        super().__init__(
            prog=prog,
            allow_abbrev=False,
            formatter_class=_Formatter,
        )
        self.summary = summary
        self._about = self._examples = ""
        self._takes_undeclared = False
        self.add_argument("--debug", action="store_true", help="Show the traceback of an error.")

    def describe(self, text: str, *, usage: str, commands: str = "") -> None:
        """
        Set what is printed beside the arguments.

        Args:
            text: What the command does, in paragraphs.
            usage: The words behind the command's name.
            commands: Examples, whole commands, one a line.

        """
        self.usage = f"{self.prog} {usage}"
        self._about = text
        self._examples = commands

    def format_help(self) -> str:
        """Return the help, its paragraphs filled."""
        self.description = f"{self.summary}\n\n{_filled(self._about)}".strip()
        parts = [_filled(UNDECLARED)] if self._takes_undeclared else []
        if self._examples:
            parts.append("\n".join(["examples:", *(f"  {line}" for line in self._examples.strip().splitlines())]))
        self.epilog = "\n\n".join(parts)
        return super().format_help()

    def take_undeclared(self) -> None:
        """Accept options that were not declared; `parse` puts them into ``undeclared``, by name with ``_``."""
        self._takes_undeclared = True

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """
        Parse the words behind the command.

        Raises:
            SystemExit: Status 2 after a message on stderr, or 0 after ``--help``.

        """
        reading = _Reading(self, words)
        arguments, extra = self.parse_known_args(reading.words)
        if extra:
            self.error(self._describe_extra(extra))
        arguments.undeclared = reading.undeclared
        return arguments

    @property
    def declared(self) -> dict[str, argparse.Action]:
        """Every spelling of every declared option."""
        return self._option_string_actions

    @property
    def positionals(self) -> list[argparse.Action]:
        """The arguments without a name that must be given."""
        return [action for action in self._get_positional_actions() if action.required]

    @property
    def takes_undeclared(self) -> bool:
        """Whether undeclared options are accepted."""
        return self._takes_undeclared

    def _describe_extra(self, extra: Sequence[str]) -> str:
        option = next((word for word in extra if word.startswith("-")), None)
        if option is None:
            return f"unexpected: {' '.join(extra)}"
        name = option.partition("=")[0]
        return f"there is no option {name}.{closest_hint(name, self.declared)}"


class _Reading:
    """One pass over the words: spelling unified, undeclared options taken out."""

    def __init__(self, parser: CommandParser, words: Sequence[str]) -> None:
        self.words: list[str] = []
        self.undeclared: dict[str, Any] = {}
        self._parser = parser
        self._rest = list(words)
        self._found = 0
        self._borrowed: list[tuple[str, str]] = []
        while self._rest:
            self._read(self._rest.pop(0))
        self._return_borrowed(words)

    def _read(self, word: str) -> None:
        declared = self._parser.declared
        if word == "--":
            self._found += len(self._rest)
            self.words += [word, *self._rest]
            self._rest.clear()
        elif word.startswith("--") and _is_option(word):
            name, equals, value = word.partition("=")
            name = name.replace("_", "-")
            action = declared.get(name)
            if action is not None:
                self.words.append(self._declared(action, name, value if equals else None))
            elif self._parser.takes_undeclared:
                self._take(name, value if equals else None)
            else:
                self.words.append(word)
        elif word in declared and declared[word].nargs is None and self._rest:
            self.words += [word, self._rest.pop(0)]
        else:
            self._found += not _is_option(word)
            self.words.append(word)

    def _declared(self, action: argparse.Action, name: str, value: str | None) -> str:
        if isinstance(action, argparse.BooleanOptionalAction):
            if value is None:
                return name
            from neuronkit.conversion import FALSE_WORDS, TRUE_WORDS

            if value.lower() not in TRUE_WORDS | FALSE_WORDS:
                self._parser.error(f"argument {name}: must be true or false (got {value!r})")
            wanted = (value.lower() in TRUE_WORDS) is not name.startswith("--no-")
            return next(option for option in action.option_strings if option.startswith("--no-") is not wanted)
        if value is None and action.nargs is None and self._rest and not _is_option(self._rest[0]):
            value = self._rest.pop(0)
        return name if value is None else f"{name}={value}"

    def _take(self, option: str, value: str | None) -> None:
        name = option.removeprefix("--").replace("-", "_")
        given: Any = value
        if value is None and self._rest and not _is_option(self._rest[0]):
            given = self._rest.pop(0)
            self._borrowed.append((option, given))
        if given is None:
            name, given = (name.removeprefix("no_"), False) if name.startswith("no_") else (name, True)
        add_value(self.undeclared, name, given)

    def _return_borrowed(self, words: Sequence[str]) -> None:
        """Read the last word as the last positional, where a plugin's switch before it took it for its value."""
        missing = len(self._parser.positionals) - self._found
        if missing < 1 or not self._borrowed or "--help" in words or "-h" in words:
            return
        option, value = self._borrowed[-1]
        name = option.removeprefix("--").replace("-", "_")
        if (
            missing == 1
            and words[-1] == value
            and self.undeclared.get(name) == value
            and not _PLAIN_VALUE.fullmatch(value)
        ):
            self.undeclared.pop(name)
            switch, given = (name.removeprefix("no_"), False) if name.startswith("no_") else (name, True)
            self.undeclared[switch] = given
            self.words.append(value)
            return
        names = ", ".join(str(action.metavar or action.dest) for action in self._parser.positionals[-missing:])
        self._parser.error(
            f"{names} is missing: {option} took {value!r} for its value. "
            f"Write {option}=true if it has none, or {names} first."
        )


def add_value(values: dict[str, Any], name: str, value: Any) -> None:
    """Add a value to those given for an option: a second one makes a list."""
    value = parse_value(value)
    if name in values:
        before = values[name]
        value = [*(before if isinstance(before, list) else [before]), value]
    values[name] = value


def parse_value(value: Any) -> Any:
    """Return what a JSON list or object stands for, and any other value as it is."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        import json

        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def closest_hint(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean ...?``, or nothing."""
    found = closest(name.replace("_", "-"), known)
    return f" Did you mean {found}?" if found else ""


def _is_option(word: str) -> bool:
    """Tell an option from a value; as argparse has it, a lone ``-``, a number and a text with spaces are values."""
    if not word.startswith("-") or word == "-" or re.fullmatch(r"-\d*\.?\d+", word):
        return False
    return " " not in word.partition("=")[0]


def _terminal_width() -> int:
    try:
        columns = int(os.environ.get("COLUMNS", 0)) or os.get_terminal_size(sys.stdout.fileno()).columns
    except (AttributeError, OSError, ValueError):  # no terminal, or no number in COLUMNS
        columns = 100
    return max(min(columns, 120) - 2, 40)


def _filled(text: str) -> str:
    import textwrap

    paragraphs = re.split(r"\n\s*\n", textwrap.dedent(text).strip())
    return "\n\n".join(
        part
        if part.startswith(" ")
        else textwrap.fill(" ".join(part.split()), _terminal_width(), break_on_hyphens=False)
        for part in paragraphs
    )
