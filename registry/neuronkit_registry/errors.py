"""The root of every error that neuronkit raises, and the errors of the registry."""

from __future__ import annotations


class NeuronkitError(Exception):
    """Root of every error raised by neuronkit, so that one ``except`` can catch them all."""


class PluginError(NeuronkitError):
    """
    Root of the registry's errors.

    Args:
        summary: What happened, to which key and package.
        reason: Why, in one or several lines; None when the summary says it all.
        hint: What to type next.
    """

    def __init__(self, summary: str, reason: str | None = None, hint: str | None = None) -> None:
        super().__init__(summary, reason, hint)
        self.summary = summary
        self.reason = reason
        self.hint = hint

    def __str__(self) -> str:
        lines = [f"{self.summary}:" if self.reason else f"{self.summary}."]
        lines += [f"  {line}" for line in (self.reason or "").splitlines()]
        if self.hint:
            lines.append(f"Try: {self.hint}.")
        return "\n".join(lines)


class UnknownPluginError(PluginError, KeyError):
    """No plugin has that key, or none of that package. A `LookupError`, as for any mapping."""


class MalformedKeyError(PluginError, ValueError):
    """What was given is no key; nothing was looked up."""


class MalformedTargetError(PluginError, ValueError):
    """The entry point of the plugin that was asked for is not ``module:attribute``; nothing was imported."""


class PluginLoadError(PluginError, ImportError):
    """
    The plugin that was asked for could not be imported.

    The original exception is the cause. Plugins that nobody asked for never raise this.
    """


class PluginContractError(PluginError, TypeError):
    """A plugin does not implement the hooks as they are specified, or one returns what it must not; the message names each."""


class PluginConflictError(PluginError, LookupError):
    """Several packages offer one key and nothing says which is meant, or a key to be registered is taken."""


class PluginDisabledError(PluginError, LookupError):
    """The environment disables the plugin that was asked for; nothing was imported."""


class PluginIncompatibleError(PluginError, ImportError):
    """The plugin that was asked for was written for another neuronkit; nothing was imported."""


class StrictError(PluginError, RuntimeError):
    """What would have been a `PluginWarning`, had ``NEURONKIT_STRICT`` not been set."""


class PluginWarning(UserWarning):
    """Something about the installed plugins, or about the choice among them, deserves attention."""
