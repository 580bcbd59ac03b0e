"""The decoder's graph: a transformers model whose cache is a set of tensors that the caller owns."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

from neuronkit.errors import SourceError
from neuronkit.export import CompilerHints, Graph, Input, Output, Probe
from neuronkit_plugins.text.causal_lm.architectures import (
    attention_windows,
    require_keys_and_values,
    require_supported,
)

GRAPH = "decoder"
PREFILL_CHUNK = 32
"""Tokens a row: few enough that a NeuronCore still spends the call on reading weights (docs/decisions/0012)."""

_TRIED = 4
"""Tokens, a row each: the logits of one that pads may all be 0, whatever is done to them."""


def key_name(layer: int) -> str:
    """Return the name of a layer's keys."""
    return f"key_{layer}"


def value_name(layer: int) -> str:
    """Return the name of a layer's values."""
    return f"value_{layer}"


def decoder_graph(
    model: nn.Module,
    lengths: list[int],
    *,
    rows: int,
    pad_token_id: int,
    all_logits: bool = False,
    prefill_chunk: int = PREFILL_CHUNK,
    wrap: Callable[[nn.Module], nn.Module] | None = None,
) -> Graph:
    """
    Declare the graph that serves prefill and decode.

    With dynamic axes it takes any number of tokens, and few rows of one token have a bucket of their own; with fixed ones it
    has a bucket for one token and one per length. Every row of the cache has a spare slot past its end, which takes what
    padding writes.

    Args:
        model: The loaded causal language model.
        lengths: Prefill buckets; the largest is the size of the cache.
        rows: Texts that run at once.
        pad_token_id: Fills up ``input_ids``.
        all_logits: Return the logits of every position rather than of one a row.
        prefill_chunk: Tokens a row of the only bucket where the cache is on the device.
        wrap: Changes the model before it is traced (its weights, say), without touching the one that was loaded.

    Raises:
        SourceError: The model cannot run over a cache of fixed length; the message says why.
    """
    require_supported(model.config.to_dict())  # type: ignore[operator, union-attr]  # nn.Module's attributes are untyped
    require_keys_and_values(model)
    length = max(lengths)
    shapes, plain = examine(model)
    state = []
    for layer, (heads, key_size, value_size) in enumerate(shapes):
        state += [
            Input(key_name(layer), ["batch", heads, length + 1, key_size], "float32", state=True),
            Input(value_name(layer), ["batch", heads, length + 1, value_size], "float32", state=True),
        ]
    inputs = [
        Input("input_ids", ["batch", "sequence"], pad_value=pad_token_id, table_size=vocabulary(model)),
        Input("cache_ids", ["batch", "sequence"], pad_value=length, high=length, table_size=length + 1),
        Input("last", ["batch"], high=1),
        Input("cache_range", ["cache"], pad_value=length + 1, high=length),
        *state,
    ]
    size = output_embeddings(model).weight.shape[0]
    logits = Output("logits", ["batch", "sequence", size] if all_logits else ["batch", size])
    return Graph(
        GRAPH,
        inputs,
        [logits],
        kind="decoder",
        wrap=lambda loaded: DecoderGraph(
            wrap(loaded) if wrap else loaded, length, len(shapes), all_logits=all_logits, plain_head=plain
        ),
        sizes={"sequence": sorted({1, *lengths}), "cache": length},
        hints=CompilerHints(
            dynamic_axes=("batch", "sequence", "cache"),
            max_batch=rows,
            pieces={"sequence": prefill_chunk},
            memory_bound={"sequence": 1},
        ),
        probe=Probe(
            inputs=lambda sizes, generator: probe_inputs(sizes, generator, length, ragged=not all_logits),
            expected=lambda loaded, given: run_unwrapped(loaded, given, len(shapes), all_logits=all_logits),
            sizes=[{"sequence": 1, "cache": 37}, {"sequence": 5, "cache": 41}],
        ),
    )


