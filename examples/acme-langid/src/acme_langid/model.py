"""The model: dilated convolutions over the bytes of a text, pooled into one score per language."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Self

import attrs
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from acme_langid.tokenizer import VOCABULARY

MODEL_TYPE = "byte-conv"
_WEIGHTS = "byte_conv.safetensors"


@attrs.frozen(kw_only=True)
class ByteConvConfig:
    """
    What ``config.json`` says beside the ``model_type``, by which neuronkit finds the plugin.

    Args:
        labels: Names of the languages, in the order of the scores.
        width: Channels of every layer.
        kernel: Bytes that a convolution sees; odd.
        dilations: One convolution each, over bytes that are this far apart.
    """

    labels: list[str]
    width: int = 32
    kernel: int = 5
    dilations: list[int] = attrs.field(factory=lambda: [1, 2, 4])

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read the configuration of a checkpoint."""
        values = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        return cls(**{name: values[name] for name in attrs.fields_dict(cls) if name in values})

    def write(self, directory: Path) -> None:
        """Write the configuration of a checkpoint."""
        values = {"model_type": MODEL_TYPE, **attrs.asdict(self)}
        (directory / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


class ByteConv(nn.Module):
    """
    A classifier of byte sequences. What is masked changes nothing, so that a padded text scores as it does alone.

    Args:
        config: Its sizes.
    """

    def __init__(self, config: ByteConvConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(VOCABULARY, config.width)
        self.blocks = nn.ModuleList(Block(config.width, config.kernel, dilation) for dilation in config.dilations)
        self.head = nn.Linear(config.width, len(config.labels))

    def forward(self, byte_ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """
        Score the languages.

        Args:
            byte_ids: ``[batch, sequence]``, from `acme_langid.tokenizer.ByteTokenizer`.
            mask: ``[batch, sequence]``, 1 for bytes and 0 for padding.

        Returns:
            ``logits`` ``[batch, labels]``.
        """
        kept = mask.unsqueeze(-1).to(self.head.weight.dtype)
        states = self.embedding(byte_ids) * kept
        for block in self.blocks:
            states = block(states) * kept
        return {"logits": self.head(states.sum(1) / kept.sum(1).clamp(min=1))}

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Load a checkpoint."""
        model = cls(ByteConvConfig.read(directory))
        model.load_state_dict(load_file(directory / _WEIGHTS))
        return model.eval()

    def save(self, directory: Path) -> None:
        """Save a checkpoint."""
        directory.mkdir(parents=True, exist_ok=True)
        self.config.write(directory)
        save_file(self.state_dict(), directory / _WEIGHTS)


class Block(nn.Module):
    """One convolution with a shortcut around it."""

    def __init__(self, width: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(width, width, kernel, dilation=dilation, padding=kernel // 2 * dilation)
        self.norm = nn.LayerNorm(width)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Mix each byte with its neighbours; ``[batch, sequence, width]`` in and out."""
        mixed = self.convolution(states.transpose(1, 2)).transpose(1, 2)
        return self.norm(states + nn.functional.gelu(mixed))
