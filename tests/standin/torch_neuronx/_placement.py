"""The functions that change how a traced model is loaded and run. All work in place."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch_neuronx import _device, _runtime
from torch_neuronx._runtime import ASYNC, CONTEXT, COUNT, DEVICE, DYNAMIC, LAZY, MODELS, START


def _models(trace: torch.jit.ScriptModule) -> list[Any]:
    return [module for module in trace.modules() if hasattr(module, "flags") and hasattr(module, "record")]


def _loaded(trace: torch.jit.ScriptModule) -> list[_runtime.Loaded]:
    return [MODELS[model.handle] for model in _models(trace)]


def dynamic_batch(neuron_script: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """Let dimension 0 vary; returns the same object."""
    for loaded in _loaded(neuron_script):
        rows = {tuple(shape[:1]) for shape, _ in loaded.record["inputs"]}
        if len(rows) != 1 or () in rows:
            raise ValueError(
                f"With dynamic batching all inputs need the same size in dimension 0 (got {sorted(rows)})."
            )
    for model in _models(neuron_script):
        model.flags[DYNAMIC] = 1
    return neuron_script


def lazy_load(trace: torch.jit.ScriptModule, enable_lazy_load: bool = True) -> None:
    """Load at the first call instead of when the file is opened."""
    for model in _models(trace):
        model.flags[LAZY] = int(enable_lazy_load)


def async_load(trace: torch.jit.ScriptModule, enable_async_load: bool = True) -> None:
    """Load in the background; the first call waits."""
    for model in _models(trace):
        model.flags[ASYNC] = int(enable_async_load)


def move_trace_to_device(trace: torch.jit.ScriptModule, device_id: int) -> None:
    """Put weights and state on a core once, instead of at every call."""
    for model, loaded in zip(_models(trace), _loaded(trace), strict=True):
        if loaded.cores is None or loaded.cores != [device_id]:
            loaded.place(device_id, 1)
        model.flags[DEVICE] = device_id


def replace_weights(
    neuron_model: torch.jit.ScriptModule, weights: torch.nn.Module | Mapping[str, torch.Tensor]
) -> None:
    """Give a model that was traced with ``inline_weights_to_neff=False`` other weights."""
    given = weights.state_dict() if isinstance(weights, torch.nn.Module) else weights
    for loaded in _loaded(neuron_model):
        if loaded.record["inline"]:
            warnings.warn(
                "The weights are inlined in the NEFF: replace_weights has no effect (simulated).", stacklevel=2
            )
            return
    held = dict(neuron_model.weights.named_parameters())
    names = {name: name.replace(".", "__") for name in given}
    if set(names.values()) != set(held):
        raise RuntimeError(f"The weights do not match (simulated): {sorted(set(names.values()) ^ set(held))}")
    with torch.no_grad():
        for name, parameter in names.items():
            held[parameter].copy_(given[name])


def set_neuron_cores(trace: torch.jit.ScriptModule, start_nc: int = -1, nc_count: int = -1) -> None:
    """Move a model to cores."""
    for model, loaded in zip(_models(trace), _loaded(trace), strict=True):
        loaded.place(start_nc, nc_count)
        model.flags[START], model.flags[COUNT] = start_nc, nc_count


def set_multicore(trace: torch.jit.ScriptModule) -> None:
    """Copy a model to every core."""
    set_neuron_cores(trace, 0, len(_device.device().cores))


@contextmanager
def neuron_cores_context(start_nc: int = -1, nc_count: int = -1) -> Iterator[None]:
    """Place the models that are opened inside."""
    available = len(_device.device().cores)
    if nc_count == 0 or nc_count < -1 or nc_count > available:
        raise ValueError(f"nc_count must be -1 or between 1 and {available} (got {nc_count}).")
    CONTEXT.append((start_nc, nc_count))
    try:
        yield
    finally:
        CONTEXT.pop()


@contextmanager
def multicore_context() -> Iterator[None]:
    """Copy the models that are opened inside to every core."""
    with neuron_cores_context(0, len(_device.device().cores)):
        yield
