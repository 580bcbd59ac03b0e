"""The public class of compiled causal language models."""

from __future__ import annotations

from typing import Any

import torch

from neuronkit.errors import InputError
from neuronkit.models.decoder import NeuronDecoderModel
from neuronkit_plugins.text.causal_lm.graph import GRAPH


class NeuronModelForCausalLM(NeuronDecoderModel):
    """A compiled decoder that generates text."""

    task = "text-generation"
    auto_model_class_name = "AutoModelForCausalLM"
    graph_name = GRAPH

    @torch.no_grad()
    def forward(  # type: ignore[override]  # the documented signature, narrower than a shell's
        self,
        input_ids: torch.Tensor,
        cache_ids: torch.Tensor | None = None,
        start_ids: torch.Tensor | None = None,
        return_dict: bool = True,
    ) -> Any:
        """
        Run tokens, and keep their keys and values.

        Args:
            input_ids: ``[batch, sequence]``; at most as many rows as compiled.
            cache_ids: Where the tokens stand, ``[sequence]`` or ``[batch, sequence]``; None begins a new text.
            start_ids: Where the text of each row starts, ``[batch]``: what stands before is left padding.
            return_dict: False returns a tuple.

        Returns:
            ``CausalLMOutput`` with `logits` ``[batch, 1, vocabulary]`` of each row's last token, or of all tokens where the
            model was compiled with ``all_logits``.

        Raises:
            InputError: There are more rows than compiled, or a position beyond the cache.
        """
        from transformers.modeling_outputs import CausalLMOutput

        count, tokens = input_ids.shape
        rows = self.rows
        if count > rows.count:
            raise InputError(f"input_ids has {count} rows, and the model was compiled for {rows.count}.")
        positions = torch.arange(tokens) if cache_ids is None else cache_ids.to(torch.int64)
        slots = positions.expand(count, tokens) if positions.dim() == 1 else positions
        if start_ids is not None:
            slots = slots - start_ids.to(torch.int64)[:, None]
        if slots.shape != input_ids.shape or int(slots.max()) >= rows.length:
            raise InputError(
                f"cache_ids must be a position for each of {tokens} tokens, below {rows.length} "
                f"(got {tuple(positions.shape)}, up to {int(slots.max())})."
            )
        used = max(int(slots.max()), 0) + 1
        last = torch.full((count,), tokens - 1)
        with rows.turns.begin():
            logits = rows.run(input_ids, slots.masked_fill(slots < 0, rows.length), last, used)
        logits = logits if rows.all_logits else logits[:, None]
        return CausalLMOutput(logits=logits) if return_dict else (logits,)
