"""
Every error of the core; those of the registry are in `neuronkit_registry.errors`. `closest` finds the name that was meant, for
what a message suggests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from neuronkit_registry.errors import NeuronkitError as NeuronkitError
from neuronkit_registry.names import closest as closest

_LINES = 12
"""As many lines of what a compiler said stand in a message."""


class ExportConfigError(NeuronkitError, ValueError):
    """An export config contradicts itself: a plugin's mistake, not the caller's."""


class SourceError(NeuronkitError, FileNotFoundError):
    """The model could not be found, or is not a checkpoint that neuronkit can read."""


class UnknownTaskError(NeuronkitError, ValueError):
    """The task is not known, or cannot be inferred from the checkpoint."""


class OptionError(NeuronkitError, ValueError):
    """Options or shapes were unknown, missing or of a wrong value; the message lists all of them."""


class InputError(NeuronkitError, ValueError):
    """A call's inputs do not fit the graph: unknown or missing name, rank, dtype, size."""


class FixedGraphError(NeuronkitError, NotImplementedError):
    """A method would change what was fixed when the model was compiled; the message names the compile option, if there is one."""


class OutputExistsError(NeuronkitError, FileExistsError):
    """The output directory is not empty and ``force`` was not given."""


class CompileError(NeuronkitError, RuntimeError):
    """A backend could not compile a graph."""


class CompilerNotFoundError(CompileError, FileNotFoundError):
    """The compiler that a backend needs is not installed."""


class ValidationError(NeuronkitError, ArithmeticError):
    """A compiled graph differs from the eager model by more than the tolerance."""


class ArtifactError(NeuronkitError, ValueError):
    """An artifact cannot be used; the message says why and how to rebuild it."""


class ArtifactNotFoundError(ArtifactError, FileNotFoundError):
    """There is no artifact where one was expected."""


class ArtifactCorruptError(ArtifactError):
    """A file of an artifact is missing, truncated or edited."""


class ArtifactSchemaError(ArtifactError):
    """The manifest was written by a newer neuronkit, or is no manifest at all."""


class ArtifactIncompatibleError(ArtifactError):
    """The artifact was compiled for another machine or other versions."""


class ArtifactMismatchError(ArtifactError):
    """The artifact is sound, and not what was asked for: another task, or no artifact at all where one is to be uploaded."""


class ArtifactWriteError(ArtifactError, OSError):
    """An artifact, or the package of a new plugin, could not be written: no space, no permission. Nothing was left behind."""


class ArtifactUploadError(ArtifactError, OSError):
    """An artifact could not be uploaded: the hub could not be reached, or refused."""


class ArtifactUntrustedError(ArtifactError, PermissionError):
    """Compiled graphs are native code; a downloaded artifact loads only with ``trust_artifact=True``."""


class WeightsError(NeuronkitError, ValueError):
    """Weights do not fit the graph they should be bound to: name, shape, dtype or stride."""


class BackendNotFoundError(NeuronkitError, LookupError):
    """No backend of that name is registered."""


@contextmanager
def compile_failures(
    what: str,
    kind: type[CompileError] = CompileError,
    hint: Callable[[Exception], str] | None = None,
    say: Callable[[Exception], str] = str,
) -> Iterator[None]:
    """
    Turn what torch or a compiler ends with into an error; neuronkit's own, and a lack of memory, pass as they are.

    Args:
        what: The message's beginning, before what was said.
        kind: Class of the error.
        hint: Returns what to type next, or nothing.
        say: Returns what was said, the most telling lines first.

    Raises:
        CompileError: Something failed.
    """
    try:
        yield
    except (MemoryError, NeuronkitError):
        raise
    except Exception as error:
        said = "\n  ".join(say(error).strip().splitlines()[:_LINES])
        advice = hint(error) if hint is not None else ""
        raise kind(f"{what}:\n  {said}" + (f"\nTry: {advice}" if advice else "")) from error


def first_line(error: Exception) -> str:
    """Return the beginning of what another library's error says; its class where it says nothing."""
    said = str(error).strip()
    return said.splitlines()[0] if said else type(error).__name__