class DecoderGraph(nn.Module):
    """
    One call of a decoder over a cache that lasts.

    Which slots a token sees follows from its own slot alone: those of its row up to and including it. So a row is reset by
    starting again at slot 0, whatever is left of the text before.

    Args:
        model: A causal language model of transformers.
        length: Slots of the cache, without the spare one.
        layers: Number of cached layers.
        all_logits: See `decoder_graph`.
        plain_head: The logits are what the head makes of the last hidden states. Others (scaled or capped ones) come from the
            model's own forward.
    """

    def __init__(
        self, model: nn.Module, length: int, layers: int, *, all_logits: bool = False, plain_head: bool = True
    ) -> None:
        super().__init__()
        self.model = model
        self.length = length
        self.layers = layers
        self.all_logits = all_logits
        self.plain_head = plain_head
        self.adds_masks = model.config._attn_implementation == "eager"  # type: ignore[union-attr]
        self.windows = list(attention_windows(model.config).items())

    def forward(
        self,
        input_ids: torch.Tensor,
        cache_ids: torch.Tensor,
        last: torch.Tensor,
        cache_range: torch.Tensor,
        **state: torch.Tensor,
    ) -> tuple[torch.Tensor]:
        """
        Write the tokens' keys and values, and return logits.

        Args:
            input_ids: ``[batch, sequence]``.
            cache_ids: The slot of each token, which is its position too; the cache's length for padding.
            last: The index in its row of the token whose logits are wanted, ``[batch]``.
            cache_range: ``0, 1, ...`` up to the number of slots that any token sees.
            **state: Keys and values, changed in place.
        """
        rows = torch.arange(input_ids.shape[0]).unsqueeze(1)
        cache = Cache(
            layers=[
                WrittenLayer(state[key_name(layer)], state[value_name(layer)], rows, cache_ids, cache_range.shape[0])
                for layer in range(self.layers)
            ]
        )
        backbone: Any = self.model.base_model
        arguments = {
            "input_ids": input_ids,
            "position_ids": cache_ids.clamp(max=self.length - 1),
            "attention_mask": self._masks(cache_ids, cache_range),
            "use_cache": True,
            cache_argument(backbone): cache,
        }
        if self.plain_head:
            hidden = backbone(**arguments).last_hidden_state
            if not self.all_logits:
                hidden = hidden[rows[:, 0], last]
            return (output_embeddings(self.model)(hidden),)
        if self.all_logits:
            return (self.model(**arguments).logits,)

        def choose(_module: nn.Module, _inputs: Any, outputs: Any) -> Any:
            outputs.last_hidden_state = outputs.last_hidden_state[rows, last[:, None]]
            return outputs

        with backbone.register_forward_hook(choose):
            return (self.model(**arguments).logits[:, 0],)

    def _masks(self, cache_ids: torch.Tensor, cache_range: torch.Tensor) -> Any:
        queries = cache_ids[:, None, :, None]
        masks = {}
        for kind, window in self.windows:
            mask = cache_range <= queries
            if window is not None:
                # A windowed token of the spare slot would see nothing, which is NaN; what it sees does not matter.
                mask = mask & ((cache_range > queries - window) | (queries >= self.length))
            masks[kind] = torch.where(mask, 0.0, torch.finfo(torch.float32).min) if self.adds_masks else mask
        return masks.get(None, masks)


