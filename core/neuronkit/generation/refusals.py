"""What can be asked of transformers' `generate`, and not of a compiled model."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig, WatermarkingConfig
from transformers.generation import BaseWatermarkingConfig

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
_OWN_DRAFTS = {
    "assistant_early_exit": "a compiled model runs all of its layers.",
    "speculation_type": "the drafts need the model's hidden states, and a compiled one returns logits only.",
    "use_mtp": "the layers that draft are not compiled with the model.",
}
"""Ways of drafting that need more of the model than its logits."""
_COUNTS = ("num_beams", "num_return_sequences", "prompt_lookup_num_tokens")
_TOKENS = ("bad_words_ids", "sequence_bias", "forced_bos_token_id", "forced_eos_token_id")
"""Options whose tokens are looked up in the scores, where an unknown one is not found."""


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


def require_config(generation_config: Any) -> None:
    """
    Refuse what is no generation config; None stands for the model's.

    Raises:
        InputError: It is something else, such as a dict.
    """
    if generation_config is not None and not isinstance(generation_config, GenerationConfig):
        hint = "generate(..., **settings)" if isinstance(generation_config, Mapping) else "GenerationConfig(...)"
        raise InputError(
            f"generation_config must be a GenerationConfig (got {type(generation_config).__name__}).\nTry: {hint}."
        )


def require_own_config(generation_config: Any) -> None:
    """
    Refuse to generate with what a caller has assigned to a model and is no generation config.

    Raises:
        InputError: It is something else, such as a dict.
    """
    if not isinstance(generation_config, GenerationConfig):
        settings = "**settings" if isinstance(generation_config, Mapping) else "..."
        raise InputError(
            f"The model's generation_config must be a GenerationConfig (got {type(generation_config).__name__}).\n"
            f"Try: model.generation_config = GenerationConfig({settings})."
        )


def require_watermark(watermarking_config: Any) -> None:
    """
    Refuse what no watermark can be made of.

    Raises:
        InputError: It is neither a watermarking config nor the fields of one, or names an unknown field.
    """
    if watermarking_config is None or isinstance(watermarking_config, BaseWatermarkingConfig):
        return
    if not isinstance(watermarking_config, dict):
        raise InputError(
            f"watermarking_config must be a WatermarkingConfig (got {type(watermarking_config).__name__}).\n"
            "Try: WatermarkingConfig(bias=2.5)."
        )
    fields = list(inspect.signature(WatermarkingConfig).parameters)
    for name in sorted(watermarking_config.keys() - set(fields)):
        close = closest(name, fields)
        hint = f"Did you mean {close}?" if close else f"Its fields: {', '.join(fields)}."
        raise InputError(f"watermarking_config has no field {name!r}. {hint}")


def functions(name: str, given: Any) -> Sequence[Callable[..., Any]]:
    """
    Return the functions of an argument that takes a list of them; None is none.

    Raises:
        InputError: It is no list, or holds what cannot be called.
    """
    if given is None:
        return []
    if not isinstance(given, (list, tuple)):
        raise InputError(f"{name} must be a list (got {type(given).__name__}).\nTry: {name}=[...].")
    for item in given:
        if not callable(item):
            raise InputError(f"{name} must hold functions of the tokens and the scores (got {type(item).__name__}).")
    return given


def require_extras(config: GenerationConfig, extras: Mapping[str, Any]) -> None:
    """
    Refuse arguments that are not what their names say.

    Args:
        config: With all defaults filled in.
        extras: Arguments that are no fields of the config; None is none.

    Raises:
        InputError: It names the argument.
    """
    allowed = extras.get("prefix_allowed_tokens_fn")
    if allowed is not None and not callable(allowed):
        raise InputError(
            "prefix_allowed_tokens_fn must be a function of the prompt's number and its tokens "
            f"(got {type(allowed).__name__}).\nTry: lambda number, tokens: [...]."
        )
    streamer = extras.get("streamer")
    if streamer is not None and (
        isinstance(streamer, type) or not (hasattr(streamer, "put") and hasattr(streamer, "end"))
    ):
        kind = streamer.__name__ if isinstance(streamer, type) else type(streamer).__name__
        raise InputError(
            f"streamer must have the methods put and end (got {kind}).\nTry: TextStreamer(tokenizer), or generate_iter."
        )
    tokenizer = extras.get("tokenizer")
    if config.stop_strings is not None and tokenizer is not None and not hasattr(tokenizer, "get_vocab"):
        raise InputError(
            f"tokenizer must be the model's tokenizer (got {type(tokenizer).__name__}).\n"
            "Try: leave it out, which takes the artifact's."
        )


def require_streamable(mode: str, prompts: int, rows: int) -> None:
    """
    Refuse a streamer of what does not come token by token, or in several streams.

    Args:
        mode: transformers' name of how tokens are chosen.
        prompts: How many, their copies included.
        rows: How many run at once.

    Raises:
        InputError: It says what streams them.
    """
    if mode in ("beam_search", "beam_sample"):
        raise InputError("streamer: beams are chosen at the end.\nTry: num_beams=1.")
    if mode == "assisted_generation" and prompts > 1:
        raise InputError(
            f"streamer: {prompts} prompts whose tokens are drafted run one after the other.\nTry: one prompt a call."
        )
    if prompts > rows:
        raise InputError(f"streamer: {prompts} prompts are more than the {rows} that run at once. Try: generate_iter.")


def require_counts(config: GenerationConfig) -> None:
    """
    Refuse numbers of beams, results and drafts that are none.

    Raises:
        InputError: One is no whole number, or below 1.
    """
    for name in _COUNTS:
        value = getattr(config, name)
        if value is None:
            continue
        try:
            wrong = operator.index(value) < 1
        except TypeError:
            wrong = True
        if wrong:
            raise InputError(f"{name} must be a whole number from 1 on (got {value!r}).\nTry: leave it out.")


def require_known_tokens(config: GenerationConfig, vocabulary: int | None) -> None:
    """
    Refuse options that name a token which the model does not have.

    Args:
        config: With all defaults filled in.
        vocabulary: Number of tokens that the model knows, if that is known.

    Raises:
        InputError: It names the option and the token.
    """
    if vocabulary is None:
        return
    ends = ("eos_token_id",) if config.exponential_decay_length_penalty is not None else ()
    for name in (*_TOKENS, *ends):
        value = getattr(config, name)
        if name == "sequence_bias":
            value = _sequences(value)
        for token in _tokens(value):
            if not 0 <= token < vocabulary:
                raise InputError(
                    f"{name} has the token {token}, and the model knows 0 to {vocabulary - 1}.\n"
                    "Try: the ids that the model's own tokenizer gives."
                )


def _sequences(bias: Any) -> list[Any]:
    """Return the sequences of tokens that have a bias, in either of the two forms that transformers takes."""
    if isinstance(bias, Mapping):
        return list(bias)
    pairs = bias if isinstance(bias, (list, tuple)) else ()
    return [pair[0] for pair in pairs if isinstance(pair, (list, tuple)) and pair]


def _tokens(value: Any) -> Iterator[int]:
    """Yield the tokens in lists of any depth; what is of another kind is left to transformers."""
    if isinstance(value, int):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tokens(item)


def require_drawable(scores: torch.Tensor, config: GenerationConfig) -> None:
    """
    Say why no token could be drawn, if the scores are the reason.

    Args:
        scores: Processed, ``[rows, vocabulary]``.
        config: With all defaults filled in.

    Raises:
        InputError: The options left a row no token.
    """
    if torch.softmax(scores.float(), dim=-1).isnan().any():
        raise InputError(
            "do_sample: no token is left to draw, because the options made all scores of a text infinite, or no numbers.\n"
            f"Try: a temperature nearer to 1 (got {config.temperature}), or fewer tokens in suppress_tokens, bad_words_ids "
            "and what else excludes some."
        )


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
    for name, reason in _OWN_DRAFTS.items():
        if getattr(config, name, None):
            raise InputError(f"{name}: {reason}\nTry: assistant_model, or prompt_lookup_num_tokens.")
    if getattr(config, "assistant_ensemble_weight", None) is not None and config.prompt_lookup_num_tokens is not None:
        raise InputError(
            "assistant_ensemble_weight: a prompt's own tokens have no probabilities to mix in.\n"
            "Try: assistant_model, or without it."
        )
    if config.exponential_decay_length_penalty is not None and config.eos_token_id is None:
        raise InputError(
            "exponential_decay_length_penalty makes the end of a text likelier, and there is no eos_token_id.\n"
            "Try: eos_token_id=..., or without it."
        )
    if getattr(config, "low_memory", None) and (config.num_beams or 1) > 1:
        raise InputError("low_memory: transformers has taken it out of its beam search.\nTry: leave it out.")
    require_counts(config)
    require_extras(config, extras)
    require_draft_model(config, extras)


def require_draft_model(config: GenerationConfig, extras: Mapping[str, Any]) -> None:
    """
    Refuse what cannot draft, or not with the other options.

    Args:
        config: With all defaults filled in.
        extras: Arguments that are no fields of the config.

    Raises:
        InputError: It names the argument.
    """
    assistant = extras.get("assistant_model")
    if assistant is None:
        if extras.get("assistant_tokenizer") is not None:
            raise InputError("assistant_tokenizer is that of assistant_model, which is missing.\nTry: both of them.")
        return
    if isinstance(assistant, NeuronBaseModel):
        raise InputError(
            "assistant_model: drafts need a cache that transformers makes, and a compiled model has one of its own.\n"
            "Try: the draft model uncompiled, AutoModelForCausalLM.from_pretrained(...)."
        )
    if not isinstance(getattr(assistant, "generation_config", None), GenerationConfig):
        raise InputError(
            f"assistant_model must be a model that generates (got {type(assistant).__name__}).\n"
            "Try: AutoModelForCausalLM.from_pretrained(...)."
        )
    if config.stop_strings is not None:
        raise InputError(
            "stop_strings: transformers gives a draft model no tokenizer, which it would need to find them.\n"
            "Try: prompt_lookup_num_tokens in place of assistant_model, or stop_strings=None."
        )
