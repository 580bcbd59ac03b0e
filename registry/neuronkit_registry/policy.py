"""
The rules: declarations and settings in, records with a status, a reason and a hint out.

Nothing here imports, reads a file or keeps state, and nothing depends on the order in which packages were found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import attrs

from neuronkit_registry.environment import DISABLE, PLUGINS, PREFER, Settings
from neuronkit_registry.family import Family
from neuronkit_registry.info import ENABLED, Origin, PluginInfo, Status
from neuronkit_registry.names import closest, matches, normalize
from neuronkit_registry.requirements import find_excluding
from neuronkit_registry.scan import Declaration
from neuronkit_registry.targets import split_target


def assess(declarations: Iterable[Declaration], family: Family, settings: Settings) -> list[PluginInfo]:
    """
    Judge each declaration of a family by itself; who wins a key is left to `settle`.

    Args:
        declarations: Entry points of any groups; those of other families are passed over.
        family: The family.
        settings: What the environment asks for.
    """
    own = [(major, one) for one in declarations if (major := api_major(one.group, family)) is not None]
    current: dict[tuple[str, str], set[str]] = {}
    for major, one in own:
        if major == family.api[0]:
            current.setdefault((one.name, normalize(one.package)), set()).add(one.value)
    records: dict[tuple[str, str, str, int], PluginInfo] = {}
    for major, one in own:
        values = current.get((one.name, normalize(one.package)), set())
        # A package that supports several majors is judged by the one that this process speaks.
        if major == family.api[0] or not values:
            identity = one.name, normalize(one.package), one.value, major
            records[identity] = _assess_one(one, major, values, family, settings)
    return sorted(records.values(), key=lambda record: (record.sort_key, record.api))


def settle(records: Sequence[PluginInfo], settings: Settings) -> list[PluginInfo]:
    """
    Decide every key, and return the records in the order given with what that means for them.

    Preferred package before run-time registration, before built-in, before the only third party; several third parties
    are a conflict.

    Args:
        records: Those of installed packages, then those registered at run time, the latest last.
        settings: What the environment asks for.
    """
    settled = list(records)
    by_key: dict[str, list[int]] = {}
    for index, record in enumerate(records):
        if record.status in ENABLED:
            by_key.setdefault(record.key, []).append(index)
    for key, indices in by_key.items():
        usable = [records[index] for index in indices]
        winner, why = _choose(key, usable, settings)
        for index in indices:
            if winner is None:
                settled[index] = _conflicting(records[index], usable)
            elif records[index] is not winner:
                settled[index] = _shadowed(records[index], winner, why)
    return settled


def find_warnings(key: str, records: Iterable[PluginInfo], settings: Settings) -> list[str]:
    """
    Say what deserves attention about the choice that was made for a key.

    Args:
        key: The key.
        records: What `settle` returned.
        settings: What the environment asks for.
    """
    own = [record for record in records if record.key == key]
    winner = find_winner(own)
    if winner is None:
        return []
    found: list[str] = []
    for package in settings.packages_for(key):
        if winner.is_from(package):
            return found
        found += [
            f"{PREFER} names {record.package} for {key!r}, but its plugin is {record.status}: {record.reason}. "
            f"That of {winner.provider} is used instead. Try: {record.hint}."
            for record in own
            if record.is_from(package) and record.status not in ENABLED
        ]
    others = [record for record in own if record is not winner and record.status in ENABLED]
    if winner.origin is Origin.BUILTIN and others:
        found.append(
            f"{key!r} is built in and also offered by {_providers(others)}; the built-in plugin is used. "
            f"Try: {PREFER}={others[0].package} to use {'the other' if len(others) == 1 else 'another'}, "
            f"or {PREFER}={key}={winner.package} to keep the built-in without this warning."
        )
    return found


def find_winner(records: Iterable[PluginInfo]) -> PluginInfo | None:
    """Return the one record of a key, among settled ones, that the bare key means."""
    return next((record for record in records if record.status in (Status.AVAILABLE, Status.LOADED)), None)


def find_problems(declarations: Sequence[Declaration], family: Family, settings: Settings) -> list[str]:
    """Say which settings mean nothing that is installed, and which groups look like the family's and are not."""
    problems = [
        _unmatched(variable, pattern, declarations)
        for variable, patterns in ((PLUGINS, settings.allowed), (DISABLE, settings.disabled))
        for pattern in patterns
        if not any(matches(pattern, one.name, one.package) for one in declarations)
    ]
    for key, package in settings.preferred:
        offered = [one for one in declarations if normalize(one.package) == normalize(package)]
        if not offered:
            problems.append(_unmatched(PREFER, package, declarations))
        elif key is not None and not any(one.name == key for one in offered):
            keys = ", ".join(sorted({one.name for one in offered}))
            problems.append(f"{PREFER} prefers {package} for {key!r}, which it does not offer. It offers: {keys}.")
    problems += [
        f"{package} declares plugins in the group {group!r}, which nothing reads. "
        f"Try: {family.entry_point_group!r} in its pyproject.toml."
        for group, package in sorted({(one.group, one.package) for one in declarations})
        if _looks_like(group, family)
    ]
    return sorted(set(problems))


