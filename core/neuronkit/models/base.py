"""The base of the public classes: the HF-facing object around a session."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self

import torch
from torch import nn

from neuronkit.errors import ArtifactIncompatibleError, ArtifactMismatchError, FixedGraphError, InputError
from neuronkit.models.fixed import FixedModule
from neuronkit.models.outputs import Outputs
from neuronkit.models.saving import OfArtifact
from neuronkit.padding import remove_padding
from neuronkit.processors import Processors, require_there
from neuronkit_registry import PluginContractError

if TYPE_CHECKING:
    from neuronkit.artifact.reader import Artifact
    from neuronkit.session import Session


class NeuronBaseModel(OfArtifact, FixedModule, nn.Module):
    """
    A compiled model.

    It looks like a transformers model from outside (`config`, `device`, `dtype`, keyword calls, outputs by attribute, key and
    index) and has no parameters of its own: the weights belong to the session. What else an eager model has, and a compiled one
    has not, is an ``AttributeError`` that says so.

    A subclass sets ``task``: the one that it compiles for, and the only one whose artifacts it loads; and
    ``auto_model_class_name`` where transformers has an auto class for it. `run` runs the first graph; a class of a model with
    several has a `forward` that runs them by ``self.session.forward(graph, tensors)``.

    Args:
        session: The loaded artifact.

    Raises:
        ArtifactIncompatibleError: The class of its outputs is no longer there.

    """

    task: ClassVar[str | None] = None
    """The only task whose artifacts the class loads; None loads what its own plugin returns as this class."""
    auto_model_class_name: ClassVar[str | None] = None
    main_input_name = "input_ids"
    base_model_prefix = "neuron_model"

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self._keep_alive: object = None
        manifest = session.manifest
        self._output_class = (
            Outputs if manifest.output_class is None else _output_class(session.artifact, manifest.output_class)
        )
        self._graph = next(iter(session.graphs))
        self.training = False

    @classmethod
    def from_pretrained(
        cls, model: str | Path, *, export: bool = False, trust_artifact: bool = False, **shapes_and_options: Any
    ) -> Self:
        """
        Load an artifact, or compile a checkpoint first.

        Args:
            model: An artifact's directory or hub id; with `export` a checkpoint's.
            export: Compile; what comes out is kept until `save_pretrained`.
            trust_artifact: Load an artifact from the hub, although it holds native code.
            **shapes_and_options: For `neuronkit.compile` (``batch_size=1``, ``sequence_length=128``, ``auto_cast="matmul"``);
                without `export` only where to find the artifact (``revision``, ``subfolder``, ``token``, ``local_files_only``).

        Raises:
            ArtifactNotFoundError: `model` is a checkpoint, and `export` is False.
            ArtifactMismatchError: The artifact was compiled for another task.
            OptionError: A shape or an option is unknown or of a wrong value.

        """
        from neuronkit.loading import compile_and_load, load_shell

        if export:
            shell = compile_and_load(model, task=cls.task, given=shapes_and_options)
        else:
            shell = load_shell(model, trust_artifact=trust_artifact, given=shapes_and_options)
        return cls.of(shell)

    @classmethod
    def of(cls, shell: Any) -> Self:
        """
        Return a shell as this class, which must be the class of its task.

        Raises:
            ArtifactMismatchError: The artifact was compiled for another task, or the class does not say for which it is.

        """
        if isinstance(shell, cls):
            return shell
        manifest = shell.session.manifest
        if cls.task is None:
            raise ArtifactMismatchError(
                f"{shell.session.artifact.path} was compiled for {manifest.key}, and {cls.__name__} does not say for which task "
                f"it is.\nTry: {type(shell).__name__}, or task = {manifest.task!r} in the class {cls.__name__}, if it is meant."
            )
        if cls.task != manifest.task:
            raise ArtifactMismatchError(
                f"{shell.session.artifact.path} was compiled for {manifest.task}, and {cls.__name__} runs {cls.task}.\n"
                f"Try: {type(shell).__name__}, or neuronkit.load, which picks the class; or compile the checkpoint with "
                f"--task {cls.task}."
            )
        model = cls(shell.session)
        model._keep_alive = shell._keep_alive
        return model

    def forward(self, **tensors: torch.Tensor) -> Any:
        """Run the model on its graph's named inputs; see `run`."""
        return self.run(tensors)

    def run(self, tensors: Mapping[str, Any], *, return_dict: bool | None = None) -> Any:
        """
        Run the model.

        Args:
            tensors: By input name; those that are None count as missing.
            return_dict: False returns a tuple; None does not, whatever the configuration says.

        Returns:
            The class that transformers would return, by attribute, key and index.

        Raises:
            InputError: A tensor is unknown, missing, empty, of a wrong rank or dtype, or longer than the largest bucket.
            neuronkit_registry.PluginContractError: The plugin's output class has no place for the outputs.

        """
        given = {name: tensor for name, tensor in tensors.items() if tensor is not None}
        try:
            outputs = self.session.forward(self._graph, given)
        except InputError as error:
            others = [name for name in self.session.graphs if name != self._graph]
            if not others:
                raise
            raise InputError(
                f"{error}\nThis class runs the first graph alone, and there are others: {', '.join(others)}.\n"
                "Try: session.forward(graph, tensors); a plugin's hook `shell` returns a class that runs all."
            ) from error
        if return_dict is False:
            return tuple(outputs.values())
        try:
            return self._output_class(**outputs)
        except TypeError as error:
            raise PluginContractError(
                f"the output class {self.session.manifest.output_class} cannot be made of the outputs {', '.join(outputs)}: "
                f"{error}",
                hint="an output_class of the ExportConfig that has a field for each output",
            ) from error

    @cached_property
    def config(self) -> Any:
        """The checkpoint's configuration, as transformers reads it; a plain namespace where it does not know the architecture."""
        from transformers import AutoConfig, PretrainedConfig
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING

        values = self.processors.config
        if values.get("model_type") in CONFIG_MAPPING or (self.processors.trust_remote_code and "auto_map" in values):
            require_there(self.model_save_dir)
            return AutoConfig.from_pretrained(self.model_save_dir, trust_remote_code=self.processors.trust_remote_code)
        return PretrainedConfig.from_dict(values)

    @cached_property
    def processors(self) -> Processors:
        """What turns raw input into tensors."""
        return Processors(
            self.model_save_dir, self.limits, trust_remote_code=self.session.manifest.source.trust_remote_code
        )

    @property
    def tokenizer(self) -> Any:
        """The artifact's tokenizer."""
        return self.processors.tokenizer

    @property
    def limits(self) -> dict[str, int]:
        """The largest size of every axis."""
        return self.session.limits

    @property
    def model_type(self) -> str:
        """The architecture."""
        return self.session.manifest.architecture

    @property
    def name_or_path(self) -> str:
        """Where the model was loaded from: the artifact's directory, which has its tokenizer and its configuration, too."""
        return str(self.model_save_dir)

    @property
    def auto_model_class(self) -> Any:
        """Transformers' auto class of the task, or None."""
        import transformers

        return getattr(transformers, self.auto_model_class_name) if self.auto_model_class_name else None

    @property
    def model_save_dir(self) -> Path:
        """The artifact's directory."""
        return self.session.artifact.path

    @property
    def _described(self) -> str:
        """What messages call it."""
        return "the model"

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """
        Return what a larger module saves of this one, which is nothing.

        Raises:
            FixedGraphError: The state of the model itself was asked for.

        """
        if not args and destination is None and not prefix:
            raise FixedGraphError(
                "A compiled model has no parameters of its own, and its state_dict would be empty.\n"
                "Try: save_pretrained(directory), which keeps the weights and the graphs; "
                f"session.weights({self._graph!r}) returns the weights."
            )
        return super().state_dict(*args, destination=destination, prefix=prefix, keep_vars=keep_vars)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> NoReturn:
        """
        Refuse to load a state, which would change nothing.

        Raises:
            FixedGraphError: Always.

        """
        raise FixedGraphError(
            "load_state_dict would change nothing: a compiled model has no parameters of its own.\n"
            "Try: replace_weights(checkpoint), or from_pretrained for what save_pretrained wrote."
        )

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Yield an empty tensor that has the model's device and dtype, for which callers ask the first parameter; no weights."""
        yield nn.Parameter(torch.empty(0, dtype=self.dtype, device=self.device), requires_grad=False)

    def tie_weights(self, *_: Any, **__: Any) -> None:
        """Do nothing: weights that are one in the checkpoint are one in the graph."""

    def __getattr__(self, name: str) -> Any:
        """
        Say of what an eager model has that a compiled one has not.

        Raises:
            AttributeError: Always, as for every unknown name, but for what torch registered.
        """
        try:
            return super().__getattr__(name)
        except AttributeError as error:
            if name.startswith("_") or not _is_of_eager_models(name):
                raise
            raise AttributeError(
                f"{type(self).__name__} has no {name}: it is compiled, and has no layers or weights to return or to change.\n"
                "Try: the eager model of the checkpoint, and compile what comes out if it was changed.",
                name=name,
                obj=self,
            ) from error

    def can_generate(self) -> bool:
        """Tell whether `generate` works."""
        return False

    @staticmethod
    def remove_padding(
        outputs: Mapping[str, torch.Tensor] | Sequence[torch.Tensor],
        dims: Sequence[int],
        indices: Sequence[int],
        padding_side: str = "right",
    ) -> dict[str, torch.Tensor] | list[torch.Tensor]:
        """Cut padded outputs; see `neuronkit.remove_padding`."""
        return remove_padding(outputs, dims, indices, padding_side)

    def replace_weights(self, checkpoint: str | Path, **source_options: Any) -> None:
        """
        Give the compiled graphs the weights of another checkpoint of the same architecture, without compiling.

        Its settings hold as well: configuration, tokenizer, and whatever else was read of the checkpoint before.

        Args:
            checkpoint: Directory or hub id.
            **source_options: ``revision``, ``subfolder``, ``token`` and the like.

        Raises:
            WeightsError: The weights are inside the graphs (``inline_weights=True``), or do not fit them.
            ValidationError: The result differs from the eager model.

        """
        from neuronkit.loading import replace_weights

        self.session, self._keep_alive = replace_weights(self.session, checkpoint, source_options)
        for kind in type(self).__mro__:
            for name, value in vars(kind).items():
                if isinstance(value, cached_property):
                    self.__dict__.pop(name, None)

    def extra_repr(self) -> str:
        """Say what was compiled."""
        manifest = self.session.manifest
        return f"{manifest.key}, backend={manifest.backend}, {self.get_input_static_shapes()}"


def _is_of_eager_models(name: str) -> bool:
    from transformers import PreTrainedModel

    return hasattr(PreTrainedModel, name)


def _output_class(artifact: Artifact, target: str) -> Any:
    module, _, name = target.partition(":")
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ArtifactIncompatibleError(
            f"{artifact.path} gives its outputs as {target}, which is not there: {error}.\nTry: {artifact.manifest.rebuild}"
        ) from error
    return found
