"""Prompts of random tokens, padded, and what eager generation makes of each alone."""

from __future__ import annotations

from typing import Any

import torch

PAD = 0


def texts(*lengths: int, seed: int = 0, vocabulary: int = 96) -> list[torch.Tensor]:
    """Return prompts of these lengths, without special tokens."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, vocabulary, (length,), generator=generator) for length in lengths]


def padded(prompts: list[torch.Tensor], side: str = "left") -> dict[str, torch.Tensor]:
    """Return ``input_ids`` and ``attention_mask``."""
    width = max(len(prompt) for prompt in prompts)
    ids, mask = torch.full((len(prompts), width), PAD), torch.zeros(len(prompts), width, dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        columns = slice(width - len(prompt), width) if side == "left" else slice(0, len(prompt))
        ids[row, columns], mask[row, columns] = prompt, 1
    return {"input_ids": ids, "attention_mask": mask}


def alone(eager: Any, prompts: list[torch.Tensor], **options: Any) -> list[list[int]]:
    """Return the new tokens that transformers generates for each prompt by itself, up to the first padding."""
    found = []
    for prompt in prompts:
        ids = prompt[None]
        found.append(eager.generate(ids, attention_mask=torch.ones_like(ids), **options)[0, len(prompt) :].tolist())
    return found


def new_tokens(result: torch.Tensor, width: int, expected: list[list[int]], padding: int = PAD) -> list[list[int]]:
    """Return the new tokens of a padded result, each row cut to its expected length; what was cut off must be padding."""
    rows = result[:, width:].tolist()
    for row, wanted in zip(rows, expected, strict=True):
        assert set(row[len(wanted) :]) <= {padding}
    return [row[: len(wanted)] for row, wanted in zip(rows, expected, strict=True)]
