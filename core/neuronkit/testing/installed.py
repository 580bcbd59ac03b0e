"""The promises that an installed plugin keeps without a checkpoint: of its key, its metadata, its import and its object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import ClassVar

import pytest

import neuronkit
from neuronkit.plugins import MODELS
from neuronkit.testing.fresh import fresh_process
from neuronkit.testing.promises import BrokenPromiseError, promise, require
from neuronkit_registry import ENABLED, MODEL_KEYS, Origin, PluginInfo, Status
from neuronkit_registry.contract import find_mistakes
from neuronkit_registry.names import split_qualified

MODEL_LIBRARIES = frozenset(
    ["diffusers", "huggingface_hub", "numpy", "safetensors", "tokenizers", "torch", "transformers"]
)
"""What listing plugins must not import."""
BACKEND_STACKS = frozenset(["libneuronxla", "neuronxcc", "torch_neuronx", "torch_xla"])
"""What importing a plugin must not import: a model compiles on machines without them."""
LISTING_SECONDS = 5.0
"""CPU time in which all installed plugins are listed; it takes a hundredth of it."""


class InstalledConformance:
    """
    What is promised of each key of an installed plugin.

    `neuronkit.testing.PluginConformance` is this and what takes a checkpoint; it describes the attributes.
    """

    key: ClassVar[str | Sequence[str]] = ()
    expected_failures: ClassVar[Mapping[str, str]] = {}
    import_seconds: ClassVar[float] = 20.0
    checks_run: ClassVar[set[str]] = set()
    """The promises that were checked in this process; kept by the kit."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.checks_run = set()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Give every promise that needs no checkpoint one item a key."""
        if "plugin_key" in metafunc.fixturenames:
            metafunc.parametrize("plugin_key", keys_of(type(self)))

    @promise
    def test_key_is_well_formed(self, plugin_key: str) -> None:
        """The key is ``<architecture>.<task>``, and the task is no alias of another."""
        from neuronkit.tasks import canonical_task

        key, _ = split_qualified(plugin_key)
        halves = MODEL_KEYS.parse(key)
        require(halves, f"{key!r} is no key, which is {MODEL_KEYS.form}.")
        task = (halves or {})["task"]
        require(canonical_task(task) == task, f"{task!r} is an alias; the key needs {canonical_task(task)!r}.")

    @promise
    def test_found_through_metadata(self, plugin_key: str) -> None:
        """An installed package declares the key, and it can be used: it is not malformed, disabled or in conflict."""
        record = _record(plugin_key)
        require(
            record.status in (Status.AVAILABLE, Status.LOADED)
            or (record.status in ENABLED and "@" in plugin_key and record.status is not Status.BROKEN),
            f"{record.label} is {record.status}: {record.reason}\nTry: {record.hint}, or a key with @{record.package}.",
        )
        entry_points = metadata.distribution(str(record.package)).entry_points
        declared = {one.value for one in entry_points.select(group=MODELS.entry_point_group, name=record.key)}
        require(record.target in declared, f"The metadata of {record.package} says {declared}, not {record.target!r}.")

    @promise
    def test_listing_imports_nothing(self, plugin_key: str, request: pytest.FixtureRequest) -> None:
        """Listing plugins imports neither the plugin's package nor a library of models, and takes no time."""
        record = _record(plugin_key)
        listing = fresh_process(request.config).ask("list")
        require([record.key, record.package] in listing["records"], f"A fresh process does not list {record.label}.")
        modules = set(listing["modules"])
        unwanted = sorted(modules & {*MODEL_LIBRARIES, *BACKEND_STACKS, *_modules_of(record)})
        require(not unwanted, f"Listing the installed plugins imported {', '.join(unwanted)}.")
        require(listing["seconds"] < LISTING_SECONDS, f"Listing took {listing['seconds']:.1f} s of CPU time.")

    @promise
    def test_import_is_light(self, plugin_key: str, request: pytest.FixtureRequest) -> None:
        """Importing the plugin loads no backend's stack and stays within `import_seconds`."""
        found = fresh_process(request.config).ask("resolve", key=plugin_key)
        unwanted = sorted({str(name).partition(".")[0] for name in found["modules"]} & BACKEND_STACKS)
        require(not unwanted, f"Importing the plugin imported {', '.join(unwanted)}, which only a backend may.")
        require(
            found["seconds"] < self.import_seconds,
            f"Importing the plugin took {found['seconds']:.1f} s of CPU time, and may take {self.import_seconds:g}.\n"
            "Try: import what is slow inside the hooks that need it.",
        )

    @promise
    def test_contract(self, plugin_key: str) -> None:
        """The object implements the hooks as they are specified: names, parameters, decorators."""
        loaded = neuronkit.get_registry().resolve(plugin_key)
        if MODELS.contract is not None:
            mistakes = find_mistakes(loaded.plugin, MODELS.contract)
            require(not mistakes, "\n".join(mistakes))

    @promise
    def test_options_round_trip(self, plugin_key: str) -> None:
        """Options survive keywords, JSON and the command line's spelling; each has a schema and a name of its own."""
        from neuronkit.testing.options import find_mistakes as find_option_mistakes

        mistakes = find_option_mistakes(neuronkit.get_registry().resolve(plugin_key).plugin)
        require(not mistakes, "\n".join(mistakes))


def keys_of(owner: type[InstalledConformance]) -> list[str]:
    """Return the keys that a test class names."""
    keys = [owner.key] if isinstance(owner.key, str) else list(owner.key)
    if not keys:
        raise pytest.UsageError(f'{owner.__name__} needs a key: key = "acme.fill-mask"')
    return keys


def _record(qualified: str) -> PluginInfo:
    key, package = split_qualified(qualified)
    records = [record for record in neuronkit.get_registry().records() if record.key == key]
    installed = [record for record in records if record.origin is not Origin.RUNTIME]
    found = [record for record in installed if package is None or record.is_from(package)]
    if not found:
        also = " It is only registered in this process." if records and not installed else ""
        raise BrokenPromiseError(
            f"No installed package declares {qualified!r} in the group {MODELS.entry_point_group!r}.{also}\n"
            "Try: pip install --editable . again after changing the entry points in pyproject.toml."
        )
    usable = [record for record in found if record.status in (Status.AVAILABLE, Status.LOADED)]
    return (usable or found)[0]


def _modules_of(record: PluginInfo) -> set[str]:
    """Return the module of a plugin and the packages around it."""
    parts = record.target.partition(":")[0].strip().split(".")
    return {".".join(parts[: count + 1]) for count in range(len(parts))} - {MODELS.builtin}
