"""Uploading an artifact."""

from __future__ import annotations

from pathlib import Path

from neuronkit.artifact import optimum
from neuronkit.artifact.manifest import MANIFEST
from neuronkit.errors import ArtifactMismatchError


def push_artifact(
    directory: Path,
    repository_id: str | None = None,
    *,
    private: bool | None = None,
    revision: str | None = None,
    use_auth_token: bool | str | None = None,
    endpoint: str | None = None,
) -> str:
    """
    Upload an artifact, each file once.

    Args:
        directory: The artifact.
        repository_id: ``<user>/<name>``; None takes the directory's name.
        private: Whether a new repository is private.
        revision: Branch to commit to.
        use_auth_token: Access token; None or True takes the stored one.
        endpoint: Address of the hub, if not the public one.

    Returns:
        The commit's address.

    Raises:
        ArtifactMismatchError: The directory holds no artifact.

    """
    from huggingface_hub import HfApi

    path = directory.expanduser()
    if not (path / MANIFEST).is_file() and optimum.section(path) is None:
        raise ArtifactMismatchError(f"{path} is not an artifact. Try: save_pretrained({str(path)!r}) first.")
    api = HfApi(endpoint=endpoint, token=use_auth_token)
    repository = api.create_repo(repository_id or path.name, private=private, exist_ok=True).repo_id
    commit = api.upload_folder(
        repo_id=repository, folder_path=path, revision=revision, commit_message="Upload neuronkit artifact"
    )
    return str(commit.commit_url)
