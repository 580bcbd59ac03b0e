"""One look at the installed packages and the environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from neuronkit_registry import policy
from neuronkit_registry.environment import Settings, read_settings
from neuronkit_registry.family import Family
from neuronkit_registry.info import PluginInfo
from neuronkit_registry.scan import Declaration, scan


@attrs.frozen(eq=False)
class View:
    """
    What a look came to.

    Args:
        settings: What the environment asks for.
        declarations: Every entry point of the namespace.
        records: The family's, each judged by itself.
        problems: In words.
    """

    settings: Settings
    declarations: tuple[Declaration, ...]
    records: tuple[PluginInfo, ...]
    problems: tuple[str, ...]


def look(family: Family, environ: Mapping[str, str], path: Sequence[str] | None) -> View:
    """
    Find the plugins of a family, and judge each by itself; nothing is imported.

    Args:
        family: What kind of plugins.
        environ: Environment variables.
        path: Where packages are looked for; None is `sys.path`.
    """
    settings = read_settings(environ)
    found = scan(family.namespace, path)
    records = policy.assess(found.declarations, family, settings)
    problems = [*found.problems, *policy.find_problems(found.declarations, family, settings)]
    return View(settings, found.declarations, tuple(records), tuple(problems))
