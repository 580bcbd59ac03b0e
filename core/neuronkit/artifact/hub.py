"""Uploading an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from neuronkit.artifact import optimum
from neuronkit.artifact.manifest import MANIFEST
from neuronkit.errors import ArtifactMismatchError, ArtifactUploadError, OptionError, first_line
from neuronkit.options import build, option
from neuronkit.paths import named_directory


@attrs.frozen(kw_only=True)
class UploadOptions:
    """How an artifact is uploaded, in the words of transformers and in those of optimum-neuron."""

    repository_id: str | None = option(None, help="``<user>/<name>``; by default the directory's name.")
    repo_id: str | None = option(None, help="Another name of repository_id.")
    private: bool | None = option(None, help="Whether a new repository is private.")
    revision: str | None = option(None, help="Branch to commit to.")
    token: str | bool | None = option(None, help="Access token; by default, and if True, the stored one.")
    use_auth_token: str | bool | None = option(None, help="Another name of token.")
    endpoint: str | None = option(None, help="Address of the hub, if not the public one.")
    commit_message: str = option("Upload neuronkit artifact", help="First line of the commit's message.")
    commit_description: str | None = option(None, help="What follows it.")
    create_pr: bool = option(False, help="Open a pull request instead of committing.")


def push_artifact(directory: Path, repository_id: str | None = None, **options: Any) -> str:
    """
    Upload an artifact, each file once.

    Args:
        directory: The artifact.
        repository_id: ``<user>/<name>``; None takes the directory's name.
        **options: The fields of `UploadOptions`.

    Returns:
        The commit's address.

    Raises:
        ArtifactMismatchError: The directory holds no artifact.
        ArtifactUploadError: The hub could not be reached, or refused.
        OptionError: An option is unknown or of a wrong value, or is given by both of its names with different values.

    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, HTTPError  # the latter is that of its HTTP client

    given = build(
        UploadOptions, options if repository_id is None else {**options, "repository_id": repository_id}, "call"
    )
    wanted = _one_of(given, "repository_id", "repo_id")
    token = _one_of(given, "token", "use_auth_token")
    path = named_directory(directory, "The directory")
    if not (path / MANIFEST).is_file() and optimum.section(path) is None:
        raise ArtifactMismatchError(f"{path} is not an artifact. Try: save_pretrained({str(path)!r}) first.")
    wanted = wanted or path.name
    api = HfApi(endpoint=given.endpoint, token=token)
    try:
        repository = api.create_repo(wanted, private=given.private, exist_ok=True).repo_id
        commit = api.upload_folder(
            repo_id=repository,
            folder_path=path,
            revision=given.revision,
            commit_message=given.commit_message,
            commit_description=given.commit_description,
            create_pr=given.create_pr,
        )
    except (HTTPError, HFValidationError, OSError) as error:
        raise ArtifactUploadError(
            f"{path} could not be uploaded to {wanted!r} ({first_line(error)}).\n"
            "Try: a repository that you may write to, a token that allows it, and a hub that can be reached."
        ) from error
    return str(commit.commit_url)


def _one_of(given: UploadOptions, name: str, other: str) -> Any:
    """Return the value of an option that has two names."""
    value, same = getattr(given, name), getattr(given, other)
    if value is not None and same is not None and value != same:
        raise OptionError(f"{other} is another name of {name}, and they differ.\nTry: one of them.")
    return same if value is None else value