class WrittenLayer(CacheLayerMixin):
    """
    One layer of the cache: writes each token to its slot, in place, and shows the slots that are in use.

    Args:
        keys: ``[batch, heads, slots, size]``.
        values: As `keys`.
        rows: ``[batch, 1]``: 0, 1, ...
        slots: ``[batch, sequence]``.
        used: How many leading slots attention reads.
    """

    is_compileable = False

    def __init__(
        self, keys: torch.Tensor, values: torch.Tensor, rows: torch.Tensor, slots: torch.Tensor, used: int
    ) -> None:
        super().__init__()
        self.keys, self.values = keys, values
        self._rows, self._slots, self._used = rows, slots, used
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Do nothing: the tensors are there."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write, and return keys and values of the slots in use."""
        return self._write(self.keys, key_states), self._write(self.values, value_states)

    def _write(self, kept: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        # index_put_ is the one way of writing a slot a row that costs nothing beside reading the cache.
        torch.ops.aten.index_put_.default(kept, [self._rows, None, self._slots], new.transpose(1, 2).to(kept.dtype))
        return kept[:, :, : self._used]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the length and offset of the keys; masks come ready made, so nothing asks."""
        return self._used, 0

    def get_seq_length(self) -> int:
        """Return 0: positions are given."""
        return 0

    def get_max_length(self) -> int:
        """Return the number of slots."""
        return self.keys.shape[2]

    def get_max_cache_shape(self) -> int:
        """Return the number of slots: transformers renamed the method within version 5."""
        return self.get_max_length()


def output_embeddings(model: nn.Module) -> Any:
    """Return the layer from hidden states to logits."""
    return model.get_output_embeddings()  # type: ignore[operator]  # nn.Module's attributes are untyped


def cache_argument(model: nn.Module) -> str:
    """Return the keyword under which a model takes its cache: transformers renamed it within version 5."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def vocabulary(model: nn.Module) -> int:
    """Return the number of tokens that the model can be given."""
    return int(model.get_input_embeddings().weight.shape[0])  # type: ignore[operator]


@torch.no_grad()
def examine(model: nn.Module) -> tuple[list[tuple[int, int, int]], bool]:
    """
    Run a model once.

    Returns:
        Heads, key size and value size of every cached layer, as the model itself fills them; and whether its logits are what
        its head makes of the last hidden states, and nothing is done to them afterwards.

    Raises:
        SourceError: Something is, and the hidden states cannot be reached.
    """
    cache = DynamicCache()
    hidden = []
    with model.base_model.register_forward_hook(  # type: ignore[union-attr]
        lambda _module, _inputs, outputs: hidden.append(outputs.last_hidden_state)
    ):
        tokens = torch.arange(min(_TRIED, vocabulary(model))).unsqueeze(1)
        outputs = model(input_ids=tokens, use_cache=True, **{cache_argument(model): cache})
    shapes = [(layer.keys.shape[1], layer.keys.shape[3], layer.values.shape[3]) for layer in cache.layers]
    # OPT's forward passes its base model by, and calls what is inside.
    states = hidden[0] if hidden else model.base_model(input_ids=tokens).last_hidden_state  # type: ignore[operator]
    plain = torch.equal(output_embeddings(model)(states), outputs.logits)
    if not plain and not hidden:
        raise SourceError(
            f"{model.config.model_type} cannot be compiled for text-generation: "  # type: ignore[union-attr]
            "it changes the logits of its head, and its forward does not call its base model."
        )
    return shapes, plain


def probe_inputs(
    sizes: Mapping[str, int], generator: torch.Generator, length: int, *, ragged: bool
) -> dict[str, torch.Tensor]:
    """
    Make slots as they occur: every row continues a text of its own length; padding goes to the spare slot.

    Args:
        sizes: Of ``batch``, ``sequence`` and ``cache``.
        generator: Of random lengths.
        length: The spare slot.
        ragged: Rows may have fewer tokens than ``sequence``.
    """
    rows, tokens, used = sizes["batch"], sizes["sequence"], sizes["cache"]
    counts = torch.randint(1, tokens + 1, (rows,), generator=generator) if ragged else torch.full((rows,), tokens)
    counts[0] = tokens
    past = (torch.rand(rows, generator=generator) * (used - counts + 1)).long().clamp(min=0)
    steps = torch.arange(tokens)
    cache_ids = torch.where(steps < counts[:, None], past[:, None] + steps, length)
    return {"cache_ids": cache_ids, "last": counts - 1, "cache_range": torch.arange(used)}


def run_unwrapped(
    model: Any, inputs: Mapping[str, torch.Tensor], layers: int, *, all_logits: bool
) -> dict[str, torch.Tensor]:
    """Run transformers' own forward, a row at a time, over a dynamic cache that holds the same past."""
    logits = []
    for row, (tokens, slots, last) in enumerate(
        zip(inputs["input_ids"], inputs["cache_ids"], inputs["last"].tolist(), strict=True)
    ):
        past, count = int(slots[0]), last + 1
        cache = DynamicCache()
        for layer in range(layers if past else 0):
            kept = [inputs[name][row : row + 1, :, :past].float() for name in (key_name(layer), value_name(layer))]
            cache.update(*kept, layer)
        outputs = model(
            input_ids=tokens[None, :count],
            position_ids=slots[None, :count],
            use_cache=True,
            **{cache_argument(model): cache},
        )
        logits.append(outputs.logits[0] if all_logits else outputs.logits[0, -1])
    return {"logits": torch.stack(logits)}
