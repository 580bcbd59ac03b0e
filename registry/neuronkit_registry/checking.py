"""What a child process does to find out whether one candidate loads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from neuronkit_registry.family import Family
from neuronkit_registry.info import PluginInfo
from neuronkit_registry.registry import Registry


def check_candidate(
    family: Family,
    key: str,
    package: str,
    *,
    environ: Mapping[str, str] | None = None,
    path: Sequence[str] | None = None,
) -> PluginInfo:
    """
    Import one candidate and return its record: ``loaded``, or ``broken`` with the reason.

    A candidate that may not be imported is not, and its record says why. Call it in a process of its own: a plugin may
    print, hang or crash the interpreter.

    Args:
        family: What kind of plugin.
        key: Its key.
        package: The package that offers it.
        environ: Environment variables; None is `os.environ`.
        path: Where packages are looked for; None is `sys.path`.

    Raises:
        UnknownPluginError: There is no such candidate.
    """
    return Registry(family, environ=environ, path=path).try_load(key, package)
