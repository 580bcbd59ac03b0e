"""
The core's environment variables, each in one place, and the packages beside it. Variables of discovery are in
`neuronkit_registry.environment`.

``NEURONKIT_CACHE``: directory of the cache; the default is the platform's cache directory (``$XDG_CACHE_HOME/neuronkit``).
``NEURONKIT_TRACE``: when not empty or ``0``, every hook call is written to stderr: the hook, who is asked, the arguments in a
few words, what came of it and the time. Texts appear with their first letters.
``NEURONKIT_COMPILE_TIMEOUT``: seconds that the compilation of one graph for Neuron may take; unset or empty sets no limit.
``NEURONKIT_HOST_ROOT``: the directory that stands for ``/`` where Neuron devices, their driver, processes and memory are looked
for; in a container that sees the host's elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neuronkit.errors import OptionError
from neuronkit.paths import named_path
from neuronkit.turns import in_turn


def cache_directory() -> Path:
    """
    Return the cache's directory, which may not exist yet.

    Raises:
        OptionError: ``NEURONKIT_CACHE`` names none, or is not set and this user has no home directory.
    """
    if chosen := os.environ.get("NEURONKIT_CACHE"):
        return named_path(chosen, "NEURONKIT_CACHE")
    import platformdirs

    try:
        return Path(platformdirs.user_cache_dir("neuronkit", appauthor=False))
    except RuntimeError as error:
        raise OptionError(
            "The cache has no place: this user has no home directory.\nTry: NEURONKIT_CACHE=DIR, or HOME=DIR."
        ) from error


def tracing() -> bool:
    """Return whether hook calls are to be printed."""
    return os.environ.get("NEURONKIT_TRACE", "0") not in ("", "0")


def compile_timeout() -> float | None:
    """
    Return the seconds that one compilation may take, from ``NEURONKIT_COMPILE_TIMEOUT``; None sets no limit.

    Raises:
        OptionError: It is not a positive number.

    """
    value = os.environ.get("NEURONKIT_COMPILE_TIMEOUT")
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:  # NaN neither
        raise OptionError(f"NEURONKIT_COMPILE_TIMEOUT must be a positive number of seconds (got {value!r}).")
    return seconds


def host_root() -> Path:
    """
    Return the directory that stands for ``/`` where the machine is looked at.

    Raises:
        OptionError: There is none of that name.

    """
    root = Path(os.environ.get("NEURONKIT_HOST_ROOT") or "/")
    if not root.is_dir():
        raise OptionError(f"NEURONKIT_HOST_ROOT must be the directory that stands for / (there is none {str(root)!r}).")
    return root


def version_of(package: str) -> str | None:
    """Return the version of a package, or None if it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


@contextmanager
def temporarily(name: str, value: str) -> Iterator[None]:
    """
    Set a variable of this process for a while, for a compiler that takes a setting in no other way.

    It is a turn to compile, so that no other thread compiles with the setting or puts back what it was before.
    """
    with in_turn("compile"):
        before = os.environ.get(name)
        os.environ[name] = value
        try:
            yield
        finally:
            if before is None:
                del os.environ[name]
            else:
                os.environ[name] = before
