"""What is known about a plugin, without importing it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import attrs

from neuronkit_registry.names import normalize


class Status(StrEnum):
    """Where a plugin stands."""

    AVAILABLE = "available"
    """Would be imported if its key were asked for."""
    LOADED = "loaded"
    """Was imported, and keeps the contract."""
    DISABLED = "disabled"
    """The environment forbids it; its code is never imported."""
    CONFLICT = "conflict"
    """Another package offers the same key, and nothing says which is meant."""
    SHADOWED = "shadowed"
    """Another plugin of the same key is used instead."""
    INCOMPATIBLE = "incompatible"
    """Written for another neuronkit; its code is never imported."""
    MALFORMED = "malformed"
    """Its entry point cannot be understood."""
    BROKEN = "broken"
    """Could not be imported, or does not keep the contract."""


ENABLED = frozenset({Status.AVAILABLE, Status.LOADED, Status.CONFLICT, Status.SHADOWED, Status.BROKEN})
"""The statuses of plugins that may be imported when they are asked for by ``key@package``."""


class Origin(StrEnum):
    """Where a plugin comes from."""

    BUILTIN = "builtin"
    """Ships with neuronkit."""
    PACKAGE = "package"
    """An installed package declares it."""
    RUNTIME = "runtime"
    """Was registered by a call."""


@attrs.frozen(kw_only=True)
class PluginInfo:
    """
    One candidate for a key.

    Args:
        key: Registry key.
        architecture: First half of a model plugin's key; None in registries whose keys are plain names.
        task: Second half of a model plugin's key, or None.
        target: ``module:attribute`` from the entry point, or the type of a plugin registered at run time.
        package: The installed package that brings it; None for a plugin registered at run time without one.
        version: Of the package.
        api: Major version of the hook API that it is written for.
        origin: Where it comes from.
        status: Where it stands.
        reason: Why it is not available.
        hint: What to type to change that.
    """

    key: str
    architecture: str | None = None
    task: str | None = None
    target: str
    package: str | None = None
    version: str | None = None
    api: int
    origin: Origin
    status: Status = Status.AVAILABLE
    reason: str | None = None
    hint: str | None = None

    @property
    def provider(self) -> str:
        """Package and version as messages name them."""
        if self.package is None:
            return "this process"
        return f"{self.package} {self.version}" if self.version else self.package

    @property
    def label(self) -> str:
        """Key, package, version and target as messages name them."""
        return f"{self.key!r} from {self.provider} ({self.target})"

    @property
    def qualified(self) -> str:
        """``key@package``, which means this candidate and no other."""
        return f"{self.key}@{self.package}" if self.package else self.key

    @property
    def sort_key(self) -> tuple[str, str, str]:
        """Order of listings."""
        return self.key, normalize(self.package or ""), self.target

    def is_from(self, package: str) -> bool:
        """Tell whether a package, in any spelling of its name, brings this plugin."""
        return self.package is not None and normalize(self.package) == normalize(package)


@attrs.frozen
class LoadedPlugin:
    """
    A plugin that was imported and keeps the contract.

    Args:
        info: Its record, with status ``loaded``.
        plugin: The object itself.
    """

    info: PluginInfo
    plugin: Any
