"""Which decoders the wrapper serves, and how far their attention reaches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neuronkit.errors import SourceError

REFUSED = {
    "bloom": "its attention is biased by distances (ALiBi) that it derives from a two-dimensional mask",
    "mpt": "its attention is biased by distances (ALiBi) that it derives from the length of its cache",
    "gpt_neo": "it cuts its own causal mask to the number of keys minus queries, which a cache of fixed length breaks",
}
"""Architectures that cannot run over a cache of fixed length, and why."""

REFUSED_ROPE = {
    "dynamic": "its rotary positions (rope_type 'dynamic') are scaled by the length of the text, which changes at every step",
    "longrope": "its rotary positions (rope_type 'longrope') change for the whole text once it is long enough",
}
"""Kinds of rotary positions whose keys in the cache would have to be computed again, and why."""


def require_supported(config: Mapping[str, Any]) -> None:
    """
    Refuse an architecture that would give wrong tokens.

    Args:
        config: The parsed ``config.json``.

    Raises:
        SourceError: It names the architecture and the reason.
    """
    architecture = config.get("model_type")
    reason = REFUSED.get(str(architecture))
    if architecture == "falcon" and config.get("alibi"):
        reason = REFUSED["bloom"]
    kinds = rope_kinds(config)
    reason = reason or next((why for kind, why in REFUSED_ROPE.items() if kind in kinds), None)
    if reason:
        raise SourceError(
            f"{architecture} cannot be compiled for text-generation: {reason}.\n"
            "Try: gpt2, opt, gpt_neox, llama, mistral, qwen2, qwen3, phi, gemma, or falcon without ALiBi."
        )


def require_keys_and_values(model: Any) -> None:
    """
    Refuse a model that remembers a text by something else than the keys and values of its tokens.

    Args:
        model: A causal language model of transformers.

    Raises:
        SourceError: It has layers of another kind, or a state beside them.
    """
    if getattr(model, "_is_stateful", False):
        raise SourceError(
            f"{model.config.model_type} cannot be compiled for text-generation: it keeps a state between tokens that is no "
            "cache of keys and values."
        )
    attention_windows(model.config)  # which knows the kinds of layers


def rope_kinds(config: Mapping[str, Any]) -> set[str]:
    """Return the kinds of rotary positions that a configuration asks for: one, or one a kind of layer."""
    settings = [config.get(name) or {} for name in ("rope_parameters", "rope_scaling")]
    parts = settings + [part for found in settings for part in found.values() if isinstance(part, Mapping)]
    kinds = (part.get("rope_type", part.get("type")) for part in parts)
    return {kind for kind in kinds if isinstance(kind, str)}


def longest_text(config: Mapping[str, Any]) -> int | None:
    """Return how many positions a model has, or None if its configuration does not say."""
    for name in ("max_position_embeddings", "n_positions"):
        if isinstance(config.get(name), int):
            return int(config[name])
    return None


def attention_windows(config: Any) -> dict[str | None, int | None]:
    """
    Return how many keys a token sees, by kind of layer; None sees all.

    The only kind of a model whose layers are alike is None: such a model takes one mask, the others a mask by kind.
    """
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if not kinds:
        return {None: window}
    unknown = sorted(set(kinds) - {"full_attention", "sliding_attention"})
    if unknown:
        raise SourceError(f"{config.model_type} has layers of a kind that cannot be compiled: {', '.join(unknown)}.")
    return {kind: window if kind == "sliding_attention" else None for kind in dict.fromkeys(kinds)}
