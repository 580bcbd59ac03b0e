"""
Entry points in, one loaded plugin out: the bottom layer of neuronkit.

It knows package metadata and pluggy, and nothing of models, torch or the command line. Looking up imports no plugin;
resolving imports one.
"""

from __future__ import annotations

from neuronkit_registry.checking import check_candidate
from neuronkit_registry.errors import (
    MalformedKeyError,
    MalformedTargetError,
    NeuronkitError,
    PluginConflictError,
    PluginContractError,
    PluginDisabledError,
    PluginError,
    PluginIncompatibleError,
    PluginLoadError,
    PluginWarning,
    StrictError,
    UnknownPluginError,
)
from neuronkit_registry.family import CLASS_KEYS, MODEL_KEYS, PLAIN_KEYS, Contract, Family, KeyGrammar
from neuronkit_registry.info import ENABLED, LoadedPlugin, Origin, PluginInfo, Status
from neuronkit_registry.registry import Registry, Snapshot

__all__ = [
    "CLASS_KEYS",
    "ENABLED",
    "MODEL_KEYS",
    "PLAIN_KEYS",
    "Contract",
    "Family",
    "KeyGrammar",
    "LoadedPlugin",
    "MalformedKeyError",
    "MalformedTargetError",
    "NeuronkitError",
    "Origin",
    "PluginConflictError",
    "PluginContractError",
    "PluginDisabledError",
    "PluginError",
    "PluginIncompatibleError",
    "PluginInfo",
    "PluginLoadError",
    "PluginWarning",
    "Registry",
    "Snapshot",
    "Status",
    "StrictError",
    "UnknownPluginError",
    "check_candidate",
]
