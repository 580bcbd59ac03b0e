"""A compiled pipeline beside diffusers' own over the same checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from PIL import Image

import neuronkit

TOLERANCE = 1e-4


def picture(size: int = 32, seed: int = 0) -> Image.Image:
    """Return an image of random colours."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8))


def mask(size: int = 32) -> Image.Image:
    """Return a mask whose middle is white."""
    values = np.zeros((size, size), dtype=np.uint8)
    values[size // 4 : -size // 4, size // 4 : -size // 4] = 255
    return Image.fromarray(values)


def load_pair(suffix: str, checkpoint: Path, artifact: Path) -> tuple[Any, Any]:
    """Return ``Neuron<suffix>`` over an artifact and diffusers' ``<suffix>`` over the checkpoint."""
    compiled = getattr(neuronkit, f"Neuron{suffix}").from_pretrained(artifact)
    eager = getattr(diffusers, suffix).from_pretrained(checkpoint)
    for pipeline in (compiled, eager):
        pipeline.set_progress_bar_config(disable=True)
    return compiled, eager


def sibling_pair(suffix: str, pair: tuple[Any, Any]) -> tuple[Any, Any]:
    """Return the pipelines of another class over the components of a pair."""
    compiled, eager = pair
    made = getattr(neuronkit, f"Neuron{suffix}").from_pipe(compiled), getattr(diffusers, suffix).from_pipe(eager)
    for pipeline in made:
        pipeline.set_progress_bar_config(disable=True)
    return made


def images(pipeline: Any, **arguments: Any) -> np.ndarray:
    """Run a pipeline for three steps; `seed` is one or several, of which new generators are made for each call."""
    seed = arguments.pop("seed", 0)
    generator = (
        [torch.Generator().manual_seed(one) for one in seed]
        if isinstance(seed, list)
        else torch.Generator().manual_seed(seed)
    )
    defaults = {"prompt": "a red cat", "num_inference_steps": 3, "output_type": "np", "generator": generator}
    return pipeline(**{**defaults, **arguments})[0]


def difference(compiled: Any, eager: Any, **arguments: Any) -> float:
    """Return the largest difference between the images of two pipelines for the same arguments."""
    ours, theirs = images(compiled, **arguments), images(eager, **arguments)
    assert ours.shape == theirs.shape
    return float(np.abs(np.asarray(ours) - np.asarray(theirs)).max())
