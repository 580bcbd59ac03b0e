"""What an artifact does when a call does not say otherwise: its ``generation_config.json``."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, SynthIDTextWatermarkingConfig

from neuronkit.artifact.side_files import record_again
from neuronkit.export.source import GENERATION_FILE, read_generation_settings
from neuronkit.generation.refusals import require_own_config
from neuronkit.processors import read_config, require_there


def read(directory: Path, config: Any) -> GenerationConfig:
    """
    Return the generation config of an artifact; where it has none, what its ``config.json`` says of generation.

    Args:
        directory: The artifact.
        config: The model's configuration, for an artifact without a file of it: transformers' class drops what the file says
            of generation.

    Raises:
        ArtifactNotFoundError: The artifact's directory is gone.
        SourceError: The file cannot be read.
    """
    require_there(directory)
    settings = read_generation_settings(directory)
    if settings is not None:
        watermark = settings.get("watermarking_config")
        if isinstance(watermark, dict) and "ngram_len" in watermark:  # transformers takes every one for the other kind
            return GenerationConfig.from_dict(
                {**settings, "watermarking_config": SynthIDTextWatermarkingConfig(**watermark)}
            )
        return GenerationConfig.from_pretrained(directory)
    return GenerationConfig.from_model_config(read_config(directory) or config)


def plain(generation_config: GenerationConfig) -> GenerationConfig:
    """
    Return a generation config whose values are what JSON keeps: lists for tensors, and for biases by sequences of tokens.

    Raises:
        InputError: It is something else.
    """
    require_own_config(generation_config)
    config = copy.copy(generation_config)
    for name, value in vars(generation_config).items():
        if isinstance(value, torch.Tensor):
            setattr(config, name, value.tolist())
    if isinstance(config.sequence_bias, Mapping):
        config.sequence_bias = [[list(tokens), bias] for tokens, bias in config.sequence_bias.items()]
    return config


def write(generation_config: GenerationConfig, directory: Path) -> None:
    """Write a generation config into an artifact, and record it in the manifest."""
    plain(generation_config).to_json_file(directory / GENERATION_FILE)
    record_again(directory, [directory / GENERATION_FILE], lambda file: file == GENERATION_FILE)
