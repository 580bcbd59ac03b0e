"""aMUSEd's transformer: the module that is traced, its graph, and the shell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from neuronkit.export import CompilerHints, Graph, Input, Output
from neuronkit.shells import Shell
from neuronkit_plugins.image.components.conditions import refuse_attention_kwargs
from neuronkit_plugins.image.components.sizes import MOST_IMAGES, Sizes


class Transformer(nn.Module):
    """aMUSEd's transformer with a name for its output."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, **tensors: torch.Tensor) -> tuple[torch.Tensor]:
        """Return the logits of every code for every token."""
        return (self.transformer(**tensors),)


def transformer_graph(transformer: Any, sizes: Sizes, sequence: int) -> Graph:
    """
    Declare aMUSEd's transformer.

    Args:
        transformer: ``UVit2DModel``.
        sizes: What to compile for.
        sequence: Tokens of a prompt.

    """
    config = transformer.config
    grid = ["height", "width"]
    return Graph(
        "transformer",
        [
            Input("input_ids", ["batch", *grid], table_size=config.vocab_size),
            Input("encoder_hidden_states", ["batch", sequence, config.encoder_hidden_size], "float32"),
            Input("pooled_text_emb", ["batch", config.cond_embed_dim], "float32"),
            Input("micro_conds", ["batch", 5], "float32"),
        ],
        [Output("logits", ["batch", config.codebook_size, *grid])],
        kind="transformer",
        wrap=lambda components: Transformer(components["transformer"]),
        sizes={"batch": sizes.rows, **sizes.latents},
        hints=CompilerHints(dynamic_axes=("batch",), channels_last=True, max_batch=MOST_IMAGES),
    )


class TransformerShell(Shell):
    """aMUSEd's transformer from token ids to the logits of the masked ones."""

    def forward(
        self,
        input_ids: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        pooled_text_emb: torch.Tensor,
        micro_conds: torch.Tensor,
        cross_attention_kwargs: Mapping[str, Any] | None = None,
    ) -> torch.Tensor:
        """
        Return the logits of every code for every token, ``[batch, codes, height, width]``.

        Raises:
            InputError: A token id is none of the codes and not the mask's, or an argument has no effect.

        """
        refuse_attention_kwargs("transformer", cross_attention_kwargs)
        tensors = {
            "input_ids": input_ids,
            "encoder_hidden_states": encoder_hidden_states,
            "pooled_text_emb": pooled_text_emb,
            "micro_conds": micro_conds,
        }
        return self.run("transformer", tensors)["logits"]
