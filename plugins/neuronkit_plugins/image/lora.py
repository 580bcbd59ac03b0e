"""
LoRAs on a compiled pipeline: merged into copies of the weights that they touch, which then replace the compiled graphs' own.

What a LoRA touches is merged in copies; only these tensors reach the graphs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import count
from typing import Any, TypeVar

import attrs
import torch
from torch import nn

from neuronkit.errors import InputError
from neuronkit.session import Session
from neuronkit.shells import Shell
from neuronkit_plugins.image.checkpoint import quiet
from neuronkit_plugins.image.components import MODULE_PATHS
from neuronkit_plugins.image.merging import Layer, merge
from neuronkit_plugins.image.shells import plain_config

Value = TypeVar("Value")
DEFAULT_NAME = "default_{}"


@attrs.frozen
class _State:
    """
    Which LoRAs there are, and what of them is merged.

    Args:
        loaded: Every LoRA with diffusers' arguments for it, by name.
        scales: The strengths of those that are active.
        enabled: Whether those that are active are merged.
        fused: What `Adapters.fuse` merged.
        fused_names: Where each of these was merged.

    """

    loaded: Mapping[str, tuple[Any, dict[str, Any]]] = attrs.field(factory=dict)
    scales: Mapping[str, Any] = attrs.field(factory=dict)
    enabled: bool = True
    fused: tuple[Layer, ...] = ()
    fused_names: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)

    def layers(self) -> list[Layer]:
        """Return what is to be merged: what is fused, and the active LoRAs as far as they are not fused."""
        found = list(self.fused)
        for name, scale in self.scales.items() if self.enabled else ():
            components = set(MODULE_PATHS) - set(self.fused_names.get(name, ()))
            if components:
                found.append(Layer(*self.loaded[name], scale, tuple(components)))
        return found

    def require_loaded(self, names: Sequence[str]) -> None:
        """
        Refuse names of LoRAs that are not there.

        Raises:
            InputError: There is one.

        """
        if unknown := sorted(set(names) - set(self.loaded)):
            raise InputError(f"There is no LoRA {unknown[0]!r}. Loaded: {', '.join(self.loaded) or 'none'}.")


class Adapters:
    """
    The LoRAs of one session.

    A LoRA that cannot be read or merged leaves what was there. Where the weights of a component cannot be bound, for lack of memory
    say, those of the components before it stay bound until the next change, which binds all of them.

    Args:
        session: Compiled with its weights apart.
        eager_class: diffusers' own pipeline.
        components: Of the compiled pipeline, by name.

    """

    def __init__(self, session: Session, eager_class: Any, components: Mapping[str, Any]) -> None:
        self._session = session
        self._eager_class = eager_class
        self._components = dict(components)
        self._state = _State()
        self._changed: dict[str, set[str]] = {}

    @property
    def names(self) -> list[str]:
        """The loaded LoRAs, in the order in which they were loaded."""
        return list(self._state.loaded)

    @property
    def active(self) -> list[str]:
        """The LoRAs that are merged at present, unless they are disabled."""
        return list(self._state.scales)

    @property
    def fused(self) -> set[str]:
        """The LoRAs that `fuse` made part of the weights."""
        return set(self._state.fused_names)

    @property
    def merged(self) -> bool:
        """Whether the graphs have other weights than the artifact's."""
        return bool(self._state.layers())

    def load(self, model: Any, name: str | None, arguments: Mapping[str, Any]) -> None:
        """
        Read a LoRA, and merge it in place of those that are active; they stay loaded.

        Args:
            model: File, directory, hub id or state dict.
            name: None makes one up.
            arguments: For diffusers' `load_lora_weights` (``weight_name``).

        Raises:
            WeightsError: The weights are inside the graphs.
            InputError: The name is taken.

        """
        loaded = self._state.loaded
        name = name or next(made for made in map(DEFAULT_NAME.format, count()) if made not in loaded)
        if name in loaded:
            raise InputError(
                f"There is a LoRA {name!r} already.\n"
                "Try: another adapter_name, hotswap=True to replace it, or unload_lora_weights()."
            )
        self._become(attrs.evolve(self._with(name, model, arguments), scales={name: 1.0}))

    def replace(self, model: Any, name: str | None, arguments: Mapping[str, Any]) -> None:
        """
        Read a LoRA in place of a loaded one, with strength 1 where that was active; what is fused stays.

        Args:
            model: File, directory, hub id or state dict.
            name: Of the loaded one.
            arguments: As for `load`.

        Raises:
            InputError: There is none of that name.

        """
        if name is None:
            raise InputError("hotswap=True replaces a LoRA. Try: the adapter_name of one that is loaded.")
        self._state.require_loaded([name])
        state = self._with(name, model, arguments)
        self._become(attrs.evolve(state, scales={**state.scales, **({name: 1.0} if name in state.scales else {})}))

    def _with(self, name: str, model: Any, arguments: Mapping[str, Any]) -> _State:
        return attrs.evolve(self._state, loaded={**self._state.loaded, name: (model, dict(arguments))})

    def activate(self, names: Sequence[str], scales: Any = None) -> None:
        """
        Merge these LoRAs and no others.

        Args:
            names: Of loaded ones.
            scales: A strength for all, or one for each; None means 1.

        Raises:
            InputError: A name is not loaded, or there are more or fewer strengths than names.

        """
        self._state.require_loaded(names)
        given = scales if isinstance(scales, (list, tuple)) else [1.0 if scales is None else scales] * len(names)
        if len(given) != len(names):
            raise InputError(f"set_adapters needs a weight for each of the {len(names)} adapters (got {len(given)}).")
        self._become(attrs.evolve(self._state, scales=dict(zip(names, given, strict=True))))

    def enable(self, enabled: bool = True) -> None:
        """Merge the active LoRAs again, or none until then; their names and strengths stay."""
        if enabled != self._state.enabled:
            self._become(attrs.evolve(self._state, enabled=enabled))

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
        state = self._state
        names = self.active if names is None else list(names)
        state.require_loaded(names)
        if unknown := sorted(set(components) - set(MODULE_PATHS)):
            raise InputError(f"No LoRA can be fused into {unknown[0]!r}, only into {', '.join(MODULE_PATHS)}.")
        names = [name for name in names if name not in state.fused_names]
        fused = [
            Layer(*state.loaded[name], _times(state.scales.get(name, 1.0), scale), tuple(components)) for name in names
        ]
        fused_names = {**state.fused_names, **dict.fromkeys(names, tuple(components))}
        self._become(attrs.evolve(state, fused=(*state.fused, *fused), fused_names=fused_names))

    def unfuse(self) -> None:
        """Undo every `fuse`: the LoRAs that are loaded count with their strengths again."""
        self._become(attrs.evolve(self._state, fused=(), fused_names={}))

    def unload(self, names: Sequence[str] | None = None) -> None:
        """
        Forget LoRAs, and give their graphs the weights of the rest; without any, the artifact's own.

        Args:
            names: Which, as far as they are loaded; None means all.

        """
        state = self._state
        gone = set(state.loaded if names is None else names)
        loaded = _without(state.loaded, gone)
        self._become(
            attrs.evolve(
                state,
                loaded=loaded,
                scales=_without(state.scales, gone),
                enabled=state.enabled or not loaded,
                fused_names=_without(state.fused_names, gone),
            )
        )

    def _become(self, state: _State) -> None:
        """Give the graphs the weights that a state has; only then is it the state."""
        self._replace(self._merge(state.layers()))
        self._state = state

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


def _without(values: Mapping[str, Value], names: Collection[str]) -> dict[str, Value]:
    return {name: value for name, value in values.items() if name not in names}


def _times(strength: Any, scale: float) -> Any:
    """Multiply a strength, or one per component and block."""
    if isinstance(strength, Mapping):
        return {name: _times(value, scale) for name, value in strength.items()}
    if isinstance(strength, (list, tuple)):
        return [_times(value, scale) for value in strength]
    return strength * scale
