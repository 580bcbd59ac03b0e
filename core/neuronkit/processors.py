"""What turns raw input into tensors: the tokenizer and the like, loaded from the artifact at first use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from neuronkit.errors import ArtifactNotFoundError, InputError
from neuronkit.export.source import CONFIG_FILES, read_settings


class Processors:
    """
    The processors of one artifact.

    Args:
        path: The artifact's directory.
        limits: The largest size of every axis (``{"batch": 64, "sequence": 512}``).
        trust_remote_code: Whether the checkpoint's own Python code may run.
        pad_token_id: What a tokenizer pads with that names no token for it; None leaves it without.
    """

    def __init__(
        self,
        path: Path,
        limits: Mapping[str, int],
        *,
        trust_remote_code: bool = False,
        pad_token_id: int | None = None,
    ) -> None:
        self.path = path
        self.limits = dict(limits)
        self.trust_remote_code = trust_remote_code
        self.pad_token_id = pad_token_id
        self._settings: dict[str, dict[str, Any]] = {}

    @cached_property
    def config(self) -> dict[str, Any]:
        """The checkpoint's configuration, without the section that neuronkit added."""
        return read_config(self.path)

    @cached_property
    def tokenizer(self) -> Any:
        """
        The artifact's tokenizer.

        Raises:
            ArtifactNotFoundError: The artifact's directory is gone.
        """
        from transformers import AutoTokenizer

        require_there(self.path)
        tokenizer = AutoTokenizer.from_pretrained(self.path, trust_remote_code=self.trust_remote_code)
        if self.pad_token_id is not None and "pad_token" not in tokenizer.special_tokens_map:
            tokenizer.pad_token = tokenizer.convert_ids_to_tokens(self.pad_token_id)
        return tokenizer

    def settings(self, name: str) -> dict[str, Any]:
        """
        Return what a JSON file of the artifact sets, by name; nothing where there is no such file. It is read once.

        Args:
            name: The file's name in the artifact.

        Raises:
            ArtifactNotFoundError: The artifact's directory is gone.
            SourceError: The file is not JSON, or holds no object.
        """
        if name not in self._settings:
            require_there(self.path)
            file = self.path / name
            self._settings[name] = read_settings(file) if file.is_file() else {}
        return self._settings[name]

    def prepare(self, inputs: Mapping[str, Any]) -> tuple[dict[str, torch.Tensor], Any]:
        """
        Tokenize ``text`` (a string or a list), or hand tensors on.

        Returns:
            The tensors by name, and the inputs as the context of ``postprocess``.

        Raises:
            InputError: There is neither text nor a tensor, or something else beside them.
        """
        if "text" in inputs:
            if others := sorted(inputs.keys() - {"text"}):
                raise InputError(f"{others[0]}: unknown input beside text.\nTry: text=... alone.")
            texts = inputs["text"]
            encoded = self.tokenizer(
                [texts] if isinstance(texts, str) else list(texts), padding=True, return_tensors="pt"
            )
            return dict(encoded), dict(inputs)
        if not any(isinstance(value, torch.Tensor) for value in inputs.values()):
            raise InputError(f"The call needs text=... or the graph's own tensors (got {sorted(inputs) or 'nothing'}).")
        return dict(inputs), dict(inputs)  # the graph names what is no tensor, and what it does not take


def require_there(path: Path) -> None:
    """
    Refuse to read on in an artifact that was taken away: a missing file would read as one that says nothing.

    Raises:
        ArtifactNotFoundError: Its directory is gone.
    """
    if not path.is_dir():
        raise ArtifactNotFoundError(
            f"{path} was there when the artifact was loaded, and is gone.\n"
            "Try: put it back, or load the artifact from where it is now."
        )


def read_config(path: Path) -> dict[str, Any]:
    """
    Return the checkpoint's configuration in an artifact, without the section that neuronkit added.

    Raises:
        ArtifactNotFoundError: The artifact's directory is gone.
    """
    require_there(path)
    for name in CONFIG_FILES:
        if (path / name).is_file():
            found: dict[str, Any] = json.loads((path / name).read_text(encoding="utf-8"))
            found.pop("neuron", None)
            return found
    return {}
