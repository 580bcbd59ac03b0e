"""What an artifact does when a call does not say otherwise: its ``generation_config.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import GenerationConfig

from neuronkit.artifact.side_files import record_again
from neuronkit.processors import require_there

_FILE = "generation_config.json"


def read(directory: Path, config: Any) -> GenerationConfig:
    """
    Return the generation config of an artifact; where it has none, that of the model's configuration.

    Raises:
        ArtifactNotFoundError: The artifact's directory is gone.
    """
    require_there(directory)
    if (directory / _FILE).is_file():
        return GenerationConfig.from_pretrained(directory)
    return GenerationConfig.from_model_config(config)


def write(generation_config: GenerationConfig, directory: Path) -> None:
    """Write a generation config into an artifact, and record it in the manifest."""
    generation_config.to_json_file(directory / _FILE)
    record_again(directory, [directory / _FILE], lambda file: file == _FILE)
