"""``neuronkit run``: raw input through an artifact to a result."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

from neuronkit.cli.flags import add_options, given
from neuronkit.cli.parser import CommandParser, UsageError, add_value
from neuronkit.cli.printing import format_result, print_json, to_json
from neuronkit.errors import InputError
from neuronkit.images import NUMBERS, TASKS, free_path, require_image_ending, save_array, save_images
from neuronkit.options import SourceOptions
from neuronkit.paths import named_path

SUMMARY = "Run an artifact on raw input: text, a question and its context, a prompt, an image."

TEXTS = {
    "text": "A text to embed, to classify, to complete.",
    "question": "A question about the context.",
    "context": "The text that holds the answer.",
    "prompt": "What to write or to draw.",
}
"""The inputs that may also come from a file or from stdin."""

_ENCODING = "utf-8-sig"
"""UTF-8, where the mark that some editors begin a file with is no part of the text."""
_NOT_OURS = ("config", "trust_remote_code")

_ABOUT = """
Every --name VALUE is an input or an option of the artifact's plugin: --max-answer-length and --top-k of question
answering, --normalize of sentence similarity, --messages (a chat as JSON) and --max-new-tokens of text generation,
--negative-prompt, --steps, --guidance, --seed, --image, --mask and --strength of diffusion. `neuronkit list-plugins -v
--json` has the options of each.

--text, --question, --context and --prompt may be repeated, which makes a list. A value of - is read from stdin.
--text-file F takes the whole of a file as one text, without the line break at its end, --text-lines F makes a list
with a text for every line that is not empty; F may be -. The others have the same two. When nothing of all this is
given and stdin is not a terminal, stdin is the text; when there is a question and no context, stdin is the context.

The result goes to stdout, or to the file of --output, whose directory is made if need be. With --json it is one JSON
value: arrays are lists, numbers that are not finite are null. Images are saved, to out.png unless --output names
another file, and their names are the result; a PNG file holds the prompt, the seed and the settings as text. What
--output-type latent, np or pt makes instead is numbers, which --output writes to a .npy file. With --stream text
generation prints its text as it comes, without the prompt.
"""
_EXAMPLES = """
neuronkit run ./my-artifact --question "Where is the cat?" --context "The cat lives near the river."
neuronkit run ./my-artifact --question "Where is the cat?" --json < story.txt
neuronkit run ./my-artifact --text-lines sentences.txt --json --output embeddings.json
neuronkit run ./my-artifact --prompt "Once upon a time" --max-new-tokens 50 --stream
neuronkit run ./my-artifact --prompt "a lighthouse at dusk" --steps 20 --seed 1 --output lighthouse.png
"""


def configure(parser: CommandParser) -> None:
    """Add the arguments."""
    parser.describe(_ABOUT, usage="ARTIFACT [options]", commands=_EXAMPLES)
    parser.add_argument("artifact", metavar="ARTIFACT", help="Directory or hub id of the artifact.")
    inputs = parser.add_argument_group("inputs")
    for name, about in TEXTS.items():
        inputs.add_argument(f"--{name}", action="append", default=[], metavar="TEXT", help=about)
        inputs.add_argument(
            f"--{name}-file", action="append", default=[], metavar="FILE", help="The same, from a file."
        )
        inputs.add_argument(
            f"--{name}-lines", action="append", default=[], metavar="FILE", help="A list, from the lines of a file."
        )
    parser.add_argument("--json", action="store_true", help="Print one JSON value.")
    parser.add_argument(
        "--output", metavar="FILE", help="Write the result to a file: an image, text, or with --json JSON."
    )
    parser.add_argument("--grid", action="store_true", help="Write several images into one file, side by side.")
    parser.add_argument(
        "--task",
        help="Another task of the same architecture than the artifact was compiled for. "
        "TASK@PACKAGE or KEY@PACKAGE chooses among packages that offer the same key.",
    )
    parser.add_argument("--placement", help="Where to put it, in the backend's words. By default the backend chooses.")
    parser.add_argument(
        "--trust-artifact", action="store_true", help="Load an artifact from the hub, although it holds native code."
    )
    add_options(parser.add_argument_group("where the artifact is found"), SourceOptions, leave_out=_NOT_OURS)
    parser.take_undeclared()


def run(arguments: argparse.Namespace) -> int:
    """Run, and deliver the result."""
    if arguments.output:
        check_output(arguments.output)
    stdin = _Stdin()
    values = collect(arguments, stdin)
    from neuronkit import pipeline

    stdout = sys.stdout
    with redirect_stdout(sys.stderr):
        pipe = pipeline(
            arguments.artifact,
            trust_artifact=arguments.trust_artifact,
            task=arguments.task,
            placement=arguments.placement,
            **given(arguments, SourceOptions),
        )
        makes_images = pipe.shell.session.manifest.task in TASKS
        if arguments.output and makes_images:
            _require_ending(arguments.output, str(values.get("output_type", "pil")), as_json=arguments.json)
        piped = {} if stdin.was_read else read_piped(values, pipe.option_names, stdin)
        result = pipe(**values, **piped)
        if isinstance(result, Iterator):
            if not arguments.json and not arguments.output:
                _print_pieces(result, stdout)
                return 0
            result = "".join(result)
    _deliver(result, arguments.output, as_json=arguments.json, grid=arguments.grid, as_array=makes_images)
    return 0


def _require_ending(output: str, kind: str, *, as_json: bool) -> None:
    """Refuse a file's name that does not end as what is written into it: an image, or the numbers of another output type."""
    path = named_path(output, "--output", UsageError)
    if kind == "pil":
        try:
            require_image_ending(path)
        except InputError as error:
            raise UsageError(f"--output: {error}") from error
    elif not as_json and path.suffix != NUMBERS:
        raise UsageError(
            f"--output: {path} would hold the numbers of --output-type {kind}. "
            f"Try: {path.with_suffix(NUMBERS)}, or --json, which writes them as lists"
        )


