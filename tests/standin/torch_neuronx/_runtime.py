"""
The operators behind a compiled model: loading it, and running it. TorchScript files cannot be opened without them.
"""

from __future__ import annotations

import io
import itertools
import json
import threading
from typing import Any

import torch
from torch import Tensor, nn
from torch_neuronx import _device, _settings

LAZY, ASYNC, DEVICE, DYNAMIC, START, COUNT = range(6)
"""Positions in a model's flags: they travel with the file, as the real ones do."""
DEFAULT_FLAGS = (0, 0, -1, 0, -1, -1)


class Loaded:
    """
    A model in this process.

    Args:
        record: What tracing wrote about it.
        blob: The traced module, as bytes of a TorchScript file.
    """

    def __init__(self, record: dict[str, Any], blob: Tensor) -> None:
        self.record = record
        self._blob = blob
        self._lock = threading.Lock()
        self._module: Any = None
        self.cores: list[int] | None = None
        self.error: Exception | None = None

    @property
    def module(self) -> Any:
        """The traced module; its parameters are the model's memory on the device."""
        if self._module is None:
            with self._lock:
                if self._module is None:
                    self._module = torch.jit.load(io.BytesIO(self._blob.numpy().tobytes()))
        return self._module

    def place(self, start: int, count: int) -> None:
        """Check that the file fits the device, and take memory on its cores."""
        device = _device.device()
        if self.record["target"] is not None and _settings.FAMILIES[self.record["target"]] != _settings.family():
            raise RuntimeError(
                f"NEFF was compiled for {self.record['target']}, the device is {_settings.device()} (simulated)"
            )
        if self.record["lnc"] != _settings.logical_cores():
            raise RuntimeError(
                "Mismatch detected between Runtime configuration and NEFF (simulated): logical core configuration"
            )
        if self.record["version"] != _settings.runtime_version():
            raise RuntimeError(
                f"NEFF version mismatch (simulated): {self.record['version']}, {_settings.runtime_version()}"
            )
        device.free(self.record["bytes"], self.cores or [])
        self.cores = None
        self.cores = device.place(self.record["bytes"], start, count)


MODELS: dict[int, Loaded] = {}
_handles = itertools.count(1)
CONTEXT: list[tuple[int, int]] = []
"""The placement contexts in force: process-wide, hence not thread-safe."""


def register(record: dict[str, Any], blob: Tensor) -> int:
    """Keep a model and return its handle."""
    handle = next(_handles)
    MODELS[handle] = Loaded(record, blob)
    return handle


def load(record: str, flags: Tensor, blob: Tensor) -> int:
    """What opening a file does: place the model now, later, or in the background."""
    handle = register(json.loads(record), blob)
    loaded = MODELS[handle]
    start, count = CONTEXT[-1] if CONTEXT else (int(flags[START]), int(flags[COUNT]))
    if flags[LAZY]:
        return handle
    try:
        loaded.place(start, count)
    except RuntimeError as error:
        if not flags[ASYNC]:
            raise
        loaded.error = error
    return handle


def forward(inputs: list[Tensor], weights: list[Tensor], handle: int, flags: Tensor) -> list[Tensor]:
    """Run a model on tensors; every one must be what it was traced with."""
    loaded = MODELS[handle]
    if loaded.error is not None:
        raise loaded.error
    if loaded.cores is None:
        loaded.place(int(flags[START]), int(flags[COUNT]))
    if flags[DYNAMIC]:
        return _in_chunks(loaded, inputs, weights)
    return _run(loaded, inputs, weights)


def _run(loaded: Loaded, inputs: list[Tensor], weights: list[Tensor]) -> list[Tensor]:
    declared = loaded.record["inputs"]
    for position, (tensor, (shape, dtype)) in enumerate(zip(inputs, declared, strict=True)):
        if list(tensor.shape) != shape:
            received, expected = (" ".join(map(str, dims)) for dims in (tensor.shape, shape))
            raise RuntimeError(f"Incorrect tensor shape at input #{position}: received {received}, expected {expected}")
        if str(tensor.dtype) != dtype:
            raise RuntimeError(
                f"Incorrect tensor type at input #{position} (simulated): received {tensor.dtype}, expected {dtype}"
            )
        if tensor.device.type != "cpu":
            raise RuntimeError(f"Input #{position} must be on the CPU (simulated): got {tensor.device}")
    memory = dict(loaded.module.named_parameters())
    memory |= dict(loaded.module.named_buffers())
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for name, tensor in zip(loaded.record["weights"], weights, strict=True):
            memory[name].copy_(tensor)
        torch.manual_seed(0)  # whatever the host's seed is
        outputs = loaded.module(*(_narrow(tensor) for tensor in inputs))
        kept = []
        aliases = {index: name for name, index in loaded.record["aliases"].items()}
        for index, output in enumerate(outputs):
            if index in aliases:
                memory[aliases[index]].copy_(output)
            else:
                kept.append(_narrow(output).detach().clone())
    return kept


def _narrow(tensor: Tensor) -> Tensor:
    if tensor.dtype == torch.int64:
        return tensor.to(torch.int32).to(torch.int64)
    if tensor.is_floating_point() and _settings.rounds_to_bf16():
        return tensor.to(torch.bfloat16).to(tensor.dtype)
    return tensor


def _in_chunks(loaded: Loaded, inputs: list[Tensor], weights: list[Tensor]) -> list[Tensor]:
    traced = loaded.record["inputs"][0][0][0]
    rows = {tensor.shape[0] for tensor in inputs}
    if len(rows) != 1:
        raise ValueError(f"With dynamic batching all inputs need the same size in dimension 0 (got {sorted(rows)}).")
    for tensor, (shape, _) in zip(inputs, loaded.record["inputs"], strict=True):
        if list(tensor.shape[1:]) != shape[1:]:
            raise ValueError(f"Only dimension 0 is dynamic: got {list(tensor.shape)}, traced with {shape}.")
    total = rows.pop()
    parts = []
    for start in range(0, total, traced):
        chunk = [tensor[start : start + traced] for tensor in inputs]
        missing = traced - chunk[0].shape[0]
        if missing:
            chunk = [torch.cat([tensor, tensor[-1:].expand(missing, *tensor.shape[1:])]) for tensor in chunk]
        parts.append(_run(loaded, chunk, weights))
    return [torch.cat(pieces)[:total] for pieces in zip(*parts, strict=True)]


_library = torch.library.Library("neuron", "DEF")
_library.define("load_model(str record, Tensor flags, Tensor blob) -> int")
_library.define("forward_v2(Tensor[] inputs, Tensor[] weights, int handle, Tensor flags) -> Tensor[]")
_library.impl("load_model", load, "CompositeExplicitAutograd")
_library.impl("forward_v2", forward, "CompositeExplicitAutograd")


class Model(nn.Module):
    """The handle that a traced module holds; opening the file loads it."""

    def __init__(self, record: str, flags: Tensor, blob: Tensor, handle: int) -> None:
        super().__init__()
        self.record = record
        self.handle = handle
        self.register_buffer("flags", flags)
        self.register_buffer("blob", blob)

    def forward(self, inputs: list[Tensor], weights: list[Tensor]) -> list[Tensor]:
        """Run."""
        return torch.ops.neuron.forward_v2(inputs, weights, self.handle, self.flags)

    @torch.jit.export
    def __getstate__(self):
        return (self.record, self.flags, self.blob, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[str, Tensor, Tensor, bool]):
        self.record = state[0]
        self.flags = state[1]
        self.blob = state[2]
        self.training = state[3]
        self.handle = torch.ops.neuron.load_model(self.record, self.flags, self.blob)
