"""The base of the public pipelines: a diffusers pipeline whose components are shells."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from neuronkit.artifact.manifest import Manifest
from neuronkit.errors import ArtifactMismatchError, FixedGraphError, InputError
from neuronkit.models.fixed import Fixed, refusing, unchanging
from neuronkit.models.parts import replace_parts
from neuronkit.models.saving import OfArtifact
from neuronkit.processors import Processors, read_config
from neuronkit.shells import Shell

if TYPE_CHECKING:
    from neuronkit.session import Session

_IGNORED = (
    "disable_attention_slicing",
    "disable_vae_slicing",
    "disable_vae_tiling",
    "disable_xformers_memory_efficient_attention",
    "enable_attention_slicing",
    "enable_group_offload",
    "enable_model_cpu_offload",
    "enable_sequential_cpu_offload",
    "enable_vae_slicing",
    "enable_vae_tiling",
    "enable_xformers_memory_efficient_attention",
    "set_use_memory_efficient_attention_xformers",
)
"""Methods that save memory: accepted, without effect, and said so once."""
_DIRECTORY = "directory"
"""What the session keeps a temporary artifact's directory as."""
_REFUSED = {
    "disable_freeu": "freeu",
    "enable_freeu": "freeu",
    "fuse_qkv_projections": "fuse_qkv_projections",
    "load_ip_adapter": "ip_adapter_ids, with ip_adapter_subfolders, ip_adapter_weight_names and ip_adapter_scales",
    "load_textual_inversion": "textual_inversion",
    "set_ip_adapter_scale": "ip_adapter_scales",
    "unfuse_qkv_projections": "fuse_qkv_projections",
    "unload_ip_adapter": "ip_adapter_ids",
    "unload_textual_inversion": "textual_inversion",
}
"""Methods that change a graph, and the compile option that does the same."""


