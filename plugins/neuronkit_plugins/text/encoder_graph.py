"""The graph of an encoder, declared by asking the loaded model what it takes and what it returns."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import attrs
import torch
from torch import nn

from neuronkit.errors import OptionError, SourceError
from neuronkit.export import ExportConfig, Graph, Input, Output, members, numbered
from neuronkit.export.source import Source
from neuronkit.options import option
from neuronkit_plugins.text.guards import guard, guard_inputs, probe

ENCODER_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
PER_LAYER = ("attentions", "hidden_states")
"""The outputs that every encoder can return beside its own, one tensor a layer."""
_BEHIND_PADDING = frozenset({"camembert", "mpnet", "roberta", "xlm-roberta"})
"""Architectures whose positions count from behind the padding token's id."""


@attrs.frozen(kw_only=True)
class EncoderOptions:
    """What every encoder accepts at compile time, and every call that runs texts."""

    output_attentions: bool | None = option(
        None,
        stage="compile",
        help="Also return the attention of every layer (default: if the checkpoint's config.json says so).",
    )
    output_hidden_states: bool | None = option(
        None,
        stage="compile",
        help="Also return the hidden states of every layer (default: if the checkpoint's config.json says so).",
    )
    batch_size: int = option(32, stage="call", minimum=1, help="Texts that run together.")


@attrs.frozen(kw_only=True)
class TruncatingOptions(EncoderOptions):
    """What the tasks accept that refuse texts that are too long, unless they are to cut them."""

    truncation: bool = option(False, stage="call", help="Cut texts that are longer than the compiled length.")


class FlatOutputs(nn.Module):
    """
    A model whose outputs are tensors: those of each layer are numbered, and have the axes of the inputs.

    Args:
        module: Returns a `ModelOutput`.
        flags: Keywords that make it return more.
    """

    def __init__(self, module: nn.Module, flags: Mapping[str, bool]) -> None:
        super().__init__()
        self.module = module
        self.flags = sorted(flags)

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Run the module."""
        flat = flatten(self.module(**inputs, **dict.fromkeys(self.flags, True)))
        rows = inputs["input_ids"].shape[:-1]
        if len(rows) == 1:
            return flat
        # Choices are rows inside the model.
        per_layer = _groups(tuple(flat))
        return {
            name: tensor.reshape(*rows, *tensor.shape[1:]) if name in per_layer else tensor
            for name, tensor in flat.items()
        }


@cache
def _groups(names: tuple[str, ...]) -> dict[str, str]:
    """Return the group of every output of one layer, by the output's name."""
    return {name: group for group in PER_LAYER for name in members(group, names)}