def check_output(output: str) -> None:
    """
    Refuse a file that could not be written when the result is there.

    Raises:
        UsageError: It is a directory, or its own can be neither written nor made.

    """
    path = named_path(output, "--output", UsageError).absolute()
    if path.is_dir():
        raise UsageError(f"--output {output} is a directory. Try: the name of a file in it")
    folder = next(parent for parent in path.parents if parent.exists())
    if not folder.is_dir():
        raise UsageError(f"--output {output} cannot be written: {folder} is not a directory")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise UsageError(f"--output {output} cannot be written: no permission")


def collect(arguments: argparse.Namespace, stdin: Callable[[], str | None]) -> dict[str, Any]:
    """
    Return the inputs and options of the call.

    Args:
        arguments: What was typed.
        stdin: Returns what is piped into the process, or None if nothing is.

    Raises:
        UsageError: A file cannot be read, or stdin is asked for and there is none.

    """
    values: dict[str, Any] = {}
    for name in TEXTS:
        for text in getattr(arguments, name):
            _add_text(values, name, _required(stdin(), f"--{name} -") if text == "-" else _typed(name, text))
        for file in getattr(arguments, f"{name}_file"):
            _add_text(values, name, _read(file, stdin))
        for file in getattr(arguments, f"{name}_lines"):
            lines = [line for line in _read(file, stdin).split("\n") if line.strip()]
            before = values.get(name, [])
            values[name] = [*(before if isinstance(before, list) else [before]), *lines]
    for name, value in arguments.undeclared.items():
        add_value(values, name, value)
    return values


def read_piped(
    values: Mapping[str, Any], option_names: Collection[str], stdin: Callable[[], str | None]
) -> dict[str, Any]:
    """
    Return what is piped in as the input that is missing: the text, or the context of a question.

    Args:
        values: The inputs and options that were typed.
        option_names: Which of them are options.
        stdin: As for `collect`.

    """
    inputs = set(values) - set(option_names)
    if inputs <= {"question"} and (text := stdin()):
        return {"context" if inputs else "text": text}
    return {}


class _Stdin:
    """What is piped into the process, read at most once."""

    def __init__(self) -> None:
        self.was_read = False

    def __call__(self) -> str | None:
        if sys.stdin is None or sys.stdin.isatty():
            return None
        if self.was_read:
            raise UsageError("stdin can be only one of the inputs")
        self.was_read = True
        if isinstance(sys.stdin, io.TextIOWrapper):  # whatever the locale says
            sys.stdin.reconfigure(encoding=_ENCODING, errors="strict", newline="")
        with _utf_8("stdin"):
            return _without_last_break(sys.stdin.read()) or None


@contextmanager
def _utf_8(what: str) -> Iterator[None]:
    """Say of bytes that are no text where they come from."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise UsageError(f"{what} is not UTF-8 text: {error.reason} at byte {error.start}") from error


def _typed(name: str, text: str) -> str:
    """Return a word of the command line as text: Python escapes what its locale cannot decode."""
    if not any("\udc80" <= letter <= "\udcff" for letter in text):
        return text
    with _utf_8(f"--{name}"):
        return os.fsencode(text).decode("utf-8")


def _add_text(values: dict[str, Any], name: str, text: str) -> None:
    """As `add_value`, for values that are text even if they look like JSON."""
    before = values.get(name)
    values[name] = text if before is None else [*(before if isinstance(before, list) else [before]), text]


def _read(file: str, stdin: Callable[[], str | None]) -> str:
    if file == "-":
        return _required(stdin(), "-")
    try:
        with _utf_8(file):
            return _without_last_break(named_path(file, "A file", UsageError).read_bytes().decode(_ENCODING))
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error


def _without_last_break(text: str) -> str:
    r"""Return a text whose lines end in ``\n``, the last one in nothing: no other character than these ends a line."""
    return text.replace("\r\n", "\n").removesuffix("\n")


def _required(text: str | None, what: str) -> str:
    if text is None:
        raise UsageError(f"{what} reads stdin, and nothing is piped in")
    return text


def _print_pieces(pieces: Iterator[str], stdout: TextIO) -> None:
    """Print pieces of a text as they come; what makes them may print too, which is no result."""
    for piece in pieces:
        stdout.write(piece)
        stdout.flush()
    stdout.write("\n")


def _deliver(result: Any, output: str | None, *, as_json: bool, grid: bool, as_array: bool = False) -> None:
    if images := _images(result):
        path = named_path(output, "--output") if output else free_path(Path("out.png"), 1 if grid else len(images))
        with _written(path):
            written = save_images(images, path, grid=grid)
        result = list(map(str, written)) if len(written) > 1 else str(written[0])
    elif output:
        path = named_path(output, "--output")
        if as_array and not as_json:
            with _written(path):
                save_array(result, path)
            print(f"{path} written", file=sys.stderr)
            return
        import json

        text = json.dumps(to_json(result), ensure_ascii=False, allow_nan=False) if as_json else format_result(result)
        with _written(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n", encoding="utf-8")
        print(f"{path} written", file=sys.stderr)
        return
    if as_json:
        print_json(result)
    else:
        print(format_result(result))


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Say of a result which file could not be written."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}. Try: another --output") from error


def _images(result: Any) -> list[Any]:
    """Return the result as a list if it is one or several images."""
    pillow = sys.modules.get("PIL.Image")  # where it was not imported, nothing is an image
    items = list(result) if isinstance(result, (list, tuple)) else [result]
    return items if pillow and items and all(isinstance(item, pillow.Image) for item in items) else []
