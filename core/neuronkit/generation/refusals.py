"""What can be asked of transformers' `generate`, and not of a compiled model."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from transformers import GenerationConfig

from neuronkit.errors import InputError, NeuronkitError
from neuronkit.models.base import NeuronBaseModel
from neuronkit_registry.names import closest

OUTPUTS = ("output_attentions", "output_hidden_states")
"""Options that ask for what the graph does not return."""

_CACHE = "the cache is the model's own, and begins anew with every call.\nTry: the whole conversation as input_ids."
_GUIDANCE = "classifier-free guidance runs the model twice a step, which is not supported."
_NOT_TAKEN = {
    "cache": _CACHE,
    "cache_position": _CACHE,
    "custom_generate": "the loop around a compiled model is neuronkit's own.\nTry: logits_processor, stopping_criteria.",
    "inputs_embeds": "the model was compiled for tokens.\nTry: input_ids.",
    "negative_prompt_attention_mask": _GUIDANCE,
    "negative_prompt_ids": _GUIDANCE,
    "past_key_values": _CACHE,
    "position_ids": "positions are counted from the first token that is no padding.\nTry: attention_mask.",
    "token_type_ids": "the model was compiled without them.\nTry: tokenizer(..., return_token_type_ids=False).",
}
"""Arguments of transformers' `generate` and of its models that have no place here; None asks for nothing."""


@contextmanager
def explained() -> Iterator[None]:
    """
    Make the errors of transformers about the values of options errors of the call.

    Raises:
        InputError: It says what transformers said.
    """
    try:
        yield
    except NeuronkitError:
        raise
    except ValueError as error:
        raise InputError(f"generate: {error}") from error


def require_known(unknown: Mapping[str, Any], arguments: Collection[str]) -> None:
    """
    Refuse names that are neither fields of `GenerationConfig` nor arguments.

    Args:
        unknown: What was given beside the fields.
        arguments: The names that `generate` takes.

    Raises:
        InputError: It says why transformers' argument of that name is not taken, or suggests the nearest name.
    """
    fields = [name for name in vars(GenerationConfig()) if not name.startswith("_")]
    for name in sorted(unknown.keys() - set(OUTPUTS)):
        if name in _NOT_TAKEN:
            if unknown[name] is None:
                continue
            raise InputError(f"generate does not take {name!r}: {_NOT_TAKEN[name]}")
        close = closest(name, [*arguments, *fields])
        hint = f"Did you mean {close}?" if close else f"A field of GenerationConfig, or {', '.join(arguments)}."
        raise InputError(f"generate does not take {name!r}. {hint}")


def require_servable(config: GenerationConfig, asked: Collection[str], extras: Mapping[str, Any]) -> None:
    """
    Refuse what would be ignored, or cannot be done.

    Args:
        config: With all defaults filled in.
        asked: Those of `OUTPUTS` that the caller wants; a checkpoint's matter only where a result could hold them.
        extras: Arguments that are no fields of the config.

    Raises:
        InputError: It names the option.
    """
    for name in OUTPUTS:
        if getattr(config, name) and (name in asked or config.return_dict_in_generate):
            raise InputError(f"{name}: a compiled model returns logits only.\nTry: {name}=False.")
    if config.guidance_scale not in (None, 1, 1.0):
        raise InputError(f"guidance_scale: {_GUIDANCE}")
    if config.cache_implementation == "quantized":
        raise InputError(
            "cache_implementation: the cache was compiled with the model, and is not quantized.\nTry: leave it out."
        )
    if config.assistant_early_exit is not None:
        raise InputError(
            "assistant_early_exit: a compiled model runs all of its layers.\n"
            "Try: assistant_model, or prompt_lookup_num_tokens."
        )
    if isinstance(extras.get("assistant_model"), NeuronBaseModel):
        raise InputError(
            "assistant_model: drafts need a cache that transformers makes, and a compiled model has one of its own.\n"
            "Try: the draft model uncompiled, AutoModelForCausalLM.from_pretrained(...)."
        )