def flatten(returned: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return the tensors of a model's output, those in tuples under numbered names."""
    flat: dict[str, torch.Tensor] = {}
    for name, value in returned.items():
        if isinstance(value, torch.Tensor):
            flat[name] = value
        elif isinstance(value, tuple):
            flat.update(numbered(name, value))
    return flat


def regroup(flat: Mapping[str, torch.Tensor], *, choices: bool = False) -> dict[str, Any]:
    """
    Undo `flatten`.

    Args:
        flat: Tensors by output name.
        choices: Make rows of the choices again, as the model has them.
    """
    groups = _groups(tuple(flat))
    grouped: dict[str, Any] = {}
    for name, tensor in flat.items():
        if group := groups.get(name):
            grouped[group] = (*grouped.get(group, ()), tensor.flatten(0, 1) if choices else tensor)
        else:
            grouped[name] = tensor
    return grouped


def encoder_inputs(source: Source, model: torch.nn.Module) -> tuple[Input, ...]:
    """
    Return the inputs of an encoder's graph, all int64 of axes ``[batch, sequence]``.

    ``token_type_ids`` is among them where the model's own `forward` takes it, whatever its architecture.

    Args:
        source: Says which token pads.
        model: The loaded model.
    """
    taken = inspect.signature(model.forward).parameters
    words = getattr(model.config, "vocab_size", None) or None
    kinds = getattr(model.config, "type_vocab_size", words) or None  # XLM looks token types up among the words
    inputs = (
        Input("input_ids", ["batch", "sequence"], pad_value=source.pad_token_id, table_size=words),
        Input("attention_mask", ["batch", "sequence"], default=1),
        Input("token_type_ids", ["batch", "sequence"], default=0, table_size=kinds),
    )
    return tuple(input for input in inputs if input.name in taken)


def layer_flags(source: Source, options: EncoderOptions) -> dict[str, bool]:
    """Return the keywords that make a model return outputs of every layer: those of the options, or else of its configuration."""
    wanted = {name: getattr(options, name) for name in (f"output_{group}" for group in PER_LAYER)}
    return {name: True for name, given in wanted.items() if (source.config.get(name) if given is None else given)}


def attention_flags(source: Source, options: EncoderOptions) -> dict[str, Any]:
    """Return the keywords to load a model with: only one implementation of attention can say what it attended to."""
    return {"attn_implementation": "eager"} if "output_attentions" in layer_flags(source, options) else {}


def encoder_config(
    source: Source,
    model: nn.Module,
    axes: Mapping[str, tuple[str, ...]],
    options: EncoderOptions,
    *,
    shapes: Mapping[str, list[int]] | None = None,
    leading: tuple[str, ...] = ("batch",),
    wrap: Callable[[nn.Module], nn.Module] | None = None,
    output_class: type | None = None,
) -> ExportConfig:
    """
    Declare one graph, whose outputs are asked of the model.

    Args:
        source: The checkpoint.
        model: Its model.
        axes: The leading axes of every output by name; what follows them is of a fixed size. Those that the model does
            not return are left out.
        options: The plugin's.
        shapes: Sizes by shape name, to be checked against the model's positions.
        leading: The axes of the inputs before ``sequence``.
        wrap: What runs around the model.
        output_class: Class of the outputs; None takes the model's own.

    Raises:
        OptionError: A sequence is longer than the model has positions for.
        SourceError: The model returns none of the outputs.
    """
    check_length(source, (shapes or {}).get("sequence_length", []))
    flags = layer_flags(source, options)

    def build(inner: nn.Module) -> nn.Module:
        wrapped = wrap(inner) if wrap else inner
        return FlatOutputs(wrapped, flags) if flags else wrapped

    def expected(inner: nn.Module, tensors: Mapping[str, Any]) -> Mapping[str, Any]:
        returned: Mapping[str, Any] = build(inner).eval()(**tensors)
        return returned

    def traced(inner: nn.Module) -> nn.Module:
        return build(guard(inner)).eval()

    inputs = tuple(attrs.evolve(input, axes=(*leading, "sequence")) for input in encoder_inputs(source, model))
    with torch.no_grad():
        tokens = {input.name: torch.full([2] * len(input.axes), input.default or 0) for input in inputs}
        tokens["input_ids"] = torch.full_like(tokens["input_ids"], source.pad_token_id)
        returned = (wrap(model) if wrap else model)(**tokens, **flags)
    flat = flatten(returned)
    groups = _groups(tuple(flat))
    outputs: list[Output] = []
    for name, tensor in flat.items():
        if name in axes:
            outputs.append(Output(name, [*axes[name], *tensor.shape[len(axes[name]) :]]))
        elif (group := groups.get(name)) and f"output_{group}" in flags:
            # No axis may stand twice; as a multiple of itself it may.
            attended: list[str | int] = [tensor.shape[1], "sequence", "sequence*1"]
            positions = attended if group == "attentions" else ["sequence", tensor.shape[-1]]
            outputs.append(Output(name, [*leading, *positions]))
    if not outputs:
        raise SourceError(
            f"{source.model}: {type(model).__name__} returns {', '.join(flat) or 'nothing'}; the task needs "
            f"{', '.join(axes)}."
        )
    graph_inputs = guard_inputs(model, inputs)
    graph = Graph(
        "encoder",
        graph_inputs,
        outputs,
        kind="encoder",
        wrap=traced,
        probe=probe(graph_inputs, expected),
    )
    return ExportConfig(
        load=lambda: model,
        graphs=[graph],
        required_axes=[axis for axis in leading if axis != "batch"],
        output_class=output_class or type(returned),
    )


def check_length(source: Source, lengths: Sequence[int]) -> None:
    """
    Refuse to compile for sequences that the model has no positions for: it would fail when run, as in eager mode.

    Raises:
        OptionError: A length is too large.
    """
    positions = count_positions(source)
    if positions is not None and lengths and max(lengths) > positions:
        raise OptionError(
            f"sequence_length: the model has positions for {positions} tokens (got {max(lengths)}).\n"
            f"Try: --sequence-length {positions}"
        )


def count_positions(source: Source) -> int | None:
    """Return the tokens of the longest text that a model has positions for; None if its positions are relative."""
    config, architecture = source.config, source.architecture
    positions = config.get("max_position_embeddings")
    relative = (
        architecture == "modernbert"
        or (architecture == "esm" and config.get("position_embedding_type") == "rotary")
        or (architecture == "deberta-v2" and config.get("position_biased_input") is False)
    )
    if relative or not isinstance(positions, int):
        return None
    offset = architecture in _BEHIND_PADDING or architecture == "esm"
    return positions - (config.get("pad_token_id") or 0) - 1 if offset else positions


def longest_sequence(source: Source) -> dict[str, list[int]]:
    """Return the default ``sequence_length``: what model and tokenizer allow, at most 512 tokens."""
    limits = [512, count_positions(source), getattr(source.tokenizer, "model_max_length", None)]
    return {"sequence_length": [min(int(limit) for limit in limits if isinstance(limit, int) and limit > 0)]}
