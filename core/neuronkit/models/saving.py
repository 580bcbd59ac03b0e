"""What every public class does with its artifact: write it, upload it, open another one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuronkit.artifact.hub import push_artifact
from neuronkit.artifact.store import copy_artifact

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

    def save_pretrained(self, directory: str | Path, *, push_to_hub: bool = False, **kwargs: Any) -> None:
        """
        Write the artifact.

        Args:
            directory: Created if need be; must be empty, or the artifact's own.
            push_to_hub: Also upload it; `kwargs` are then those of `push_to_hub`.
            **kwargs: For `push_to_hub`.

        """
        copy_artifact(self.session.artifact.path, Path(directory).expanduser())
        if push_to_hub:
            self.push_to_hub(directory, **kwargs)

    def push_to_hub(self, directory: str | Path, repository_id: str | None = None, **kwargs: Any) -> str:
        """
        Upload an artifact that `save_pretrained` wrote, each file once.

        Args:
            directory: The artifact.
            repository_id: ``<user>/<name>``; None takes the directory's name.
            **kwargs: ``private``, ``revision``, ``use_auth_token`` and ``endpoint``, as for `push_artifact`.

        Returns:
            The commit's address.

        """
        return push_artifact(Path(directory), repository_id, **kwargs)
