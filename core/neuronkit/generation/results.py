"""What a call of `generate` returns."""

from __future__ import annotations

from typing import Any

import torch

from neuronkit.generation.loop import Record
from neuronkit.generation.prompts import Prompts


def join(prompts: Prompts, new_tokens: list[list[int]], pad_token_id: int) -> torch.Tensor:
    """Put new tokens after the prompts as they were given."""
    longest = max(len(tokens) for tokens in new_tokens)
    rows = [tokens + [pad_token_id] * (longest - len(tokens)) for tokens in new_tokens]
    return torch.cat([prompts.input_ids, torch.tensor(rows, dtype=torch.int64)], dim=1)


def as_output(sequences: torch.Tensor, record: Record, count: int) -> Any:
    """Return transformers' output class; where a text had ended before, the scores are zeros."""
    from transformers.generation import GenerateDecoderOnlyOutput

    def stack(kept: dict[int, list[torch.Tensor]] | None) -> tuple[torch.Tensor, ...] | None:
        if kept is None:
            return None
        steps = max(len(values) for values in kept.values())
        blank = torch.zeros_like(kept[0][0])
        return tuple(
            torch.stack([kept[row][step] if step < len(kept[row]) else blank for row in range(count)])
            for step in range(steps)
        )

    return GenerateDecoderOnlyOutput(sequences=sequences, scores=stack(record.scores), logits=stack(record.logits))
