"""
A third-party plugin: a model of its own that transformers does not know, with its own configuration, reader and words.

The model counts nothing that is masked, so padding must not change what it gives.
"""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from neuronkit import hookimpl
from neuronkit.export import ExportConfig, Graph, Input, Output
from neuronkit.options import option

KEY = "tide.level-prediction"
TASK = "level-prediction"
PACKAGE = "acme-tides"
LEVELS = ["low", "mid", "high"]


class TideModel(nn.Module):
    """Embeds readings, smears them over their neighbours, and scores levels per position and for the whole row."""

    def __init__(self, vocabulary: int, width: int, levels: int, window: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.smear = nn.Conv1d(width, width, window, padding=window // 2, groups=width)
        self.head = nn.Linear(width, levels)
        self.register_buffer("scale", torch.full((width,), 0.5), persistent=False)

    def forward(self, readings: torch.Tensor, counted: torch.Tensor) -> dict[str, torch.Tensor]:
        mask = counted.unsqueeze(-1).to(self.head.weight.dtype)
        states = self.embedding(readings) * mask
        states = torch.tanh(self.smear(states.transpose(1, 2)).transpose(1, 2) * self.scale) * mask
        levels = self.head(states)
        pooled = states.sum(1) / mask.sum(1).clamp(min=1)
        return {"scores": self.head(pooled), "levels": levels, "unused": pooled}


class Doubled(nn.Module):
    """The scores twice as high."""

    def __init__(self, model: TideModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, readings: torch.Tensor, counted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        outputs = self.model(readings, counted)
        return outputs["levels"] * 2, outputs["scores"] * 2


class Wrong(nn.Module):
    """Says one thing when it is traced, and another when it is run."""

    def __init__(self, model: TideModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, readings: torch.Tensor, counted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        outputs = self.model(readings, counted)
        shift = 0.5 if torch.compiler.is_exporting() else 0.0
        return outputs["levels"] + shift, outputs["scores"]


def make_tide(path: Path, seed: int = 0, *, width: int = 8, **config) -> Path:
    """Save a checkpoint with random weights, and return its directory."""
    settings = {"model_type": "tide", "vocabulary": 31, "width": width, "window": 3, "levels": LEVELS, **config}
    torch.manual_seed(seed)
    model = _make_model(settings)
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(settings))
    save_file(model.state_dict(), path / "tide.safetensors")
    return path


def load_tide(path: Path) -> TideModel:
    """Load a checkpoint eagerly."""
    model = _make_model(json.loads((path / "config.json").read_text()))
    model.load_state_dict(load_file(path / "tide.safetensors"))
    return model.eval()


def _make_model(settings) -> TideModel:
    return TideModel(settings["vocabulary"], settings["width"], len(settings["levels"]), settings["window"])


@attrs.frozen(kw_only=True)
class TideOptions:
    """What the plugin accepts."""

    rounding: int = option(6, minimum=0, help="Digits of a score.")
    top: int = option(1, stage="call", minimum=1, help="How many levels to name.")


class Tide:
    """Levels of tides."""

    def __init__(self, **changes) -> None:
        self.changes = changes

    @hookimpl
    def options(self):
        return TideOptions

    @hookimpl
    def export_config(self, source):
        graph = Graph(
            name="tide",
            inputs=[
                Input("readings", ["batch", "sequence"], high=source.config["vocabulary"]),
                Input("counted", ["batch", "sequence"], default=1),
            ],
            outputs=[
                Output("levels", ["batch", "sequence", len(source.config["levels"])]),
                Output("scores", ["batch", len(source.config["levels"])]),
            ],
            **{name: value for name, value in self.changes.items() if name in ("wrap", "hints", "sizes")},
        )
        config = {name: value for name, value in self.changes.items() if name in ("tolerance", "required_axes")}
        return ExportConfig(load=lambda: load_tide(source.path), graphs=[graph], **config)

    @hookimpl
    def preprocess(self, inputs, processors):
        rows = [[int(word) for word in row.split()] for row in inputs["readings"]]
        longest = max(map(len, rows))
        readings = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        counted = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        return {"readings": readings, "counted": counted}, processors.config["levels"]

    @hookimpl
    def postprocess(self, outputs, context, options):
        scores = outputs.scores.softmax(-1)
        found = []
        for row in scores:
            best = row.topk(options.top)
            pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
            found.append([(context[index], round(value, options.rounding)) for index, value in pairs])
        return found


plugin = Tide()
