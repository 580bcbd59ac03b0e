"""The prompts of a sentence transformer: what stands before every text, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from neuronkit.errors import InputError
from neuronkit.export.source import SENTENCE_SETTINGS_FILE
from neuronkit.processors import Processors

QUERY, DOCUMENT = "query", "document"


@attrs.define
class Prompts:
    """
    The prompts of a checkpoint.

    Args:
        named: By name. Every sentence transformer has those of a query and of a document, empty where the checkpoint has none.
        default: The name of the one that is taken where none is asked for.
    """

    named: dict[str, str]
    default: str | None

    @classmethod
    def read(cls, processors: Processors) -> Prompts:
        """Read those of a checkpoint or an artifact."""
        return cls.of(processors.settings(SENTENCE_SETTINGS_FILE))

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Prompts:
        """Return those that the settings of a sentence transformer have."""
        saved = {name: prompt or "" for name, prompt in (settings.get("prompts") or {}).items()}
        return cls({QUERY: "", DOCUMENT: "", **saved}, settings.get("default_prompt_name"))

    def find(self, prompt: str | None = None, name: str | None = None) -> str:
        """
        Return the prompt that stands before every text: the given one, the named one, or the default.

        Raises:
            InputError: There is no prompt of that name.
        """
        if prompt is not None:
            return prompt
        if name is not None and name not in self.named:
            raise InputError(f"prompt_name: there is no prompt {name!r}. Prompts: {', '.join(self.named)}.")
        name = self.default if name is None else name
        return "" if name is None else self.named.get(name, "")
