"""The public class of compiled causal language models."""

from __future__ import annotations

from typing import Any

import torch

from neuronkit.errors import InputError
from neuronkit.models.decoder import NeuronDecoderModel
from neuronkit_plugins.text.causal_lm.graph import GRAPH

_CACHE = "The cache is the model's own.\nTry: cache_ids, which go on with it; or generate."
_INSTEAD = {
    "cache": _CACHE,
    "labels": "A compiled model computes no loss.\nTry: all_logits=True when compiling, and a loss of its logits.",
    "past_key_values": _CACHE,
    "position_ids": "Try: cache_ids, where the tokens stand.",
    "use_cache": _CACHE,
}


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
        return_dict: bool | None = True,
        *,
        attention_mask: torch.Tensor | None = None,
        **others: Any,
    ) -> Any:
        """
        Run tokens, and keep their keys and values.

        Args:
            input_ids: ``[batch, sequence]``. More rows of new texts than compiled take turns, and the last that ran are kept.
            cache_ids: Where the tokens stand, ``[sequence]`` or ``[batch, sequence]``; None begins new texts.
            start_ids: Where the text of each row starts, ``[batch]``: what stands before is left padding.
            return_dict: False returns a tuple.
            attention_mask: Of new texts, 1 for tokens and 0 for padding, ``[batch, sequence]``, in place of `start_ids`. Positions
                count the tokens of a row, as `generate` does: an eager model may count the padding before them.
            **others: What else an eager model takes must be None or False.

        Returns:
            ``CausalLMOutput`` with `logits` ``[batch, 1, vocabulary]`` of each row's last token, or ``[batch, sequence,
            vocabulary]`` where the model was compiled with ``all_logits``; those of padding mean nothing.

        Raises:
            InputError: There are more rows to go on with than compiled, a position beyond the cache or before a text, a row of
                padding alone, or a token or an argument that is unknown.
        """
        from transformers.modeling_outputs import CausalLMOutput

        for name in (name for name, value in others.items() if value is not None and value is not False):
            hint = _INSTEAD.get(name, "Try: generate, which takes what transformers takes.")
            raise InputError(
                f"forward does not take {name!r}: input_ids, cache_ids, start_ids, return_dict, attention_mask.\n{hint}"
            )
        self._require_tokens(input_ids)
        count, tokens = input_ids.shape
        rows = self.rows
        if count > rows.count and cache_ids is not None:
            raise InputError(f"input_ids has {count} rows, and the model was compiled for {rows.count}.")
        last = torch.full((count,), tokens - 1)
        if attention_mask is not None:
            if cache_ids is not None or start_ids is not None:
                raise InputError(
                    "attention_mask is of new texts, and says where they start.\nTry: without cache_ids and start_ids."
                )
            cache_ids, last = _read_mask(attention_mask, (count, tokens))
        positions = torch.arange(tokens) if cache_ids is None else cache_ids.to(torch.int64)
        fits = tuple(positions.shape) in {(tokens,), (count, tokens)}
        slots = positions.expand(count, tokens) if fits else positions
        if start_ids is not None and start_ids.shape != (count,):
            raise InputError(f"start_ids must be a position for each of {count} rows (got {tuple(start_ids.shape)}).")
        if start_ids is not None and fits:
            slots = slots - start_ids.to(torch.int64)[:, None]
        if not fits or int(slots.max()) >= rows.length:
            raise InputError(
                f"cache_ids must be a position for each of {tokens} tokens, below {rows.length} "
                f"(got {tuple(positions.shape)}, up to {int(slots.max())})."
            )
        final = slots.gather(1, last[:, None])
        if int(final.min()) < 0:
            raise InputError(
                f"The last token of row {int(final.argmin())} stands before the start of its text: its logits would "
                "mean nothing.\nTry: cache_ids from 0 on, and start_ids of at most the last of them."
            )
        used = int(slots.max()) + 1
        slots = slots.masked_fill(slots < 0, rows.length)
        turns = zip(*(tensor.split(rows.count) for tensor in (input_ids, slots, last)), strict=True)
        with rows.turns.begin():
            logits = torch.cat([rows.run(ids, where, ends, used) for ids, where, ends in turns])
        logits = logits if rows.all_logits else logits[:, None]
        return CausalLMOutput(logits=logits) if return_dict is not False else (logits,)

    def _require_tokens(self, input_ids: Any) -> None:
        is_tensor = isinstance(input_ids, torch.Tensor)
        if not is_tensor or input_ids.dim() != 2 or not input_ids.numel() or input_ids.is_floating_point():
            got = f"{input_ids.dtype} of {tuple(input_ids.shape)}" if is_tensor else type(input_ids).__name__
            raise InputError(
                f"input_ids must be integers of [batch, sequence], with a row and a token at least (got {got})."
            )
        known = self.vocabulary
        low, high = (int(value) for value in input_ids.aminmax())
        if low < 0 or (known is not None and high >= known):
            raise InputError(
                f"input_ids has the token {low if low < 0 else high}, and the model knows 0 to {(known or 0) - 1}."
            )


def _read_mask(mask: Any, shape: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where the tokens of each row stand, -1 for padding, and the index of the last of them."""
    mask = torch.as_tensor(mask)
    if mask.shape != shape or not bool(((mask == 0) | (mask == 1)).all()):
        raise InputError(
            f"attention_mask must be 1 for tokens and 0 for padding, of the shape of input_ids, {shape} "
            f"(got {mask.dtype} of {tuple(mask.shape)})."
        )
    tokens = mask.bool()
    counted = tokens.cumsum(dim=1)
    if not int(counted[:, -1].min()):
        raise InputError(f"Row {int(counted[:, -1].argmin())} of attention_mask has padding alone, and no token.")
    return (counted - 1).masked_fill(~tokens, -1), counted.argmax(dim=1)
