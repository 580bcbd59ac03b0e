"""The names that follow from a package's name, and the names that cannot be used."""

from __future__ import annotations

import keyword
import re
import sys
from importlib.util import find_spec

import attrs

from neuronkit.errors import OptionError
from neuronkit.export.source import diffusers_slug
from neuronkit.plugins import get_registry
from neuronkit_registry import MODEL_KEYS

_PACKAGE = re.compile(r"[a-z][a-z0-9]*(?:[-_.][a-z0-9]+)*")


@attrs.frozen
class Names:
    """
    What a package and its parts are called.

    Args:
        package: As pip knows it: ``acme-bert``.
        architecture: What a checkpoint calls itself: its ``model_type``, or the slug of its pipeline.
        task: What the plugin is for.
    """

    package: str
    architecture: str
    task: str

    @property
    def module(self) -> str:
        """As it is imported: ``acme_bert``."""
        return re.sub(r"[-.]", "_", self.package)

    @property
    def prefix(self) -> str:
        """What the names of classes begin with: ``AcmeBert``."""
        words = re.split(r"[-_]", self.architecture)
        return "".join(word[:1].upper() + word[1:] for word in words)

    @property
    def key(self) -> str:
        """The plugin's key: ``acme-bert.question-answering``."""
        return f"{self.architecture}.{self.task}"


def make_names(package: str, architecture: str | None, task: str, *, is_pipeline: bool = False) -> Names:
    """
    Name a package and its parts.

    Args:
        package: What the caller calls it.
        architecture: None calls it as the package.
        task: A task that has a sketch.
        is_pipeline: Whether the model is a pipeline of diffusers, which calls it after its class.

    Raises:
        OptionError: A name is no name, or is taken.
    """
    if not _PACKAGE.fullmatch(package):
        near = re.sub(r"[^a-z0-9]+", "-", package.lower()).strip("-")
        hint = f" Try: {near}" if _PACKAGE.fullmatch(near) else ""
        raise OptionError(
            f"NAME: must be a package's name in lower-case letters, digits, - and _, such as acme-bert (got {package!r}).{hint}"
        )
    names = Names(package, (architecture or package).replace(".", "-"), task)
    if MODEL_KEYS.parse(names.key) is None or not names.prefix.isidentifier():
        raise OptionError(
            f"architecture: must begin with a letter and have lower-case letters, digits, - and _, such as acme-bert "
            f"(got {names.architecture!r})."
        )
    if is_pipeline and diffusers_slug(f"{names.prefix}Pipeline") != names.architecture:
        slug = diffusers_slug(f"{names.prefix}Pipeline")
        raise OptionError(
            f"architecture: {names.architecture!r} is no name for a pipeline: diffusers would call it {slug!r}, after its class.\n"
            f"Try: --architecture acme-diffusion"
        )
    if keyword.iskeyword(names.module) or names.module in sys.stdlib_module_names:
        raise OptionError(f"NAME: {names.module!r} is a word of Python itself. Try: {package}-plugin")
    if find_spec(names.module) is not None:
        raise OptionError(
            f"NAME: there is a module {names.module!r} already, and only one of the two could be imported.\n"
            f"Try: another name, or pip uninstall {package}"
        )
    taken = [record for record in get_registry().records() if record.key == names.key]
    if taken:
        raise OptionError(
            f"{names.key!r} is a key of {taken[0].provider} already, and two packages of one key need a preference.\n"
            f"Try: a name or an --architecture of your own, such as acme-{names.architecture}"
        )
    return names
