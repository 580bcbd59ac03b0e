"""Models of a hub: their names, and their files on this machine."""

from __future__ import annotations

import re
from pathlib import Path

from neuronkit.errors import SourceError, first_line
from neuronkit.options import SourceOptions

_HUB_PATTERNS = ["*.json", "*.txt", "*.model", "*.jinja", "*.py", "*.safetensors"]


def is_hub_id(model: str) -> bool:
    """Return whether a text has the form of a hub id: ``name`` or ``org/name``."""
    name = r"\w([\w.-]*\w)?"
    return re.fullmatch(rf"(?!.*(--|\.\.)){name}(/{name})?", model) is not None


def download(
    model: str, options: SourceOptions, *, everything: bool = False, patterns: list[str] | None = None
) -> Path:
    """
    Return the directory of a hub model on this machine, downloading what is missing.

    Args:
        model: Hub id.
        options: Revision, token and whether the hub may be asked.
        everything: All files, as an artifact needs, instead of those of a checkpoint.
        patterns: The files of a checkpoint to take; None takes all that are of use.

    Raises:
        SourceError: It is no hub id, or the hub did not give it.
    """
    if not is_hub_id(model):
        raise SourceError(f"There is no directory {model!r}, and it is not a hub id either.")
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(
            huggingface_hub.snapshot_download(
                model,
                revision=options.revision,
                token=options.token,
                local_files_only=bool(options.local_files_only),
                allow_patterns=None if everything else patterns or _HUB_PATTERNS,
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError, OSError) as error:
        raise SourceError(
            f"There is no directory {model!r}, and the hub did not give a model of that name ({first_line(error)}).\n"
            f"Try: the path of a directory that holds a config.json, or a hub id that you can reach."
        ) from error
