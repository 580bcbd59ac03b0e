"""What an artifact does when a call does not say otherwise: its ``generation_config.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import GenerationConfig

from neuronkit.artifact.side_files import record_again
from neuronkit.export.source import GENERATION_FILE, read_generation_settings
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
    if read_generation_settings(directory) is not None:
        return GenerationConfig.from_pretrained(directory)
    return GenerationConfig.from_model_config(read_config(directory) or config)


def write(generation_config: GenerationConfig, directory: Path) -> None:
    """Write a generation config into an artifact, and record it in the manifest."""
    generation_config.to_json_file(directory / GENERATION_FILE)
    record_again(directory, [directory / GENERATION_FILE], lambda file: file == GENERATION_FILE)
