"""
The environment variables of the registry, each in this one place.

``NEURONKIT_PLUGINS``: the only plugins that may be used, separated by commas; each a key, a package, ``key@package`` or
a pattern of these (``acme-*``, ``bert.*``). Unset or empty allows all.
``NEURONKIT_DISABLE_PLUGINS``: plugins that are never imported, in the same form.
``NEURONKIT_PREFER``: which package wins where several offer a key: ``package`` or ``key=package``, separated by commas;
a ``key=package`` counts before any ``package``, and among packages the first.
``NEURONKIT_STRICT``: when not empty or ``0``, warnings of discovery and resolution are errors.

They are read when a registry is first used and when it is refreshed, never at import.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from neuronkit_registry.names import normalize

PLUGINS = "NEURONKIT_PLUGINS"
DISABLE = "NEURONKIT_DISABLE_PLUGINS"
PREFER = "NEURONKIT_PREFER"
STRICT = "NEURONKIT_STRICT"


@attrs.frozen(kw_only=True)
class Settings:
    """
    What the environment asks for.

    Args:
        allowed: Patterns from ``NEURONKIT_PLUGINS``; empty allows all.
        disabled: Patterns from ``NEURONKIT_DISABLE_PLUGINS``.
        preferred: Pairs from ``NEURONKIT_PREFER`` in the order given: a key, or None for any, and the package.
        strict: Whether warnings are errors.
    """

    allowed: tuple[str, ...] = ()
    disabled: tuple[str, ...] = ()
    preferred: tuple[tuple[str | None, str], ...] = ()
    strict: bool = False

    def packages_for(self, key: str) -> list[str]:
        """Return the normalized names of the packages preferred for a key, best first."""
        own = [normalize(package) for wanted, package in self.preferred if wanted == key]
        return own + [normalize(package) for wanted, package in self.preferred if wanted is None]


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read the registry's variables."""
    return Settings(
        allowed=_split(environ.get(PLUGINS, "")),
        disabled=_split(environ.get(DISABLE, "")),
        preferred=tuple(_preference(item) for item in _split(environ.get(PREFER, ""))),
        strict=environ.get(STRICT, "0") not in ("", "0"),
    )


def _split(value: str) -> tuple[str, ...]:
    return tuple(item for item in (part.strip() for part in value.split(",")) if item)


def _preference(item: str) -> tuple[str | None, str]:
    key, equals, package = item.partition("=")
    return (key.strip(), package.strip()) if equals else (None, item)
