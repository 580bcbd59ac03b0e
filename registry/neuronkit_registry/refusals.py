"""The errors of looking up a plugin: what happened, what there is instead, what to type next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from neuronkit_registry.environment import PREFER
from neuronkit_registry.errors import (
    MalformedKeyError,
    MalformedTargetError,
    PluginConflictError,
    PluginDisabledError,
    PluginError,
    PluginIncompatibleError,
    UnknownPluginError,
)
from neuronkit_registry.family import Family
from neuronkit_registry.info import ENABLED, PluginInfo, Status
from neuronkit_registry.names import closest

_UNUSABLE: dict[Status, tuple[type[PluginError], str]] = {
    Status.DISABLED: (PluginDisabledError, "is disabled"),
    Status.INCOMPATIBLE: (PluginIncompatibleError, "was written for another neuronkit"),
    Status.MALFORMED: (MalformedTargetError, "is declared wrongly"),
}


def malformed_key(key: str, family: Family, records: Sequence[PluginInfo]) -> MalformedKeyError:
    """Return the error for a name that is no key."""
    guess = closest(key.lower(), [record.key for record in records if record.status in ENABLED])
    declared = [f"{record.provider} declares it wrongly: {record.reason}." for record in records if record.key == key]
    reason = "\n".join([*declared, f"A key is {family.keys.form}."])
    return MalformedKeyError(f"{key!r} is no key", reason, f"{guess!r}" if guess else _listing(family))


def two_packages(name: str, package: str) -> MalformedKeyError:
    """Return the error for ``key@package`` together with another package."""
    return MalformedKeyError(f"{name!r} already names a package, and package={package!r} names another")


def unknown_key(key: str, family: Family, records: Sequence[PluginInfo]) -> UnknownPluginError:
    """Return the error for a key that nobody offers, with what there is for its halves and what is not usable."""
    keys = sorted({record.key for record in records if record.status in ENABLED - {Status.BROKEN}})
    lines = list(_describe_halves(key, family, keys)) or [f"Available: {', '.join(keys) or 'nothing'}."]
    halves = set((family.keys.parse(key) or {}).values())
    hidden = [
        record
        for record in records
        if record.status not in ENABLED - {Status.BROKEN}
        if not halves or halves & {record.architecture, record.task}
    ]
    lines += [f"Not usable: {record.label} is {record.status}: {first_line(record.reason)}" for record in hidden]
    guess = closest(key, keys)
    hint = f"{guess!r}, or {_listing(family)}" if guess else _listing(family)
    return UnknownPluginError(f"No plugin is installed for {key!r}", "\n".join(lines), hint)


def unknown_package(key: str, package: str, family: Family, records: Sequence[PluginInfo]) -> UnknownPluginError:
    """Return the error for a key that others offer, but not the package that was asked for."""
    own = [record for record in records if record.key == key]
    if not own:
        error = unknown_key(key, family, records)
        return UnknownPluginError(
            f"{error.summary} from {package!r}", error.reason, f"pip install {package}, or {error.hint}"
        )
    lines = [f"{record.provider} offers it ({record.status})" for record in own]
    hint = f"pip install {package}, or {own[0].qualified!r}"
    return UnknownPluginError(f"Package {package!r} offers no plugin for {key!r}", "\n".join(lines), hint)


def unusable(records: Sequence[PluginInfo]) -> PluginError:
    """Return the error for a key whose every candidate may not be imported."""
    first = min(records, key=lambda record: (list(_UNUSABLE).index(record.status), record.sort_key))
    kind, what = _UNUSABLE[first.status]
    others = [f"{record.label} is {record.status}: {record.reason}" for record in records if record is not first]
    return kind(f"Plugin {first.label} {what}", "\n".join([first.reason or "", *others]), first.hint)


def conflict(records: Sequence[PluginInfo]) -> PluginConflictError:
    """Return the error for a key that several packages offer."""
    key, first = records[0].key, records[0]
    lines = [f"{record.provider} ({record.target})" for record in records]
    return PluginConflictError(
        f"{len(records)} packages offer {key!r} and nothing says which is meant",
        "\n".join(lines),
        f"{PREFER}={key}={first.package}, or ask for {first.qualified!r}",
    )


def taken(key: str, records: Iterable[PluginInfo]) -> PluginConflictError:
    """Return the error for a key that cannot be registered because it is taken."""
    lines = [f"{record.provider} offers it ({record.target})" for record in records]
    return PluginConflictError(f"{key!r} is taken", "\n".join(lines), "replace=True to use yours instead")


def first_line(text: str | None) -> str:
    """Return the first line of a reason, for messages that mention it in passing."""
    return (text or "").partition("\n")[0]


def _listing(family: Family) -> str:
    return f"{family.builtin} list-plugins"


def _describe_halves(key: str, family: Family, keys: Sequence[str]) -> Iterable[str]:
    """Yield what is available for each half of a key."""
    halves = family.keys.parse(key) or {}
    parsed = [family.keys.parse(known) or {} for known in keys]
    for name, other in (("architecture", "task"), ("task", "architecture")):
        if name in halves:
            found = sorted({item[other] or "" for item in parsed if item.get(name) == halves[name]})
            if found:
                yield f"Available for the {name} {halves[name]!r}: {', '.join(found)}."
            else:
                guess = closest(halves[name], [item[name] for item in parsed if item.get(name)])
                known = ", ".join(sorted({item[name] for item in parsed if item.get(name)})) or "none"
                meant = f" Did you mean {guess!r}?" if guess else ""
                yield f"Nothing is available for the {name} {halves[name]!r}; there are: {known}.{meant}"
