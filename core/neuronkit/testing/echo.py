"""
The smallest plugin that is whole: a model which gives back the text that it was given.

To test what lies around a plugin (an extension, a backend, a command), and to read as an example.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from neuronkit import hookimpl
from neuronkit.errors import InputError
from neuronkit.export import ExportConfig, Graph, Input, Output
from neuronkit.export.source import Source
from neuronkit.processors import Processors

KEY = "echo.repeat-text"
_LETTERS = 0x110000
"""One more than the largest code of a letter."""


class EchoModel(nn.Module):
    """Multiplies the codes of letters by a weight, and what is masked by 0."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, letters: torch.Tensor, given: torch.Tensor) -> dict[str, torch.Tensor]:
        """
        Repeat.

        Args:
            letters: Codes, ``[batch, sequence]``.
            given: 1 where there is a letter.
        """
        return {"echoed": letters * given * self.gain}


class Echo:
    """Text in, the same text out."""

    @hookimpl
    def export_config(self, source: Source) -> ExportConfig:
        """Declare the one graph."""
        graph = Graph(
            name="echo",
            inputs=[
                Input("letters", ["batch", "sequence"], table_size=_LETTERS),
                Input("given", ["batch", "sequence"], default=1),
            ],
            outputs=[Output("echoed", ["batch", "sequence"])],
            kind="encoder",
        )
        return ExportConfig(load=lambda: load_model(source.path), graphs=[graph])

    @hookimpl
    def preprocess(
        self, inputs: Mapping[str, Any], processors: Processors
    ) -> tuple[dict[str, torch.Tensor], Mapping[str, Any]]:
        """
        Turn ``text`` into codes.

        Raises:
            InputError: There is no text, or something beside it.
        """
        text = inputs.get("text")
        if not isinstance(text, str) or not text or len(inputs) > 1:
            raise InputError(f"echo takes text=..., not empty, and nothing else (got {dict(inputs)!r}).")
        return {"letters": torch.tensor([[ord(letter) for letter in text]])}, inputs

    @hookimpl
    def postprocess(self, outputs: Any) -> str:
        """Turn codes into text."""
        return "".join(chr(code) for code in outputs.echoed[0].round().long().tolist())


def write_checkpoint(path: Path, **settings: Any) -> Path:
    """
    Save a checkpoint, and return its directory.

    Args:
        path: Directory to write.
        **settings: Fields of ``config.json``, beside ``model_type``.
    """
    path.mkdir(parents=True, exist_ok=True)
    config = {"model_type": "echo", "max_position_embeddings": 64, **settings}
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(EchoModel().state_dict(), path / "model.safetensors")
    return path


def load_model(path: Path) -> EchoModel:
    """Load a checkpoint's model."""
    model = EchoModel()
    model.load_state_dict(load_file(path / "model.safetensors"))
    return model


plugin = Echo()
