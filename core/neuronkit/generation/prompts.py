"""Prompts as they are given, and each one's text without its padding."""

from __future__ import annotations

from typing import Any

import attrs
import torch

from neuronkit.errors import InputError


@attrs.frozen(eq=False)
class Prompts:
    """
    Some prompts of one call.

    Args:
        input_ids: ``[prompts, width]`` as given, padding included.
        texts: The tokens of each that count.
        mask: As `input_ids`, 0 for padding; None where there is none.
    """

    input_ids: torch.Tensor
    texts: list[torch.Tensor]
    mask: torch.Tensor | None = None

    @property
    def are_even(self) -> bool:
        """True when none is padded."""
        return all(text.shape[0] == self.input_ids.shape[1] for text in self.texts)

    def repeated(self, times: int) -> Prompts:
        """Return every prompt several times, copies side by side."""
        if times == 1:
            return self
        mask = None if self.mask is None else self.mask.repeat_interleave(times, dim=0)
        texts = [text for text in self.texts for _ in range(times)]
        return Prompts(self.input_ids.repeat_interleave(times, dim=0), texts, mask)

    def only(self, start: int, stop: int) -> Prompts:
        """Return some of them, without the columns that pad all of these."""
        texts = self.texts[start:stop]
        if len({text.shape[0] for text in texts}) == 1:
            return Prompts(torch.stack(texts), texts)
        return Prompts(self.input_ids[start:stop], texts, None if self.mask is None else self.mask[start:stop])


def as_ids(input_ids: Any, wanted: str = "input_ids must be token ids") -> torch.Tensor:
    """
    Return token ids as a tensor.

    Args:
        input_ids: Also what else has an item a token.
        wanted: Begins the message where they are none.

    Raises:
        InputError: They are something else: a text, what a tokenizer returns, rows of several lengths.
    """
    if isinstance(input_ids, torch.Tensor):
        return input_ids
    try:
        return torch.as_tensor(input_ids)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{wanted} of [prompts, tokens] (got {type(input_ids).__name__}).\n"
            'Try: generate(**tokenizer(texts, padding=True, return_tensors="pt")).'
        ) from error


def vocabulary_of(config: Any) -> int | None:
    """Return the number of tokens that a model of this configuration knows; None if the configuration does not say."""
    size = getattr(config, "vocab_size", None)
    return int(size) if size else None


def read_prompts(input_ids: Any, attention_mask: Any, vocabulary: int | None = None) -> Prompts:
    """
    Take padding off, on whichever side it is.

    Args:
        input_ids: ``[prompts, width]``; ``[width]`` is one prompt. A tensor, or lists.
        attention_mask: 1 for tokens, 0 for padding, shaped as `input_ids`; None counts every token.
        vocabulary: Number of tokens that the model knows.

    Raises:
        InputError: There are no prompts, one has no tokens, a token is unknown, or the mask does not fit.
    """
    input_ids = as_ids(input_ids)
    if attention_mask is not None:
        attention_mask = as_ids(attention_mask, "attention_mask must be 1 for tokens and 0 for padding,")
    if input_ids.dim() == 1:
        input_ids = input_ids.unsqueeze(0)
        attention_mask = (
            attention_mask.unsqueeze(0) if attention_mask is not None and attention_mask.dim() == 1 else attention_mask
        )
    if input_ids.dim() != 2 or input_ids.is_floating_point():
        raise InputError(
            f"input_ids must be integers of [prompts, tokens] (got {input_ids.dtype} of {tuple(input_ids.shape)})."
        )
    if not input_ids.shape[0]:
        raise InputError("input_ids has no prompts: its shape is " + f"{tuple(input_ids.shape)}.")
    input_ids = input_ids.to(torch.int64)
    if attention_mask is None:
        texts = list(input_ids)
    elif attention_mask.shape != input_ids.shape:
        raise InputError(
            f"attention_mask must have the shape of input_ids, {tuple(input_ids.shape)} (got {tuple(attention_mask.shape)})."
        )
    else:
        texts = [ids[mask.bool()] for ids, mask in zip(input_ids, attention_mask, strict=True)]
    for number, text in enumerate(texts):
        if not text.shape[0]:
            raise InputError(f"Prompt {number} has no tokens. Try: begin it with the model's bos token.")
        low, high = int(text.min()), int(text.max())
        if low < 0 or (vocabulary is not None and high >= vocabulary):
            wrong = low if low < 0 else high
            raise InputError(
                f"Prompt {number} has the token {wrong}, and the model knows 0 to {(vocabulary or 0) - 1}."
            )
    return Prompts(input_ids, texts, None if attention_mask is None or attention_mask.bool().all() else attention_mask)
