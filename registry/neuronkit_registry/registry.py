"""The registry: what is installed and registered, and the one plugin that a key means."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from threading import RLock
from typing import Any

import attrs

from neuronkit_registry import policy, refusals
from neuronkit_registry.attention import draw_attention
from neuronkit_registry.environment import Settings
from neuronkit_registry.errors import PluginError, StrictError
from neuronkit_registry.family import Family
from neuronkit_registry.info import ENABLED, LoadedPlugin, Origin, PluginInfo, Status
from neuronkit_registry.loading import check_plugin, load_plugin
from neuronkit_registry.names import normalize, split_qualified
from neuronkit_registry.scan import find_version
from neuronkit_registry.targets import describe_target
from neuronkit_registry.view import View, look

_Identity = tuple[str, str, str]


@attrs.frozen(eq=False)
class Registration:
    """A plugin registered at run time, and its record."""

    info: PluginInfo
    plugin: Any


@attrs.frozen(eq=False)
class Snapshot:
    """The whole state of a registry, for `Registry.restore`."""

    view: View | None
    registrations: tuple[Registration, ...]
    outcomes: Mapping[_Identity, LoadedPlugin | PluginError]
    warned: bool


class Registry(Mapping[str, PluginInfo]):
    """
    The plugins of one family: a read-only mapping from key to the record of the plugin that the key means.

    Packages and environment are read at first use and again by `refresh`. Listing imports nothing; `resolve` imports
    the one plugin that it returns.

    Args:
        family: What kind of plugins.
        environ: Environment variables; None is `os.environ`.
        path: Where packages are looked for; None is `sys.path`.
    """

    def __init__(
        self, family: Family, *, environ: Mapping[str, str] | None = None, path: Sequence[str] | None = None
    ) -> None:
        self.family = family
        self._environ = environ
        self._path = path
        self._lock = RLock()  # `_add` looks while it holds it
        self._view: View | None = None
        self._registrations: tuple[Registration, ...] = ()
        # Replaced, never changed: whoever reads it holds no lock.
        self._outcomes: Mapping[_Identity, LoadedPlugin | PluginError] = {}
        self._warned = False
        self._changes = 0  # how often `refresh` or `restore` made what was being looked at old
        self._decided: tuple[View, tuple[Registration, ...], list[PluginInfo]] | None = None

    def __repr__(self) -> str:
        return f"<Registry of {self.family.entry_point_group}>"

    # Two registries with equal records are still two registries.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __getitem__(self, key: str) -> PluginInfo:
        settled = self._settled()
        own = [record for record in settled if record.key == key]
        if not own:
            raise refusals.unknown_key(key, self.family, self.records())
        winner = policy.find_winner(own)
        if winner is None:
            # Of a conflict the record that says so, even where one of the candidates is also broken.
            return min(own, key=lambda record: (record.status is not Status.CONFLICT, record.sort_key))
        return self._overlay(winner)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({record.key for record in self._settled()}))

    def __len__(self) -> int:
        return len({record.key for record in self._settled()})

    def __contains__(self, key: object) -> bool:
        return any(record.key == key for record in self._settled())

    @property
    def settings(self) -> Settings:
        """What the environment asks for."""
        return self._look().settings

    def records(self) -> list[PluginInfo]:
        """Return one record for each candidate, sorted by key and package."""
        return sorted(map(self._overlay, self._settled()), key=lambda record: record.sort_key)

    def problems(self) -> list[str]:
        """Return what is wrong beside the plugins themselves: packages installed twice, settings that match nothing."""
        view = self._look()
        current = {_identity(record): record for record in view.records}
        outdated = [
            f"{record.package} {record.version} was installed while this process uses {outcome.info.version}. "
            f"Try: restart it."
            for identity, outcome in self._outcomes.items()
            if isinstance(outcome, LoadedPlugin)
            if (record := current.get(identity)) is not None and record.version != outcome.info.version
        ]
        return sorted({*view.problems, *outdated})

    def resolve(self, name: str, package: str | None = None) -> LoadedPlugin:
        """
        Return the one plugin that a name means, imported and checked.

        Args:
            name: ``key`` or ``key@package``.
            package: The package, instead of in the name.

        Raises:
            MalformedKeyError: The name is no key.
            UnknownPluginError: Nobody offers the key, or not that package.
            PluginConflictError: Several packages offer it and nothing says which is meant.
            PluginDisabledError: The environment forbids it.
            PluginIncompatibleError: It was written for another neuronkit.
            MalformedTargetError: Its entry point cannot be understood.
            PluginLoadError: It could not be imported; asked again, the same error is raised again until `refresh`.
            PluginContractError: It breaks its contract; likewise.
            StrictError: Instead of a `PluginWarning`.
        """
        key, named = split_qualified(name)
        if named and package and normalize(named) != normalize(package):
            raise refusals.two_packages(name, package)
        record = self._find(key, named or package)
        self._warn_of_problems()
        if not (named or package):
            self._draw_attention(policy.find_warnings(key, self._settled(), self.settings))
        return self._load(record)

    def load_all(self) -> list[LoadedPlugin]:
        """
        Return the plugin of every key that has a usable one, in the order of the keys.

        For families whose plugins are active together. One that does not load is left out with a `PluginWarning`, since
        nobody asked for it by name.

        Raises:
            StrictError: Instead of the warning.
        """
        loaded = []
        for key in self:
            if self[key].status in ENABLED:
                try:
                    loaded.append(self.resolve(key))
                except StrictError:
                    raise
                except PluginError as error:
                    self.warn(str(error))
        return loaded

    def try_load(self, key: str, package: str | None = None) -> PluginInfo:
        """
        Import one candidate if that is allowed, and return its record: loaded, or broken with the reason.

        Args:
            key: The key.
            package: The package that offers it; None for one registered at run time.

        Raises:
            UnknownPluginError: There is no such candidate.
        """
        settled = self._settled()
        own = [one for one in settled if one.key == key and (one.is_from(package) if package else one.package is None)]
        if not own:
            raise refusals.unknown_package(key, package or "this process", self.family, self.records())
        if own[-1].status not in ENABLED:
            return own[-1]
        try:
            return self._load(own[-1]).info
        except PluginError:
            return self._overlay(own[-1])

    def register(
        self, plugin: Any, key: str, *, package: str | None = None, replace: bool = False
    ) -> Callable[[], None]:
        """
        Add a plugin for this process, and return the function that removes it again.

        The variables that allow and disable plugins concern installed packages, not this.

        Args:
            plugin: The object, as an entry point would name it.
            key: Its key.
            package: Package that it is to count for, in ``key@package`` and ``NEURONKIT_PREFER``.
            replace: Whether it may take the place of a plugin that has the key.

        Raises:
            MalformedKeyError: The key does not have the family's form.
            PluginContractError: The object breaks its contract.
            PluginConflictError: The key is taken and `replace` is False.
        """
        return partial(self._remove, self._add(plugin, key, package, replace))

    @contextmanager
    def temporary(
        self, plugin: Any, key: str, *, package: str | None = None, replace: bool = True
    ) -> Iterator[LoadedPlugin]:
        """Register a plugin as `register` does, for the length of a ``with`` block."""
        registration = self._add(plugin, key, package, replace)
        try:
            yield _as_loaded(registration)
        finally:
            self._remove(registration)

    def warn(self, message: str) -> None:
        """
        Warn of something about the plugins, at the line outside of registry and owner that led here.

        Raises:
            StrictError: Instead of the `PluginWarning`, where the environment asks for that.
        """
        self._draw_attention([message])

    def refresh(self) -> None:
        """
        Look at the installed packages and the environment anew, at the next use.

        What was registered stays, what was imported stays imported, what failed is tried again when it is asked for.
        """
        importlib.invalidate_caches()
        with self._lock:
            self._changes += 1
            self._view = None
            self._warned = False
            self._outcomes = {key: item for key, item in self._outcomes.items() if isinstance(item, LoadedPlugin)}

    def snapshot(self) -> Snapshot:
        """Return the state, for `restore`."""
        with self._lock:
            return Snapshot(self._view, self._registrations, self._outcomes, self._warned)

    def restore(self, state: Snapshot) -> None:
        """Return to a state that `snapshot` returned."""
        with self._lock:
            self._changes += 1
            self._view, self._registrations, self._warned = state.view, state.registrations, state.warned
            self._outcomes = state.outcomes

    def _look(self) -> View:
        changes = self._changes
        view = self._view  # which another thread's `refresh` may take away at any time
        if view is None:
            view = look(self.family, os.environ if self._environ is None else self._environ, self._path)
            with self._lock:
                if changes == self._changes:
                    self._view = view
        return view

    def _settled(self) -> list[PluginInfo]:
        """Return the records after the conflict rules, run-time ones last, as if nothing had been imported."""
        view, registrations, decided = self._look(), self._registrations, self._decided
        if decided is None or decided[0] is not view or decided[1] is not registrations:
            candidates = [*view.records, *(item.info for item in registrations)]
            self._decided = decided = view, registrations, policy.settle(candidates, view.settings)
        return decided[2]

    def _overlay(self, record: PluginInfo) -> PluginInfo:
        """Add to a settled record what came of importing it."""
        if record.origin is Origin.RUNTIME:
            return attrs.evolve(record, status=Status.LOADED) if record.status is Status.AVAILABLE else record
        outcome = self._outcomes.get(_identity(record))
        if isinstance(outcome, PluginError) and record.status in ENABLED:
            return attrs.evolve(
                record, status=Status.BROKEN, reason=outcome.reason or outcome.summary, hint=outcome.hint
            )
        if isinstance(outcome, LoadedPlugin) and record.status is Status.AVAILABLE:
            return attrs.evolve(record, status=Status.LOADED, version=outcome.info.version)
        return record

    def _find(self, key: str, package: str | None) -> PluginInfo:
        if self.family.keys.parse(key) is None:
            raise refusals.malformed_key(key, self.family, self.records())
        own = [record for record in self._settled() if record.key == key]
        if package is not None:
            own = [record for record in own if record.is_from(package)]
            if not own:
                raise refusals.unknown_package(key, package, self.family, self.records())
        if not own:
            raise refusals.unknown_key(key, self.family, self.records())
        usable = [record for record in own if record.status in ENABLED]
        if not usable:
            raise refusals.unusable(own)
        winner = policy.find_winner(usable)
        if winner is None and package is None:
            raise refusals.conflict(sorted(usable, key=lambda record: record.sort_key))
        # Of several with one package, all but the first were registered later.
        return winner or usable[-1]

    def _load(self, record: PluginInfo) -> LoadedPlugin:
        if record.origin is Origin.RUNTIME:
            return _as_loaded(self._registration_of(record))
        changes = self._changes
        outcome = self._outcomes.get(_identity(record))
        if outcome is None:
            requires = (one.requires for one in self._look().declarations if record.is_from(one.package))
            try:
                plugin = load_plugin(record, self.family.contract, next(requires, ()))
            except PluginError as error:
                outcome = error
            else:
                outcome = LoadedPlugin(attrs.evolve(record, status=Status.LOADED, reason=None, hint=None), plugin)
            outcome = self._remember(_identity(record), outcome, changes)
        if isinstance(outcome, PluginError):
            raise outcome.with_traceback(None)
        return outcome

    def _remember(
        self, identity: _Identity, outcome: LoadedPlugin | PluginError, changes: int
    ) -> LoadedPlugin | PluginError:
        """Keep what came of an import, but for a failure of before a `refresh`; return it, or what another thread kept first."""
        with self._lock:
            if (first := self._outcomes.get(identity)) is not None:
                return first
            if changes == self._changes or isinstance(outcome, LoadedPlugin):
                self._outcomes = {**self._outcomes, identity: outcome}
            return outcome

    def _registration_of(self, record: PluginInfo) -> Registration:
        same = (item for item in reversed(self._registrations) if _identity(item.info) == _identity(record))
        return next(same)

    def _add(self, plugin: Any, key: str, package: str | None, replace: bool) -> Registration:
        halves = self.family.keys.parse(key)
        if halves is None:
            raise refusals.malformed_key(key, self.family, ())
        info = PluginInfo(
            key=key,
            architecture=halves.get("architecture"),
            task=halves.get("task"),
            target=describe_target(plugin),
            package=package,
            version=find_version(package, self._path) if package else None,
            api=self.family.api[0],
            origin=Origin.RUNTIME,
        )
        if self.family.contract is not None:
            check_plugin(info, plugin, self.family.contract)
        registration = Registration(info, plugin)
        with self._lock:
            holders = [] if replace else [one for one in self._settled() if one.key == key and one.status in ENABLED]
            if holders:
                raise refusals.taken(key, sorted(holders, key=lambda record: record.sort_key))
            self._registrations += (registration,)
        return registration

    def _remove(self, registration: Registration) -> None:
        with self._lock:
            self._registrations = tuple(item for item in self._registrations if item is not registration)

    def _warn_of_problems(self) -> None:
        if not self._warned:
            self._draw_attention(self.problems())
            self._warned = True

    def _draw_attention(self, messages: Sequence[str]) -> None:
        draw_attention(messages, self.family.namespace, strict=self.settings.strict)


def _identity(record: PluginInfo) -> _Identity:
    return record.key, normalize(record.package or ""), record.target


def _as_loaded(registration: Registration) -> LoadedPlugin:
    return LoadedPlugin(attrs.evolve(registration.info, status=Status.LOADED), registration.plugin)
