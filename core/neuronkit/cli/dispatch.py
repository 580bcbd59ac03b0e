"""From words to a command, and from whatever it ends with to an exit status."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from typing import Any, TextIO

from neuronkit.cli import COMMANDS
from neuronkit.cli.parser import CommandParser, UsageError, closest_hint

DONE, FAILED, WRONG_USAGE = 0, 1, 2
INTERRUPTED, BROKEN_PIPE, TERMINATED = 130, 141, 143

_HEAD = """\
usage: neuronkit [--version] [--help] [--debug] COMMAND ...

Compile Hugging Face models into fixed-shape artifacts, and run them on AWS Neuron or any CPU.

commands:
"""
_TAIL = """
`neuronkit COMMAND --help` describes a command. Options may be typed with - or _: --batch-size is --batch_size.
Results go to stdout, notes and progress to stderr. Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""


class Terminated(BaseException):
    """SIGTERM came. Not an `Exception`, so that nobody's error handling keeps it from unwinding the stack."""


class _ResultLostError(Exception):
    """What was printed could not be written: the disk is full. A pipe that nobody reads is no such reason."""


class _Results:
    """
    A stream of results, whose failures are told from those of any other file.

    Args:
        stream: Where they go.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text."""
        with _told_apart():
            return self._stream.write(text)

    def flush(self) -> None:
        """Write what was held back."""
        with _told_apart():
            self._stream.flush()


@contextmanager
def _told_apart() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _ResultLostError(error.strerror) from error


def dispatch(words: list[str]) -> int:
    """Run what was typed. See `neuronkit.cli.main`."""
    debug = words[:1] == ["--debug"]
    words = words[1:] if debug else words
    if not words:
        print(describe(), end="", file=sys.stderr)
        return WRONG_USAGE
    command, *rest = words
    if command in ("-h", "--help", "help"):
        return guard(lambda: _print_help(rest), debug=debug)
    if command == "--version":
        return guard(_print_version, debug=debug)
    name = command.replace("_", "-")
    if name not in COMMANDS:
        return _refuse_command(command)
    return guard(lambda: _run_command(name, rest), debug=debug or "--debug" in rest, command=name)


def _refuse_command(word: str) -> int:
    what = "option" if word.startswith("-") else "command"
    hint = closest_hint(word.replace("_", "-"), COMMANDS) if what == "command" else ""
    print(f"neuronkit: error: there is no {what} {word!r}.{hint} Try: neuronkit --help", file=sys.stderr)
    return WRONG_USAGE


def make_parser(command: str) -> CommandParser:
    """Return the parser of a command."""
    module = import_module(COMMANDS[command])
    parser = CommandParser(prog=f"neuronkit {command}", summary=module.SUMMARY)
    module.configure(parser)
    return parser


def describe() -> str:
    """Return the text of ``neuronkit --help``."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:<{width}}{import_module(home).SUMMARY}\n" for name, home in COMMANDS.items()]
    return "".join([_HEAD, *lines, _TAIL])


def guard(work: Callable[[], int], *, debug: bool = False, command: str = "") -> int:
    """
    Run something and turn what it ends with into an exit status.

    Args:
        work: Returns a status, or raises.
        debug: Print the traceback of an error.
        command: Named in messages about usage.

    """
    _stand_in_for_closed()
    try:
        results: Any = _Results(sys.stdout)
        with redirect_stdout(results), _warnings_for_users(debug), _terminated_like_interrupted():
            status = work()
            results.flush()
            return status
    except _ResultLostError as error:
        _drop_stdout()
        print(f"error: The result could not be written: {error}. Try: another place for stdout.", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        # Whoever read our output has gone; without this the interpreter would complain when it flushes at its end.
        _drop_stdout()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except Terminated:
        return TERMINATED
    except SystemExit as error:  # by argparse, which has printed why
        return error.code if isinstance(error.code, int) else FAILED
    except UsageError as error:
        print(f"neuronkit {command}: error: {error}\nTry: neuronkit {command} --help", file=sys.stderr)
        return WRONG_USAGE
    except Exception as error:
        return _report(error, debug=debug)


def _run_command(name: str, words: list[str]) -> int:
    arguments = make_parser(name).parse(words)
    try:
        status: int = import_module(COMMANDS[name]).run(arguments)
    except SystemExit as error:  # by a plugin or a library: whatever its code, the command was not done
        raise RuntimeError(f"the code of a plugin or a library called sys.exit({error.code!r})") from error
    return status


def _print_help(words: list[str]) -> int:
    if not words:
        print(describe(), end="")
        return DONE
    name = words[0].replace("_", "-")
    if name not in COMMANDS:
        return _refuse_command(words[0])
    make_parser(name).print_help()
    return DONE


def _print_version() -> int:
    from neuronkit import __version__

    print(f"neuronkit {__version__}")
    return DONE


def _report(error: Exception, *, debug: bool) -> int:
    from neuronkit.errors import OptionError
    from neuronkit_registry import NeuronkitError

    if debug:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, NeuronkitError):
        print(f"error: {error}", file=sys.stderr)
        return WRONG_USAGE if isinstance(error, OptionError) else FAILED
    if isinstance(error, MemoryError):
        print(
            f"error: There is not enough memory{f' ({error})' if str(error) else ''}.\n"
            "Try: smaller shapes, --jobs 1, or a machine or a limit with more.",
            file=sys.stderr,
        )
        return FAILED
    lines = [f"error: {type(error).__name__}: {error}", *getattr(error, "__notes__", ())]
    if not debug:
        lines.append(
            "Nothing in neuronkit foresees this. Try: the same command with --debug, which shows where it happened."
        )
    print("\n".join(lines), file=sys.stderr)
    return FAILED


@contextmanager
def _warnings_for_users(debug: bool) -> Iterator[None]:
    """
    Print what neuronkit warns of without the file and line of the code that noticed.

    What libraries say to those who call them (that a function will go or change) is shown with ``--debug`` only.
    """
    with warnings.catch_warnings():
        if not debug and not sys.warnoptions:
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *rest: Any, **named: Any) -> None:
            if category.__module__.startswith("neuronkit"):
                print(f"warning: {message}", file=sys.stderr)
            else:
                usual(message, category, *rest, **named)

        warnings.showwarning = show
        yield


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM unwind the stack, so that what is half done is removed."""
    import signal
    import threading

    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(*_: Any) -> None:
        raise Terminated

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _stand_in_for_closed() -> None:
    """Open nothing in place of a stream that was closed, whose descriptor the next file would get otherwise."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # until the process ends


def _drop_stdout() -> None:
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):  # not a file: a test reads it
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
