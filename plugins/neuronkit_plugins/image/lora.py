"""
LoRAs on a compiled pipeline: merged into copies of the weights that they touch, which then replace the compiled graphs' own.

What a LoRA touches is merged in copies; only these tensors reach the graphs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from functools import cached_property
from itertools import count
from typing import Any, TypeVar

import attrs
import torch
from torch import nn

from neuronkit.errors import InputError
from neuronkit.models.diffusion import component_classes
from neuronkit.session import Session
from neuronkit_plugins.image.checkpoint import quiet
from neuronkit_plugins.image.lora_file import MODULE_PATHS, Lora, read
from neuronkit_plugins.image.merging import UNET, ScaledLora, merge
from neuronkit_plugins.image.shells import make_shells, plain_config

Value = TypeVar("Value")
DEFAULT_NAME = "default_{}"


@attrs.frozen
class _State:
    """
    Which LoRAs there are, and what of them is merged.

    Args:
        loaded: Every LoRA by name.
        scales: The strength that each of them was given last.
        active: Which of them count.
        enabled: Whether those that are loaded are merged.
        fused: What `Loras.fuse` merged of them.
        settled: What it merged of LoRAs that have been unloaded since, with their names.

    """

    loaded: Mapping[str, Lora] = attrs.field(factory=dict)
    scales: Mapping[str, Any] = attrs.field(factory=dict)
    active: tuple[str, ...] = ()
    enabled: bool = True
    fused: Mapping[str, ScaledLora] = attrs.field(factory=dict)
    settled: tuple[tuple[str, ScaledLora], ...] = ()

    def merged(self) -> list[ScaledLora]:
        """Return what is to be merged: what is fused, and the active LoRAs as far as they are not fused."""
        found = [scaled for _, scaled in self.settled]
        if not self.enabled:
            return found
        found.extend(self.fused.values())
        for name in self.active:
            components = set(MODULE_PATHS) - set(self.fused[name].components or () if name in self.fused else ())
            if components:
                found.append(ScaledLora(self.loaded[name], self.scales[name], tuple(components)))
        return found

    def require_loaded(self, names: Iterable[str]) -> None:
        """
        Refuse names of LoRAs that are not there.

        Raises:
            InputError: There is one.

        """
        if unknown := sorted(set(names) - set(self.loaded)):
            raise InputError(f"There is no LoRA {unknown[0]!r}. Loaded: {', '.join(self.loaded) or 'none'}.")


class Loras:
    """
    The LoRAs of one session.

    A LoRA that cannot be read or merged leaves what was there. Where the weights of a component cannot be bound, for lack of memory
    say, those of the components before it stay bound until the next change, which binds all of them.

    Args:
        session: Compiled with its weights apart.
        eager_class: diffusers' own pipeline.

    """

    def __init__(self, session: Session, eager_class: Any) -> None:
        self._session = session
        self._eager_class = eager_class
        self._state = _State()
        self._changed: dict[str, set[str]] = {}

    @cached_property
    def _shells(self) -> dict[str, Any]:
        """The compiled components that take LoRAs, by name; a pipeline may have others in their place."""
        shells = make_shells(self._session, component_classes(self._session.artifact.path))
        return {name: shell for name, shell in shells.items() if name in MODULE_PATHS}

    @property
    def loaded(self) -> dict[str, Lora]:
        """The loaded LoRAs by name, in the order in which they were loaded."""
        return dict(self._state.loaded)

    @property
    def names(self) -> list[str]:
        """The names of the loaded LoRAs, in the order in which they were loaded."""
        return list(self._state.loaded)

    @property
    def active(self) -> list[str]:
        """The LoRAs that are merged at present, unless they are disabled."""
        return list(self._state.active)

    @property
    def fused(self) -> set[str]:
        """The LoRAs that `fuse` made part of the weights, also those that were unloaded since."""
        return {*self._state.fused, *(name for name, _ in self._state.settled)}

    @property
    def merged(self) -> bool:
        """Whether the graphs have other weights than the artifact's."""
        return bool(self._state.merged())

    def read(self, model: Any, arguments: Mapping[str, Any]) -> Lora:
        """
        Read a LoRA.

        Args:
            model: File, directory, hub id or state dict.
            arguments: For diffusers' `load_lora_weights` (``weight_name``).

        Raises:
            WeightsError: The weights are inside the graphs.
            InputError: It cannot be read, or is no LoRA.

        """
        for component in self._shells:
            self._session.weights(component)
        return read(self._eager_class, model, arguments, self._shells[UNET].config)

    def load(self, lora: Lora, name: str | None) -> None:
        """
        Merge a LoRA in place of those that are active; they stay loaded.

        Args:
            lora: What was read.
            name: None makes one up.

        Raises:
            InputError: The name is taken.

        """
        state = self._state
        name = name or next(made for made in map(DEFAULT_NAME.format, count()) if made not in state.loaded)
        if name in state.loaded:
            raise InputError(
                f"There is a LoRA {name!r} already.\n"
                "Try: another adapter_name, hotswap=True to replace it, or unload_lora_weights()."
            )
        self._become(attrs.evolve(self._with(name, lora), active=(name,)))

    def replace(self, lora: Lora, name: str | None) -> None:
        """
        Put a LoRA in place of a loaded one, with strength 1; what is fused stays.

        Args:
            lora: What was read.
            name: Of the loaded one.

        Raises:
            InputError: There is none of that name.

        """
        if name is None:
            raise InputError("hotswap=True replaces a LoRA. Try: the adapter_name of one that is loaded.")
        self._state.require_loaded([name])
        self._become(self._with(name, lora))

    def _with(self, name: str, lora: Lora) -> _State:
        state = self._state
        return attrs.evolve(state, loaded={**state.loaded, name: lora}, scales={**state.scales, name: 1.0})

    def activate(self, names: Sequence[str], scales: Any = None) -> None:
        """
        Merge these LoRAs and no others.

        Args:
            names: Of loaded ones.
            scales: A strength for all, or one for each; None means 1.

        Raises:
            InputError: A name is not loaded, there are more or fewer strengths than names, or one is for an unknown component.

        """
        state = self._state
        state.require_loaded(names)
        given = scales if isinstance(scales, (list, tuple)) else [scales] * len(names)
        if len(given) != len(names):
            raise InputError(f"set_adapters needs a weight for each of the {len(names)} adapters (got {len(given)}).")
        known = ", ".join(MODULE_PATHS)
        for scale in given:
            if unknown := sorted(set(scale if isinstance(scale, Mapping) else ()) - set(MODULE_PATHS)):
                raise InputError(f"set_adapters knows no component {unknown[0]!r}. Weights may be given for {known}.")
        new = {name: 1.0 if scale is None else deepcopy(scale) for name, scale in zip(names, given, strict=True)}
        self._become(attrs.evolve(state, scales={**state.scales, **new}, active=tuple(new)))

    def enable(self, enabled: bool = True) -> None:
        """Merge the LoRAs that are loaded again, or none until then; their names and strengths stay."""
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
            InputError: A name is not loaded, or no component is named, or one that takes no LoRA.

        """
        state = self._state
        if not components:
            raise InputError(f"fuse_lora needs components. Try: leave them out, or some of {', '.join(MODULE_PATHS)}.")
        names = self.active if names is None else list(names)
        state.require_loaded(names)
        if unknown := sorted(set(components) - set(MODULE_PATHS)):
            raise InputError(f"No LoRA can be fused into {unknown[0]!r}, only into {', '.join(MODULE_PATHS)}.")
        new = {
            name: ScaledLora(state.loaded[name], state.scales[name], tuple(components), scale)
            for name in names
            if name not in state.fused
        }
        self._become(attrs.evolve(state, fused={**state.fused, **new}))

    def unfuse(self) -> None:
        """Undo every `fuse`: the LoRAs that are loaded count with their strengths again."""
        self._become(attrs.evolve(self._state, fused={}, settled=()))

    def unload(self, names: Sequence[str] | None = None) -> None:
        """
        Forget LoRAs, and give their graphs the weights of the rest; without any, the artifact's own.

        Where none that was active is left, the first of the rest by name is active, as PEFT has it.

        Args:
            names: Which, as far as they are loaded; None means all.

        """
        state = self._state
        gone = set(state.loaded if names is None else names)
        loaded = _without(state.loaded, gone)
        active = [name for name in state.active if name not in gone]
        if state.active and not active:
            active = sorted(loaded)[:1]
        settled = tuple((name, scaled) for name, scaled in state.fused.items() if name in gone and state.enabled)
        self._become(
            attrs.evolve(
                state,
                loaded=loaded,
                scales=_without(state.scales, gone),
                active=tuple(active),
                enabled=state.enabled or not loaded,
                fused=_without(state.fused, gone),
                settled=(*state.settled, *settled),
            )
        )

    def _become(self, state: _State) -> None:
        """Give the graphs the weights that a state has; only then is it the state."""
        self._replace(self._merge(state.merged()))
        self._state = state

    def _merge(self, loras: Sequence[ScaledLora]) -> dict[str, dict[str, torch.Tensor]]:
        """Return the merged weights by component and by name in it."""
        if not loras:
            return {}
        modules = {name: _fill(shell, self._original(name)) for name, shell in self._shells.items()}
        with quiet():
            touched = merge(self._eager_class, modules, loras)
        if UNET in touched:
            touched[UNET] += _fuse_projections(modules[UNET], touched[UNET], self._original(UNET))
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


def _fuse_projections(unet: nn.Module, touched: Sequence[str], compiled: Collection[str]) -> list[str]:
    """Make the weights again that were compiled as one for query, key and value, where a LoRA touches one of the three."""
    made = []
    for path, layer in unet.named_modules():
        names = [f"{path}.{product}.{kind}" for product in ("to_qkv", "to_kv") for kind in ("weight", "bias")]
        found = [name for name in names if name in compiled]
        if found and any(name.startswith(f"{path}.to_") for name in touched):
            layer.fuse_projections()
            made.extend(found)
    return made


def _without(values: Mapping[str, Value], names: Collection[str]) -> dict[str, Value]:
    return {name: value for name, value in values.items() if name not in names}