class NeuronDiffusionPipeline(OfArtifact, Fixed):
    """
    What a compiled pipeline has beside the diffusers pipeline that it is.

    It stands before a diffusers class in the order of inheritance. That class's own ``__call__`` runs; only a height and
    a width other than the compiled ones are refused first.
    """

    architecture: ClassVar[str]
    """What a checkpoint is compiled as, whatever its ``model_index.json`` calls itself."""
    task: ClassVar[str]
    accepts: ClassVar[tuple[str, ...]] = ()
    """Architectures whose artifacts have the same components."""
    _session: Session | None = None
    _loaded: Mapping[str, Any] = MappingProxyType({})

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        eager = cls._eager_class()
        if eager is not None and "__call__" not in vars(cls):
            cls.__call__ = _checking_sizes(eager.__call__)  # type: ignore[method-assign]
            for name in _IGNORED:  # also those that a release of diffusers has dropped
                setattr(cls, name, unchanging(name))
            for name, option in _REFUSED.items():
                if hasattr(eager, name):
                    setattr(cls, name, refusing(name, option))

    @classmethod
    def _eager_class(cls) -> Any:
        """Return the diffusers class that runs, or None for a base."""
        from diffusers import DiffusionPipeline

        return next(
            (
                base
                for base in cls.__mro__
                if issubclass(base, DiffusionPipeline) and not issubclass(base, NeuronDiffusionPipeline)
            ),
            None,
        )

    @property
    def _described(self) -> str:
        """What messages call it."""
        return "the pipeline"

    @classmethod
    def make_shells(cls, session: Session, classes: Mapping[str, Any]) -> dict[str, Any]:
        """Return a shell per compiled component; the classes of all components are those of ``model_index.json``."""
        raise NotImplementedError

    @classmethod
    def from_pretrained(
        cls, model: str | Path, *, export: bool = False, trust_artifact: bool = False, **kwargs: Any
    ) -> Self:
        """
        Load an artifact, or compile a checkpoint first.

        Args:
            model: An artifact's directory or hub id; with `export` a checkpoint's.
            export: Compile; what comes out is kept until `save_pretrained`.
            trust_artifact: Load an artifact from the hub, although it holds native code.
            **kwargs: Components to use in place of the artifact's (``scheduler=``, ``safety_checker=None``); and with
                `export` shapes and options for `neuronkit.compile` (``height=512``, ``num_images_per_prompt=4``), without it
                only where to find the artifact (``revision``, ``subfolder``, ``token``, ``local_files_only``).

        Raises:
            ArtifactNotFoundError: `model` is a checkpoint, and `export` is False.
            ArtifactMismatchError: The artifact has other components than this pipeline needs.
            OptionError: A shape or an option is unknown or of a wrong value.

        """
        from neuronkit.loading import compile_temporarily, find_artifact, location_options, open_with_plugin

        expected, settings = cls._eager_class()._get_signature_keys(cls)
        own = {name: kwargs.pop(name) for name in list(kwargs) if name in {*expected, *settings}}
        kept: object = None
        if export:
            artifact, kept = compile_temporarily(model, task=f"{cls.architecture}.{cls.task}", given=kwargs)
        else:
            artifact = find_artifact(model, location_options(model, kwargs), trust_artifact=trust_artifact)
            cls._require_fitting(artifact.manifest, artifact.path)
        pipeline = cls.from_session(open_with_plugin(artifact), **own)
        pipeline._keep_alive = kept
        return pipeline

    @classmethod
    def _require_fitting(cls, manifest: Manifest, path: Path) -> None:
        accepted = (cls.architecture, *cls.accepts)
        if manifest.architecture not in accepted:
            raise ArtifactMismatchError(
                f"{path} was compiled as {manifest.key}, and {cls.__name__} needs the components of "
                f"{' or '.join(accepted)}.\n"
                "Try: neuronkit.load, which picks the class."
            )

    @classmethod
    def from_session(cls, session: Session, **own: Any) -> Self:
        """
        Return the pipeline over an opened artifact.

        Args:
            session: The artifact.
            **own: Components and settings to use in place of the artifact's.

        """
        path = session.artifact.path
        cls._require_fitting(session.manifest, path)
        index = read_config(path)
        expected, settings = cls._eager_class()._get_signature_keys(cls)
        classes = component_classes(path)
        shells = cls.make_shells(session, classes)
        parts = {**{name: shell for name, shell in shells.items() if name in expected}, **own}
        for name in expected:
            if name not in parts:
                parts[name] = _load_part(path / name, *classes[name]) if name in classes else None
        for name in settings:
            if name in index and name not in parts:
                parts[name] = index[name]
        pipeline = cls(**parts)
        pipeline.session = session
        pipeline._loaded = {name: part for name, part in parts.items() if name not in own}
        return pipeline

    @classmethod
    def from_pipe(cls, pipeline: Any, **kwargs: Any) -> Any:
        """
        Return this pipeline over the components of another one; nothing is loaded again.

        A compiled component that the other one has no place for, such as a ControlNet, is that of the artifact.

        Args:
            pipeline: A compiled pipeline, or one of diffusers' own with compiled components.
            **kwargs: Components and settings to replace.

        Raises:
            InputError: No component is compiled, or one is missing.

        """
        eager = cls._eager_class()
        expected, _ = eager._get_signature_keys(cls)
        shells = {
            name: component
            for name, component in pipeline.components.items()
            if isinstance(component, Shell) and name in expected
        }
        if not shells:
            raise InputError(
                f"{type(pipeline).__name__} has no compiled component, and {cls.__name__} needs them.\n"
                f"Try: {cls.__name__}.from_pretrained(..., export=True)."
            )
        first = next(iter(shells.values()))
        lacking = set(expected) - {*pipeline.components, *kwargs}
        classes = component_classes(first.session.artifact.path)
        shells |= cls.make_shells(first.session, {name: classes[name] for name in lacking & classes.keys()})
        parameters = inspect.signature(eager.__init__).parameters
        required = {name for name in lacking if parameters[name].default is inspect.Parameter.empty}
        if missing := sorted(required - {*shells, *eager._optional_components}):
            raise InputError(
                f"{type(pipeline).__name__} has no {missing[0]}, and {cls.__name__} needs one.\n"
                f"Try: {cls.__name__}.from_pretrained(..., export=True)."
            )
        made = super().from_pipe(pipeline, **{**shells, **kwargs})  # type: ignore[misc]
        made.session = first.session
        if isinstance(pipeline, NeuronDiffusionPipeline):
            made._loaded = pipeline._loaded
        return made

    @property
    def session(self) -> Session:
        """
        The artifact; that of a pipeline that was made of components is the first compiled one's.

        Raises:
            InputError: No component is compiled.

        """
        if self._session is None:
            components: Mapping[str, Any] = self.components  # type: ignore[attr-defined]  # of the pipeline
            shells = [component for component in components.values() if isinstance(component, Shell)]
            if not shells:
                raise InputError(
                    f"{type(self).__name__} has no compiled component.\n"
                    f"Try: {type(self).__name__}.from_pretrained, or the components of a compiled pipeline."
                )
            self._session = shells[0].session
        return self._session

    @session.setter
    def session(self, session: Session) -> None:
        self._session = session

    @property
    def _keep_alive(self) -> object:
        """What removes a temporary artifact when it ends: it lasts as long as the session."""
        return self.session.extras.get(_DIRECTORY)

    @_keep_alive.setter
    def _keep_alive(self, kept: object) -> None:
        self.session.extras[_DIRECTORY] = kept

    def _save_own(self, directory: Path) -> None:
        replace_parts(directory, *self._replaced())

    def _own_is_saved(self) -> None:
        parts, _ = self._replaced()
        self._loaded = {**self._loaded, **parts}

    def _replaced(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the components that are not those of the artifact, and what ``model_index.json`` is to say."""
        pipeline: Any = self
        parts: dict[str, Any] = {}
        loaded = self._loaded or self.make_shells(self.session, component_classes(self.session.artifact.path))
        for name, component in pipeline.components.items():
            before = loaded.get(name)
            own = isinstance(component, Shell) and component.session is self.session and component.component == name
            if isinstance(before, Shell):
                own = own and component.real_class is before.real_class  # one of several ControlNets is not all of them
            if component is before or own:
                continue
            if isinstance(before, Shell):
                raise FixedGraphError(
                    f"save_pretrained writes the compiled {name}, and the pipeline has another one.\n"
                    f"Try: put the compiled {name} back, or compile a checkpoint that has the other one."
                )
            parts[name] = component
        pipeline.register_modules(**parts)
        _, settings = self._eager_class()._get_signature_keys(type(self))
        return parts, {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in pipeline.config.items()
            if name in parts or name in settings
        }

    @property
    def processors(self) -> Processors:
        """What a generic caller finds the artifact's small files by."""
        return Processors(self.session.artifact.path, self.session.limits)

    @property
    def compiled_sizes(self) -> list[tuple[int, int]]:
        """Height and width, in pixels, of every compiled resolution, in the order in which they were asked for."""
        shapes = self.session.manifest.shapes
        heights, widths = shapes["height"], shapes["width"]
        count = max(len(heights), len(widths))
        return list(zip(heights * (count // len(heights)), widths * (count // len(widths)), strict=True))

    @property
    def data_parallel_mode(self) -> str:
        """Which components are on several cores: ``"none"``, ``"unet"`` (of aMUSEd ``"transformer"``) or ``"all"``."""
        return str(self.session.manifest.plugin_options.get("data_parallel_mode", "none"))

    def for_arguments(self, arguments: Mapping[str, Any]) -> Any:
        """Return the pipeline for a call's arguments: this one, unless its class leaves them to a sibling."""
        return self

    def check_sizes(self, given: dict[str, Any]) -> None:
        """
        Fill in height and width of a call.

        Args:
            given: The call's arguments by name; changed in place.

        Raises:
            InputError: No compiled resolution has this height and this width.

        """
        compiled = self.compiled_sizes
        height, width = given.get("height"), given.get("width")
        fitting = [size for size in compiled if height in (None, size[0]) and width in (None, size[1])]
        if not fitting:
            asked = " x ".join("any" if size is None else str(size) for size in (height, width))
            known = ", ".join(f"{tall} x {wide}" for tall, wide in compiled)
            raise InputError(
                f"height x width of {asked} was asked for, and the pipeline was compiled for {known}.\n"
                "Try: one of these, or compile again with another height and width."
            )
        given["height"], given["width"] = fitting[0]


def component_classes(directory: Path) -> dict[str, tuple[str, str]]:
    """Return library and class of every component of a pipeline, as its ``model_index.json`` has them."""
    index = read_config(directory)
    return {
        name: (value[0], value[1]) for name, value in index.items() if isinstance(value, list) and value[0] is not None
    }


def _checking_sizes(call: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(call)

    @functools.wraps(call)
    def checked(self: NeuronDiffusionPipeline, *args: Any, **kwargs: Any) -> Any:
        if "height" not in signature.parameters:
            return call(self, *args, **kwargs)
        bound = signature.bind(self, *args, **kwargs)
        self.check_sizes(bound.arguments)
        return call(*bound.args, **bound.kwargs)

    return checked


def _load_part(folder: Path, library: str, name: str) -> Any:
    """Load a component that is not compiled; an unknown library is one of diffusers' pipeline folders."""
    import diffusers
    import transformers

    home = {"diffusers": diffusers, "transformers": transformers}.get(library) or getattr(diffusers.pipelines, library)
    return getattr(home, name).from_pretrained(folder)
