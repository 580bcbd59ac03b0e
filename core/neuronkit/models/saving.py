"""What every public class does with its artifact: write it, upload it, open another one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuronkit.artifact import manifest as manifests
from neuronkit.artifact.hub import UploadOptions, push_artifact
from neuronkit.artifact.reader import TOKENIZER_FILES
from neuronkit.artifact.side_files import record_again
from neuronkit.artifact.store import copy_artifact
from neuronkit.errors import ArtifactMismatchError, OptionError, OutputExistsError
from neuronkit.options import build
from neuronkit.paths import named_directory
from neuronkit.processors import require_there

if TYPE_CHECKING:
    from neuronkit.session import Session


class OfArtifact:
    """A class around the session of an artifact."""

    session: Session

    def load_model(self, path: str | Path) -> Session:
        """Open another artifact of the same class and return its session; this object keeps its own."""
        kind: Any = type(self)
        session: Session = kind.from_pretrained(path).session
        return session

    def get_input_static_shapes(self) -> dict[str, int]:
        """Return the largest compiled size by shape name (``batch_size``, ``sequence_length``, ``height``)."""
        return {name: max(sizes) for name, sizes in self.session.manifest.shapes.items()}

    def save_pretrained(
        self, directory: str | Path, *, push_to_hub: bool = False, safe_serialization: bool = True, **kwargs: Any
    ) -> None:
        """
        Write the artifact, with what was changed of this object and can be kept.

        Args:
            directory: Created if need be. An artifact that is there is replaced, if nothing else is.
            push_to_hub: Also upload it.
            safe_serialization: An artifact's weights are safetensors, and it writes no others; clients of transformers say so.
            **kwargs: For `push_to_hub`.

        Raises:
            ArtifactNotFoundError: The artifact's directory is gone.
            OptionError: A keyword is unknown, or for uploading where nothing is uploaded; or pickled weights are asked for.
            OutputExistsError: The directory holds something else than an artifact.
            ArtifactWriteError: The disk is full, or the directory cannot be written.
            ArtifactUploadError: The hub could not be reached, or refused.

        """
        build(UploadOptions, kwargs, "call")
        if not safe_serialization:
            raise OptionError("safe_serialization: an artifact's weights are safetensors (got False). Try: without it.")
        if kwargs and not push_to_hub:
            raise OptionError(f"{', '.join(kwargs)}: only for uploading.\nTry: push_to_hub=True, or leave it out.")
        require_there(self.session.artifact.path)
        source, target = self.session.artifact.path, named_directory(directory, "The directory")
        itself = target.resolve() == source.resolve()
        others = [] if itself else _others(target)
        if others:
            raise OutputExistsError(
                f"{target} holds {others[0]}, which is no file of an artifact.\n"
                "Try: another directory, or remove what is there first; an artifact alone is replaced."
            )
        manifest = self.session.manifest
        fixed = {file.file for file in (*manifest.graph_files(), *([manifest.weights] if manifest.weights else []))}
        copy_artifact(source, target, force=True, change=self._save_own, fixed=fixed)
        if itself:
            self._own_is_saved()
        if push_to_hub:
            self.push_to_hub(directory, **kwargs)

    def _save_own(self, directory: Path) -> None:
        """Write what this object has otherwise than its artifact into a copy of it, beside graphs and weights that stay."""

    def _own_is_saved(self) -> None:
        """Take note that the artifact now has what `_save_own` wrote."""

    def _write_settings(self, directory: Path, name: str, values: Mapping[str, Any]) -> None:
        """Write settings over those that a JSON file of a copy of the artifact has, and record it; without any leave it alone."""
        if not values:
            return
        file = directory / name
        saved = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        file.write_text(json.dumps({**saved, **values}, indent=2) + "\n", encoding="utf-8")
        record_again(directory, [file], lambda recorded: recorded == name)

    def push_to_hub(self, directory: str | Path | None = None, repository_id: str | None = None, **kwargs: Any) -> str:
        """
        Upload the artifact, or one that `save_pretrained` wrote, each file once.

        Args:
            directory: The artifact; None takes this one, and needs the repository's name.
            repository_id: ``<user>/<name>``; None takes the directory's name.
            **kwargs: ``repo_id`` (another name of `repository_id`), ``private``, ``revision``, ``token`` (or
                ``use_auth_token``), ``endpoint``, ``commit_message``, ``commit_description`` and ``create_pr``.

        Returns:
            The commit's address.

        Raises:
            ArtifactMismatchError: The directory holds no artifact.
            ArtifactUploadError: The hub could not be reached, or refused.
            OptionError: A keyword is unknown or of a wrong value, or the repository's name is missing.

        """
        unnamed = repository_id is None and kwargs.get("repo_id") is None
        if directory is None and unnamed:
            raise OptionError("push_to_hub needs the repository's name.\nTry: push_to_hub(repo_id='<user>/<name>')")
        if directory is not None and unnamed and not named_directory(directory, "The directory").is_dir():
            raise ArtifactMismatchError(
                f"There is no directory {str(directory)!r}.\n"
                f"Try: push_to_hub(repo_id={str(directory)!r}), if it is the repository's name."
            )
        path = self.session.artifact.path if directory is None else Path(directory)
        return push_artifact(path, repository_id, **kwargs)


def _others(directory: Path) -> list[str]:
    """Return the files in a directory that are not those of an artifact there, nor of a tokenizer that was saved beside it."""
    found = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if not path.is_dir()}
    if manifests.MANIFEST not in found:
        return sorted(found)
    manifest = manifests.read(directory)
    own = {manifests.MANIFEST, *TOKENIZER_FILES, *(file.file for file in manifest.files())}
    return sorted(found - own - ({manifest.weights.file} if manifest.weights else set()))
