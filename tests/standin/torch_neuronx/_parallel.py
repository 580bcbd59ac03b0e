"""``DataParallel``: one call scattered over several cores."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import nn
from torch_neuronx import _device, _runtime
from torch_neuronx._placement import dynamic_batch


class DataParallel(nn.Module):
    """
    Copies a traced model to cores and splits every tensor along `dim` over the copies; it never replicates a batch.
    """

    def __init__(
        self,
        model: torch.jit.ScriptModule,
        device_ids: Sequence[int | str] | None = None,
        dim: int = 0,
        set_dynamic_batching: bool = True,
    ) -> None:
        super().__init__()
        available = len(_device.device().cores)
        ids = list(range(available)) if device_ids is None else [_number(item) for item in device_ids]
        if not ids or any(not 0 <= item < available for item in ids):
            raise ValueError(f"device_ids must be between 0 and {available - 1} (got {device_ids}).")
        self.device_ids = ids
        self.dim = dim
        self.num_workers = 2 if ids == list(range(ids[0], ids[0] + len(ids))) else 2 * len(ids)
        self.split_size: int | None = None
        self._dynamic = set_dynamic_batching and dim == 0
        self._traced = _runtime.MODELS[model.model.handle].record["inputs"][0][0][dim]
        file = io.BytesIO()
        torch.jit.save(model, file)
        self.copies = []
        for core in ids:
            file.seek(0)
            _runtime.CONTEXT.append((core, 1))
            try:
                copy = torch.jit.load(file)
            finally:
                _runtime.CONTEXT.pop()
            self.copies.append(dynamic_batch(copy) if self._dynamic else copy)

    def disable_dynamic_batching(self) -> None:
        """Ask for exact sizes again."""
        self._dynamic = False
        for copy in self.copies:
            copy.model.flags[_runtime.DYNAMIC] = 0

    def forward(self, *inputs: Any) -> Any:
        """Scatter, run at most `num_workers` pieces at once, and concatenate every output along `dim`."""
        size = next(item.shape[self.dim] for item in inputs if isinstance(item, torch.Tensor))
        if self._dynamic:
            piece = self.split_size or max(1, size // len(self.copies))
        else:
            piece = self._traced
            if size != piece * len(self.copies):
                raise RuntimeError(f"Dimension {self.dim} must be {piece} x {len(self.copies)} (got {size}; simulated)")
        if size < len(self.copies):
            warnings.warn("The batch is smaller than the number of cores: they are underutilised.", stacklevel=2)
        starts = range(0, size, piece)

        def run(number: int, start: int) -> Any:
            length = min(piece, size - start)
            part = [item.narrow(self.dim, start, length) if isinstance(item, torch.Tensor) else item for item in inputs]
            return self.copies[number % len(self.copies)](*part)

        with ThreadPoolExecutor(self.num_workers) as pool:
            return _gather(list(pool.map(run, range(len(starts)), starts)), self.dim)


def _number(item: int | str) -> int:
    if isinstance(item, int):
        return item
    if item.startswith("nc:") and item[3:].isdigit():
        return int(item[3:])
    raise ValueError(f"A device id is a number or 'nc:<number>' (got {item!r}).")


def _gather(results: list[Any], dim: int) -> Any:
    first = results[0]
    if isinstance(first, torch.Tensor):
        return torch.cat(results, dim)
    if isinstance(first, dict):
        return {name: torch.cat([result[name] for result in results], dim) for name in first}
    return type(first)(_gather([result[index] for result in results], dim) for index in range(len(first)))
