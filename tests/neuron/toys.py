"""A tiny encoder and a tiny decoder with a cache."""

from __future__ import annotations

from pathlib import Path

import attrs
import torch
from torch import nn

from neuronkit.artifact.cache import make_record
from neuronkit.artifact.manifest import CompiledBucket
from neuronkit.backends.base import Backend
from neuronkit.buckets import Bucket
from neuronkit.export import Graph, Input, Output
from neuronkit.export.capture import TracedModule
from neuronkit.options import CompileOptions

BUCKET = Bucket({"batch": 2, "sequence": 4})


class Encoder(nn.Module):
    """Has what trips exporters: attention, a table made on the fly, a buffer that no state dict holds."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(11, 8)
        self.linear = nn.Linear(8, 8)
        self.register_buffer("scale", torch.full((8,), 0.5), persistent=False)

    def forward(self, input_ids, attention_mask):
        states = self.embedding(input_ids) * attention_mask[..., None].to(torch.float32)
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        counted = attention_mask.to(device=states.device, dtype=torch.bool)
        states = states + places[None, :, None] * self.scale
        mask = counted[:, None, :].expand(-1, counted.shape[1], -1)
        states = states + nn.functional.scaled_dot_product_attention(states, states, states, attn_mask=mask)
        return {"last_hidden_state": self.linear(states)}


def encoder_graph(kind: str | None = "encoder", **changes) -> Graph:
    """The graph of `Encoder`."""
    inputs = [
        Input("input_ids", ["batch", "sequence"], high=11),
        Input("attention_mask", ["batch", "sequence"], default=1),
    ]
    outputs = [Output("last_hidden_state", ["batch", "sequence", 8])]
    return Graph("encoder", inputs, outputs, kind=kind, **changes)


class CachedSum(nn.Module):
    """Writes each call's row into a cache at its position, and sums what lies at positions up to it."""

    def forward(self, row, position, cache):
        slots = torch.arange(cache.shape[1], device=cache.device)
        cache.copy_(torch.where((slots == position)[None, :, None], row[:, None], cache))
        seen = (slots <= position)[None, :, None].to(row.dtype)
        return {"total": (cache * seen).sum(1)}


def cached_graph() -> Graph:
    """The graph of `CachedSum`."""
    inputs = [
        Input("row", ["batch", 3], dtype="float32"),
        Input("position", [1], high=4),
        Input("cache", ["batch", 4, 3], dtype="float32", state=True),
    ]
    return Graph("decoder", inputs, [Output("total", ["batch", 3])], kind="decoder")


@attrs.frozen
class Compiled:
    """A graph on disk, and the eager module that it came from."""

    directory: Path
    record: CompiledBucket
    graph: Graph
    module: nn.Module
    options: CompileOptions


def traced(graph: Graph, module: nn.Module) -> TracedModule:
    """What the core hands to a backend."""
    return TracedModule(module, graph).eval().requires_grad_(False)


def compile_toy(backend: Backend, options: CompileOptions, directory: Path, graph: Graph | None = None) -> Compiled:
    """Compile the encoder into a directory."""
    graph = graph or encoder_graph()
    module = Encoder().eval().requires_grad_(False)
    compiled = backend.compile(graph, BUCKET, traced(graph, module), options, directory)
    return Compiled(directory, make_record(compiled, BUCKET), graph, module, options)
