"""What can go wrong with Neuron's packages, its compiler and its devices."""

from __future__ import annotations

from pathlib import Path

from neuronkit.errors import CompileError
from neuronkit_registry.errors import NeuronkitError

EXPORT_ADVICE = "neuronkit check, which names what Neuron does not take."
"""What to type when a graph cannot be exported."""


class NeuronPackageError(NeuronkitError, ImportError):
    """The Neuron packages are absent, placeholders, or of another line; the message holds the install command."""


class NeuronDeviceError(NeuronkitError, RuntimeError):
    """A model could not be put on a Neuron core, or failed on it."""


class NeuronCompileError(CompileError):
    """
    ``neuronx-cc``, or the tracing before it, failed.

    Args:
        message: What happened, with cause and cure.
        status: Exit status of the compiler, or None when it did not get that far.
        codes: The ``NCC_...`` codes in its log.
        log: The log, which is kept; None where the cache cannot be written.

    """

    def __init__(
        self, message: str, *, status: int | None = None, codes: tuple[str, ...] = (), log: Path | None = None
    ):
        super().__init__(message)
        self.status = status
        self.codes = codes
        self.log = log


class NeuronCompileTimeoutError(NeuronCompileError, TimeoutError):
    """A compilation took longer than allowed and was ended."""
