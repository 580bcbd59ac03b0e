"""
LoRAs on a compiled pipeline: merged into copies of the weights that they touch, which then replace the compiled graphs' own.

What a LoRA touches is merged in copies; only these tensors reach the graphs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from neuronkit.errors import InputError
from neuronkit.session import Session
from neuronkit.shells import Shell
from neuronkit_plugins.image.checkpoint import quiet
from neuronkit_plugins.image.components import MODULE_PATHS
from neuronkit_plugins.image.merging import Layer, merge
from neuronkit_plugins.image.shells import plain_config

DEFAULT_NAME = "default_{}"


class Adapters:
    """
    The LoRAs of one session.

    Args:
        session: Compiled with its weights apart.
        eager_class: diffusers' own pipeline.
        components: Of the compiled pipeline, by name.

    """

    def __init__(self, session: Session, eager_class: Any, components: Mapping[str, Any]) -> None:
        self._session = session
        self._eager_class = eager_class
        self._components = dict(components)
        self._loaded: dict[str, tuple[Any, dict[str, Any]]] = {}
        self._scales: dict[str, Any] = {}
        self._enabled = True
        self._fused: list[Layer] = []
        self._fused_names: dict[str, tuple[str, ...] | None] = {}
        self._changed: dict[str, set[str]] = {}

    @property
    def names(self) -> list[str]:
        """The loaded LoRAs, in the order in which they were loaded."""
        return list(self._loaded)

    @property
    def active(self) -> list[str]:
        """The LoRAs that are merged at present, unless they are disabled."""
        return list(self._scales)

    @property
    def fused(self) -> set[str]:
        """The LoRAs that `fuse` made part of the weights."""
        return set(self._fused_names)

    def load(self, model: Any, name: str | None, arguments: Mapping[str, Any]) -> None:
        """
        Read a LoRA, and merge it beside those that are active.

        Args:
            model: File, directory, hub id or state dict.
            name: None makes one up.
            arguments: For diffusers' `load_lora_weights` (``weight_name``).

        Raises:
            WeightsError: The weights are inside the graphs.
            InputError: The name is taken.

        """
        name = name or DEFAULT_NAME.format(len(self._loaded))
        if name in self._loaded:
            raise InputError(f"There is a LoRA {name!r} already. Try: another adapter_name, or unload_lora_weights().")
        before = self._loaded, self._scales
        self._loaded = {**self._loaded, name: (model, dict(arguments))}
        try:
            self.activate([*self._scales, name], [*self._scales.values(), 1.0])
        except BaseException:  # an interrupt too leaves what was there
            self._loaded, self._scales = before
            raise

    def activate(self, names: Sequence[str], scales: Any = None) -> None:
        """
        Merge these LoRAs and no others.

        Args:
            names: Of loaded ones.
            scales: A strength for all, or one for each; None means 1.

        Raises:
            InputError: A name is not loaded, or there are more or fewer strengths than names.

        """
        self._require_loaded(names)
        given = scales if isinstance(scales, (list, tuple)) else [1.0 if scales is None else scales] * len(names)
        if len(given) != len(names):
            raise InputError(f"set_adapters needs a weight for each of the {len(names)} adapters (got {len(given)}).")
        wanted = dict(zip(names, given, strict=True))
        self._replace(self._merge([*self._fused, *self._layers(wanted)]))
        self._scales = wanted

    def enable(self, enabled: bool = True) -> None:
        """Merge the active LoRAs again, or none until then; their names and strengths stay."""
        if enabled != self._enabled:
            self._enabled = enabled
            self.activate(self.active, list(self._scales.values()))

    def fuse(self, names: Sequence[str] | None, scale: float, components: Sequence[str]) -> None:
        """
        Make LoRAs part of the weights: `unload` leaves them there, and later strengths no longer reach them.

        Args:
            names: Of loaded ones; None takes those that are active.
            scale: Multiplies their strengths.
            components: Where.

        Raises:
            InputError: A name is not loaded.

        """
        names = self.active if names is None else list(names)
        self._require_loaded(names)
        if unknown := sorted(set(components) - set(MODULE_PATHS)):
            raise InputError(f"No LoRA can be fused into {unknown[0]!r}, only into {', '.join(MODULE_PATHS)}.")
        names = [name for name in names if name not in self._fused_names]
        before = self._fused, self._fused_names
        fused = [
            Layer(*self._loaded[name], _times(self._scales.get(name, 1.0), scale), tuple(components)) for name in names
        ]
        self._fused = [*self._fused, *fused]
        self._fused_names = {**self._fused_names, **dict.fromkeys(names, tuple(components))}
        try:
            self.activate(self.active, list(self._scales.values()))
        except BaseException:  # an interrupt too leaves what was there
            self._fused, self._fused_names = before
            raise

    def unfuse(self) -> None:
        """Undo every `fuse`: the LoRAs that are loaded count with their strengths again."""
        self._fused, self._fused_names = [], {}
        self.activate(self.active, list(self._scales.values()))

    def _require_loaded(self, names: Sequence[str]) -> None:
        if unknown := sorted(set(names) - set(self._loaded)):
            raise InputError(f"There is no LoRA {unknown[0]!r}. Loaded: {', '.join(self._loaded) or 'none'}.")

    def _layers(self, scales: Mapping[str, Any]) -> list[Layer]:
        """Return the LoRAs of these strengths, as far as they are not fused."""
        if not self._enabled:
            return []
        kept = {name: None for name in scales if name not in self._fused_names}
        found = [Layer(*self._loaded[name], scales[name]) for name in kept]
        for name, components in self._fused_names.items():
            left = tuple(set(MODULE_PATHS) - set(components or MODULE_PATHS))
            if name in scales and left:
                found.append(Layer(*self._loaded[name], scales[name], left))
        return found

    def unload(self, names: Sequence[str] | None = None) -> None:
        """Forget LoRAs, by default all, and give their graphs the weights of the rest; without any, the artifact's own."""
        gone = set(self._loaded if names is None else names)
        self._enabled = self._enabled or gone == set(self._loaded)
        self._fused_names = {name: where for name, where in self._fused_names.items() if name not in gone}
        kept = {name: scale for name, scale in self._scales.items() if name not in gone}
        self.activate(list(kept), list(kept.values()))
        self._loaded = {name: value for name, value in self._loaded.items() if name not in gone}

    def _merge(self, layers: Sequence[Layer]) -> dict[str, dict[str, torch.Tensor]]:
        """Return the merged weights by component and by name in it."""
        if not layers:
            return {}
        modules = {
            name: _fill(component, self._original(name))
            for name, component in self._components.items()
            if name in MODULE_PATHS and isinstance(component, Shell)
        }
        with quiet():
            touched = merge(self._eager_class, modules, layers)
        merged = {name: dict(modules[name].named_parameters()) for name in touched}
        return {name: {key: merged[name][key].detach() for key in keys} for name, keys in touched.items()}

    def _original(self, component: str) -> dict[str, torch.Tensor]:
        prefix = MODULE_PATHS[component]
        return {name.removeprefix(prefix): tensor for name, tensor in self._session.weights(component).items()}

    def _replace(self, merged: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
        """Bind merged weights, and the artifact's own where a LoRA no longer reaches."""
        for component in sorted({*merged, *self._changed}):
            prefix = MODULE_PATHS[component]
            new = {f"{prefix}{name}": tensor for name, tensor in merged.get(component, {}).items()}
            left = self._changed.get(component, set()) - set(new)
            original = self._session.weights(component)
            self._session.rebind(component, {**new, **{name: original[name] for name in left}})
            self._changed[component] = set(new)


def _fill(shell: Any, tensors: Mapping[str, torch.Tensor]) -> nn.Module:
    """Return the real module behind a shell with weights; nothing is copied."""
    base = shell.real_class
    with torch.device("meta"):
        module: nn.Module = (
            base.from_config(plain_config(shell)) if hasattr(base, "load_config") else base(shell.config)
        )
    module.load_state_dict(dict(tensors), strict=False, assign=True)
    return module.eval().requires_grad_(False)


def _times(strength: Any, scale: float) -> Any:
    """Multiply a strength, or one per component and block."""
    if isinstance(strength, Mapping):
        return {name: _times(value, scale) for name, value in strength.items()}
    if isinstance(strength, (list, tuple)):
        return [_times(value, scale) for value in strength]
    return strength * scale
