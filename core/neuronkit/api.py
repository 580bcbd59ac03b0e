"""The library's three verbs: `compile`, `load`, `pipeline`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neuronkit.artifact.reader import Artifact
    from neuronkit.running import Pipeline


def compile(
    model: str | Path,
    output: str | Path,
    *,
    task: str | None = None,
    backend: str = "cpu",
    **shapes_and_options: Any,
) -> Artifact:
    """
    Compile a model into an artifact.

    Args:
        model: A checkpoint's directory or hub id.
        output: Directory to write; must be empty or not exist, unless ``force=True``.
        task: What the artifact is for, such as ``"question-answering"``; None asks the checkpoint, or takes the only
            task that plugins offer for its architecture. ``task@package`` chooses among packages that offer the same one.
        backend: ``"cpu"``, or another that is installed.
        **shapes_and_options: Shapes (``batch_size=1``, ``sequence_length=[128, 384]``), the options of
            `neuronkit.options.CompileOptions` and `neuronkit.options.SourceOptions`, and the plugin's own.

    Returns:
        The artifact: its directory (`path`) and its `manifest`.

    Raises:
        SourceError: The model cannot be found or read.
        neuronkit_registry.PluginError: No usable plugin has the key.
        OptionError: A shape or an option is unknown, missing or wrong; the message has a line for each.
        OutputExistsError: The output directory is not empty.
        CompileError: The backend failed.
        ValidationError: The compiled graph differs from the eager model.
    """
    from neuronkit.compilation.journey import compile_model

    return compile_model(model, output, task=task, backend_name=backend, given=shapes_and_options)


def load(
    artifact: str | Path,
    *,
    trust_artifact: bool = False,
    task: str | None = None,
    placement: str | None = None,
    **source_options: Any,
) -> Any:
    """
    Load an artifact.

    Args:
        artifact: Directory or hub id.
        trust_artifact: Load one from the hub, although it holds native code.
        task: Another task of the same architecture than the one it was compiled for.
        placement: Where to put it, in the backend's words; None lets the backend choose.
        **source_options: ``revision``, ``subfolder``, ``token``, ``local_files_only``.

    Returns:
        The shell: call it with the model's named tensors; outputs by attribute, key and index.

    Raises:
        ArtifactNotFoundError: There is no artifact.
        ArtifactUntrustedError: It would come from the hub, and `trust_artifact` is False.
        ArtifactCorruptError: A file is missing, truncated or edited.
        ArtifactIncompatibleError: It was compiled for another machine or other versions.
    """
    from neuronkit.loading import load_shell

    return load_shell(artifact, trust_artifact=trust_artifact, task=task, placement=placement, given=source_options)


def pipeline(
    artifact: str | Path | Any,
    *unnamed: Any,
    trust_artifact: bool = False,
    task: str | None = None,
    placement: str | None = None,
    **source_options: Any,
) -> Pipeline:
    """
    Return a callable from raw input to the user's result.

    Args:
        artifact: As for `load`, or a shell that is loaded already.
        *unnamed: Nothing: an artifact knows its task, and what other libraries take behind a task is refused.
        trust_artifact: As for `load`.
        task: As for `load`.
        placement: As for `load`.
        **source_options: As for `load`.

    Raises:
        ArtifactNotFoundError: What was given is neither.
        OptionError: A shell was given, and how to load it too; or a task in an artifact's place.
        neuronkit.NeuronkitError: As `load`.
    """
    from neuronkit.errors import ArtifactNotFoundError, OptionError
    from neuronkit.running import Pipeline
    from neuronkit.tasks import TASKS, canonical_task

    is_task = isinstance(artifact, str) and canonical_task(artifact) in TASKS and not Path(artifact).exists()
    if unnamed or is_task:
        which = f"a task, {artifact!r}" if is_task else f"{1 + len(unnamed)} values without a name"
        made = f" (neuronkit compile --task {artifact} ...)" if is_task else ""
        raise OptionError(
            f"pipeline takes an artifact, which knows its task and its tokenizer (got {which}).\n"
            f'Try: neuronkit.pipeline("DIRECTORY"), of what was compiled before{made}.'
        )
    if isinstance(artifact, (str, Path)):
        artifact = load(artifact, trust_artifact=trust_artifact, task=task, placement=placement, **source_options)
        return Pipeline(artifact)
    if not hasattr(artifact, "session"):
        raise ArtifactNotFoundError(
            f"A pipeline is of an artifact's directory or hub id, or of what neuronkit.load returned (got {artifact!r}).\n"
            "Try: the directory that neuronkit compile wrote."
        )
    given = {"trust_artifact": trust_artifact, "task": task, "placement": placement, **source_options}
    if names := [name for name, value in given.items() if value]:
        raise OptionError(
            f"{', '.join(names)}: the model is loaded already, and pipeline takes nothing else with it.\n"
            "Try: the artifact's directory instead; options of a call belong to the call."
        )
    return Pipeline(artifact)
