"""Tiny decoders with random weights, one for every architecture that is served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

_COMMON = {
    "vocab_size": 96,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "gpt2": {"vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "opt": {**_COMMON, "ffn_dim": 48, "word_embed_proj_dim": 32},
    "gpt_neox": _COMMON,
    "llama": {**_COMMON, "num_key_value_heads": 2},
    "mistral": {**_COMMON, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 6},
    "qwen2": {
        **_COMMON,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "use_sliding_window": True,
        "sliding_window": 6,
        "max_window_layers": 1,
    },
    "qwen3": {**_COMMON, "num_key_value_heads": 2, "head_dim": 8},
    "phi": _COMMON,
    "gemma": {**_COMMON, "num_key_value_heads": 1, "head_dim": 8, "tie_word_embeddings": False},
    "falcon": _COMMON,
}
"""Fields by model type. The sliding windows are smaller than the texts of the tests."""
_UNUSED_BY = {"opt": {"intermediate_size"}, "falcon": {"intermediate_size"}}


def tiny_decoder(path: Path, architecture: str = "gpt2", seed: int = 0, **config: Any) -> Path:
    """
    Save a decoder with wide random weights, whose logits are far apart.

    Args:
        path: Directory to write.
        architecture: Key of `CONFIGS`.
        seed: Of the weights.
        **config: Fields to change.

    Returns:
        The directory.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    fields = {
        name: value for name, value in CONFIGS[architecture].items() if name not in _UNUSED_BY.get(architecture, ())
    }
    settings = {"initializer_range": 0.3, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, **fields, **config}
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **settings))
    model.save_pretrained(path)
    return path


def byte_tokenizer(path: Path) -> Any:
    """Save and return a tokenizer of bytes over 96 ids: printable ASCII after the special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = [chr(code) for code in range(ord(" ") + 1, ord(" ") + 93)]
    vocabulary = {piece: index for index, piece in enumerate(["<pad>", "<bos>", "<eos>", " ", *letters])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<pad>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>"
    )
    tokenizer.save_pretrained(path)
    return tokenizer
