"""
The installed Neuron packages, read from their metadata without importing them.

Two products share the name ``torch-neuronx``: the XLA line, whose `trace` this backend drives, and the native line,
which has none. What public package indexes hold under these names are placeholders without code.
"""

from __future__ import annotations

import importlib
from typing import Any, Literal

import attrs
from packaging.version import InvalidVersion, Version

from neuronkit.backends.neuron.errors import NeuronPackageError
from neuronkit.environment import version_of

Line = Literal["absent", "placeholder", "xla", "native"]

INDEX = "https://pip.repos.neuron.amazonaws.com"
"""Where the packages are; AWS publishes them nowhere else."""
INSTALL = f"pip install neuronx-cc==2.26.6360.0 torch-neuronx==2.9.0.2.15.32035 --extra-index-url {INDEX}"
"""The last tested pair of the XLA line (SDK 2.31)."""
REPLACE = f"pip uninstall torch-neuronx neuronx-cc && {INSTALL}"
TORCH = (2, 9)
"""The release of torch that the last torch-neuronx of the XLA line was built for."""
PYTHONS = ((3, 11), (3, 13))
"""First and last release of Python that it has wheels for."""


@attrs.frozen
class Sdk:
    """
    The Neuron packages of this environment.

    Args:
        torch_neuronx: Version, or None.
        neuronx_cc: Version of the compiler, or None.
        line: Which product ``torch-neuronx`` is.
        compiler_line: The same for the compiler.

    """

    torch_neuronx: str | None
    neuronx_cc: str | None
    line: Line
    compiler_line: Line

    @property
    def problem(self) -> str | None:
        """Why models cannot be loaded, or None."""
        return {
            "absent": "torch-neuronx is not installed",
            "placeholder": f"torch-neuronx {self.torch_neuronx} is a placeholder without code, from a public index",
            "native": (
                f"torch-neuronx {self.torch_neuronx} is the native line (torch.compile, Trainium2 on), which cannot "
                "trace, and the two never share an environment; the experimental backend neuron-native drives it"
            ),
            "xla": None,
        }[self.line]

    @property
    def compiler_problem(self) -> str | None:
        """Why models cannot be compiled although they could be loaded, or None."""
        return {
            "absent": "neuronx-cc, the compiler, is not installed",
            "placeholder": f"neuronx-cc {self.neuronx_cc} is a placeholder without code, from a public index",
        }.get(self.compiler_line)

    @property
    def cure(self) -> str:
        """The command that installs the right packages."""
        if "placeholder" in (self.line, self.compiler_line):
            return REPLACE
        return f"python -m venv neuron && . neuron/bin/activate && {INSTALL}" if self.line == "native" else INSTALL


def installed() -> Sdk:
    """Look at the metadata of this environment."""
    package, compiler = version_of("torch-neuronx"), version_of("neuronx-cc")
    return Sdk(package, compiler, line_of(package), "absent" if compiler is None else _compiler_line(compiler))


def line_of(package: str | None) -> Line:
    """Return which product a version of ``torch-neuronx`` is."""
    if package is None:
        return "absent"
    try:
        release = Version(package).release
    except InvalidVersion:
        return "placeholder"
    if release[:2] in ((1,), (1, 0)) or release[0] == 0:
        return "placeholder"
    return "xla" if release[:2] < (2, 10) else "native"


def _compiler_line(compiler: str) -> Line:
    try:
        return "placeholder" if Version(compiler).release[:2] in ((1,), (1, 0)) else "xla"
    except InvalidVersion:
        return "placeholder"


def require(*, compiler: bool) -> Sdk:
    """
    Return the packages, if they can do what is asked.

    Args:
        compiler: Whether the compiler is needed too.

    Raises:
        NeuronPackageError: They cannot; the message says how to install the right ones.

    """
    found = installed()
    problem = found.problem or (found.compiler_problem if compiler else None)
    if problem:
        raise NeuronPackageError(f"{problem}.\nTry: {found.cure}")
    return found


def package() -> Any:
    """
    Import ``torch_neuronx``. It must precede ``torch.jit.load``, which cannot read a traced model otherwise.

    Raises:
        NeuronPackageError: It is not there, or not usable.

    """
    found = require(compiler=False)
    try:
        return importlib.import_module("torch_neuronx")
    except ImportError as error:
        raise NeuronPackageError(
            f"torch-neuronx {found.torch_neuronx} is installed, but cannot be imported: {error}\nTry: neuronkit doctor"
        ) from error
