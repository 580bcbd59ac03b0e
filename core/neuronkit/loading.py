"""The load journey: artifact -> plugin -> session -> shell."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuronkit.artifact.reader import Artifact, open_artifact, verify
from neuronkit.errors import ArtifactMismatchError, ArtifactNotFoundError, ArtifactUntrustedError, OptionError
from neuronkit.manager import ask, make_manager, options_class
from neuronkit.options import SourceOptions, build, names
from neuronkit.paths import named_directory
from neuronkit.plugins import active_extensions, get_registry, resolve_backend
from neuronkit_registry import LoadedPlugin, UnknownPluginError

if TYPE_CHECKING:
    from neuronkit.session import Session


def find_artifact(model: str | Path, options: SourceOptions, *, trust_artifact: bool) -> Artifact:
    """
    Return an artifact in a directory, or one downloaded from the hub.

    Raises:
        ArtifactNotFoundError: There is none.
        ArtifactUntrustedError: It would come from the hub, and `trust_artifact` is False.
        SourceError: The hub could not be reached.
    """
    from neuronkit.export.hub import download, is_hub_id

    if not isinstance(model, (str, Path)) or not str(model):
        raise ArtifactNotFoundError(
            f"An artifact is named by its directory or its hub id (got {model!r}).\n"
            "Try: the directory that neuronkit compile wrote."
        )
    path = named_directory(model, "An artifact", ArtifactNotFoundError)
    if not path.is_dir():
        if not is_hub_id(str(model)):
            raise ArtifactNotFoundError(
                f"There is no directory {str(model)!r}, and it is not a hub id either.\n"
                "Try: the directory that `neuronkit compile` wrote."
            )
        if not trust_artifact:
            raise ArtifactUntrustedError(
                f"There is no directory {str(model)!r}, and an artifact from the hub holds native code that runs unchecked.\n"
                "Try: trust_artifact=True (--trust-artifact), if you trust who made it."
            )
        path = download(str(model), options, everything=True)
    return open_artifact(path / options.subfolder if options.subfolder else path)


def location_options(model: str | Path, given: Mapping[str, Any]) -> SourceOptions:
    """
    Return the options of whoever loads an artifact, which say where it is and nothing else.

    Args:
        model: Directory or hub id.
        given: Fields of `SourceOptions`.

    Raises:
        OptionError: A name is unknown, or was set by the compile, or a value is wrong; the message has a line for each.
        ArtifactNotFoundError: There are other names, and the directory holds no artifact.
    """
    fixed: dict[str, Any] = {}
    more = set(given) - set(names(SourceOptions))
    if more:
        path = named_directory(model, "An artifact", ArtifactNotFoundError) / str(given.get("subfolder") or "")
        if path.is_dir():
            manifest = open_artifact(path).manifest
            fixed = {**manifest.options, **manifest.plugin_options}
            fixed |= {name: ", ".join(map(str, sizes)) for name, sizes in manifest.shapes.items()}
    options: SourceOptions = build(SourceOptions, given, "call", fixed=fixed)
    return options


def resolve_plugin(artifact: Artifact, task: str | None = None) -> LoadedPlugin:
    """
    Return the plugin that made an artifact, or the one of another task of the same architecture.

    Raises:
        neuronkit_registry.PluginError: It is not installed, or cannot be used.
    """
    from neuronkit.tasks import canonical_task

    manifest = artifact.manifest
    registry = get_registry()
    if task is not None:
        name, _, package = task.partition("@")
        key = name if "." in name else f"{manifest.architecture}.{canonical_task(name)}"
        return registry.resolve(key, package or None)
    made_by = manifest.plugin
    try:
        loaded = registry.resolve(manifest.key, made_by.package)
    except UnknownPluginError as error:
        if made_by.package is None:
            raise
        raise UnknownPluginError(
            f"{artifact.path} was made by {manifest.key!r} of {made_by.package} {made_by.version or ''}".rstrip()
            + ", which is not installed",
            hint=f"pip install {made_by.package}" + (f"=={made_by.version}" if made_by.version else ""),
        ) from error
    if made_by.package is not None and loaded.info.version != made_by.version:
        print(  # noqa: T201
            f"note: {artifact.path} was made by {made_by.package} {made_by.version}, and {loaded.info.version} is installed",
            file=sys.stderr,
        )
    return loaded


def open_shell(artifact: Artifact, *, task: str | None = None, placement: str | None = None) -> Any:
    """
    Load an artifact that was found: verify it, open its graphs, and return the plugin's shell around them.

    Raises:
        ArtifactMismatchError: `task` is one that its graphs do not serve.
    """
    from neuronkit.models import NeuronBaseModel

    session = open_with_plugin(artifact, task=task, placement=placement)
    shell = ask(session.hook, "shell", session=session)
    wanted = getattr(shell, "task", None)
    if task is not None and isinstance(shell, NeuronBaseModel) and wanted not in (None, artifact.manifest.task):
        raise ArtifactMismatchError(
            f"{artifact.path} was compiled for {artifact.manifest.task}, and its graph has not what {wanted} needs.\n"
            f"Try: without a task, or compile the checkpoint for {wanted}."
        )
    return shell


def open_with_plugin(artifact: Artifact, *, task: str | None = None, placement: str | None = None) -> Session:
    """Verify an artifact that was found and open its graphs through the hooks of its plugin."""
    loaded = resolve_plugin(artifact, task)
    hook = make_manager(loaded.plugin, active_extensions()).hook
    if task is None and artifact.manifest.plugin_options:
        _say_lost_options(artifact, loaded, hook)
    backend = resolve_backend(artifact.manifest.backend)
    verify(artifact)
    session: Session = ask(hook, "load", artifact=artifact, backend=backend, placement=placement)
    session.attach(hook, task=task, placement=placement)
    return session


def _say_lost_options(artifact: Artifact, loaded: LoadedPlugin, hook: Any) -> None:
    """Print which options of the compile, the defaults of every call, an upgrade or a change of the plugin has taken away."""
    recorded = artifact.manifest.plugin_options
    known = names(options_class(hook))
    if lost := [f"{name}={value}" for name, value in recorded.items() if name not in known]:
        print(  # noqa: T201
            f"note: {artifact.path} was compiled with {', '.join(lost)}, and the plugin of {loaded.info.provider} has no such "
            "option any more",
            file=sys.stderr,
        )


def reopen(path: str, task: str | None = None, placement: str | None = None) -> Session:
    """Open the artifact of a session that was copied or pickled."""
    return open_with_plugin(open_artifact(path), task=task, placement=placement)


class _Kept(tempfile.TemporaryDirectory[str]):
    """The directory of an artifact that nobody named: it goes with the object around it."""

    def __reduce__(self) -> tuple[Any, ...]:
        raise ArtifactNotFoundError(
            f"The artifact in {self.name} goes with the object that it was compiled for, so that the object cannot be copied or "
            "pickled.\nTry: save_pretrained(directory), and a copy of from_pretrained(directory)."
        )


def load_shell(
    model: str | Path,
    *,
    trust_artifact: bool = False,
    task: str | None = None,
    placement: str | None = None,
    given: Mapping[str, Any] | None = None,
) -> Any:
    """
    Load an artifact. See `neuronkit.load`.

    Args:
        model: Directory or hub id.
        trust_artifact: Load native code from the hub.
        task: Another task of the artifact's architecture; None takes its own.
        placement: Where to put it, in the backend's words.
        given: Fields of `SourceOptions`.
    """
    options = location_options(model, given or {})
    if options.config is not None:
        raise OptionError("config: an artifact has its configuration inside. Try: without it, or export=True.")
    return open_shell(find_artifact(model, options, trust_artifact=trust_artifact), task=task, placement=placement)


def compile_and_load(model: str | Path, *, task: str | None, given: Mapping[str, Any]) -> Any:
    """Compile a checkpoint into a temporary directory that lasts as long as the shell that is returned."""
    artifact, kept = compile_temporarily(model, task=task, given=given)
    shell = open_shell(artifact)
    shell._keep_alive = kept
    return shell


def compile_temporarily(model: str | Path, *, task: str | None, given: Mapping[str, Any]) -> tuple[Artifact, object]:
    """Compile a checkpoint, and return the artifact with the object whose end removes it."""
    from neuronkit.compilation.journey import compile_model

    values = dict(given)
    backend = values.pop("backend", "cpu")
    kept = _Kept(prefix="neuronkit-")
    return compile_model(model, Path(kept.name) / "artifact", task=task, backend_name=backend, given=values), kept


def replace_weights(session: Any, checkpoint: str | Path, given: Mapping[str, Any]) -> tuple[Any, object]:
    """
    Return a session of the same graphs with another checkpoint's weights, and what must outlive it.

    Raises:
        WeightsError: The weights are inside the graphs, or do not fit them.
    """
    from neuronkit.compilation.replacement import bind_checkpoint

    kept = _Kept(prefix="neuronkit-")
    artifact = bind_checkpoint(session.artifact, checkpoint, given, Path(kept.name) / "artifact")
    return open_shell(artifact).session, kept