def api_major(group: str, family: Family) -> int | None:
    """Return the major in a group's name, or None when it is no group of the family."""
    name, _, version = group.rpartition(".")
    number = version.removeprefix("v")
    is_own = name == family.group and number != version and number.isascii() and number.isdigit()
    return int(number) if is_own else None


def _assess_one(
    declaration: Declaration, major: int, values: set[str], family: Family, settings: Settings
) -> PluginInfo:
    halves = family.keys.parse(declaration.name) or {}
    origin = Origin.BUILTIN if normalize(declaration.package) == normalize(family.builtin) else Origin.PACKAGE
    record = PluginInfo(
        key=declaration.name,
        architecture=halves.get("architecture"),
        task=halves.get("task"),
        target=declaration.value,
        package=declaration.package,
        version=declaration.version,
        api=major,
        origin=origin,
    )
    for status, reason, hint in _objections(record, declaration, values, family, settings):
        return attrs.evolve(record, status=status, reason=reason, hint=hint)
    return record


def _objections(
    record: PluginInfo, declaration: Declaration, values: set[str], family: Family, settings: Settings
) -> Iterator[tuple[Status, str, str]]:
    package = declaration.package
    for pattern in settings.disabled:
        if matches(pattern, record.key, package):
            yield Status.DISABLED, f"{DISABLE} contains {pattern!r}", f"remove {pattern!r} from {DISABLE}"
    spared = family.builtins_always_allowed and record.origin is Origin.BUILTIN
    if settings.allowed and not spared and not any(matches(item, record.key, package) for item in settings.allowed):
        yield Status.DISABLED, f"{PLUGINS} does not contain it", f"add {record.qualified!r} to {PLUGINS}"

    repair = f"correct it in the pyproject.toml of {package}, or pip install --upgrade {package}"
    if family.keys.parse(record.key) is None:
        yield Status.MALFORMED, f"{record.key!r} is no key, which is {family.keys.form}", repair
    if split_target(record.target) is None:
        yield Status.MALFORMED, f"{record.target!r} is not module:attribute", repair
    if len(values) > 1:
        listed = ", ".join(sorted(values))
        yield Status.MALFORMED, f"{package} declares the key {len(values)} times: {listed}", repair

    if record.api != family.api[0]:
        upgraded = family.builtin if record.api > family.api[0] else package
        reason = f"it uses hook API {record.api}, and {family.builtin} {family.version} has {family.api[0]}"
        yield Status.INCOMPATIBLE, reason, f"pip install --upgrade {upgraded}"
    if excluding := find_excluding(declaration.requires, family.builtin, family.version):
        reason = f"requires {excluding}, and this is {family.builtin} {family.version}"
        yield Status.INCOMPATIBLE, reason, f'pip install "{excluding}", or pip install --upgrade {package}'


def _choose(key: str, usable: Sequence[PluginInfo], settings: Settings) -> tuple[PluginInfo | None, str]:
    for package in settings.packages_for(key):
        if preferred := [record for record in usable if record.is_from(package)]:
            return preferred[-1], f"{PREFER} chooses {preferred[-1].provider}"
    if registered := [record for record in usable if record.origin is Origin.RUNTIME]:
        return registered[-1], f"replaced by the one that {registered[-1].provider} registered"
    for record in usable:
        if record.origin is Origin.BUILTIN:
            return record, f"the built-in plugin of {record.provider} comes first"
    return (usable[0] if len(usable) == 1 else None), ""


def _conflicting(record: PluginInfo, usable: Sequence[PluginInfo]) -> PluginInfo:
    others = sorted((other for other in usable if other is not record), key=lambda other: other.sort_key)
    return attrs.evolve(
        record,
        status=Status.CONFLICT,
        reason=f"also offered by {_providers(others)}",
        hint=f"set {PREFER}={record.key}={record.package}, or ask for {record.qualified!r}",
    )


def _shadowed(record: PluginInfo, winner: PluginInfo, why: str) -> PluginInfo:
    hint = f"set {PREFER}={record.key}={record.package}, or ask for {record.qualified!r}"
    if record.package is None or winner.is_from(record.package):
        hint = "undo the later registration"
    return attrs.evolve(record, status=Status.SHADOWED, reason=why, hint=hint)


def _providers(records: Iterable[PluginInfo]) -> str:
    return " and ".join(dict.fromkeys(record.provider for record in records))


def _unmatched(variable: str, pattern: str, declarations: Iterable[Declaration]) -> str:
    known = [name for one in declarations for name in (one.name, one.package, f"{one.name}@{one.package}")]
    guess = closest(pattern, known)
    advice = f"Did you mean {guess!r}?" if guess else f"Try: remove it from {variable}."
    return f"{variable} contains {pattern!r}, which matches no installed plugin. {advice}"


def _looks_like(group: str, family: Family) -> bool:
    """Tell whether a group was meant to be the family's: no number, or a slip of the finger in the name."""
    if api_major(group, family) is not None:
        return False
    parts, wanted = group.split("."), family.group.split(".")
    if parts[: len(wanted)] == wanted:
        return True
    return len(parts) > 1 and closest(parts[1], [wanted[-1]], 0.8) is not None
