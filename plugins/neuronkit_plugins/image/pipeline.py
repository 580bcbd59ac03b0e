"""The base of image pipelines, and of the Stable Diffusion family: SD, SDXL and LCM."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import nn

from neuronkit import get_registry
from neuronkit.errors import FixedGraphError, InputError, OptionError
from neuronkit.export import ExportConfig, Graph, Tolerance
from neuronkit.export.source import Source
from neuronkit.models.diffusion import NeuronDiffusionPipeline
from neuronkit.session import Session
from neuronkit.shells import Shell
from neuronkit_plugins.image.checked import raising_own, requiring_steps
from neuronkit_plugins.image.checkpoint import load_adapted, write_files
from neuronkit_plugins.image.components.controlnet import COMPONENT as CONTROLNET
from neuronkit_plugins.image.components.controlnet import controlnet_graph, controlnets_of, require_fitting
from neuronkit_plugins.image.components.sizes import Sizes
from neuronkit_plugins.image.components.text_encoder import text_encoder_graph
from neuronkit_plugins.image.components.unet import unet_graph
from neuronkit_plugins.image.components.vae import vae_graphs
from neuronkit_plugins.image.lora import Loras
from neuronkit_plugins.image.lora_file import MODULE_PATHS, Lora
from neuronkit_plugins.image.options import AdaptedOptions
from neuronkit_plugins.image.shells import make_shells, require_supported

_LORAS = "loras"
"""What the session keeps its LoRAs as."""


class ImagePipeline(NeuronDiffusionPipeline):
    """What all image pipelines have in common."""

    options_class: ClassVar[type]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "task" in vars(cls):
            choose = getattr(cls._eager_class(), "get_timesteps", None)
            if choose is not None:  # diffusers itself looks in some of its pipelines only
                cls.get_timesteps = requiring_steps(choose)  # type: ignore[attr-defined]
            check = getattr(cls._eager_class(), "check_inputs", None)
            if check is not None:
                cls.check_inputs = raising_own(check)  # type: ignore[attr-defined]

    @classmethod
    def make_shells(cls, session: Session, classes: Mapping[str, Any]) -> dict[str, Any]:
        """Return a shell per compiled component."""
        return make_shells(session, classes)

    @property
    def served_tasks(self) -> tuple[str, ...]:
        """The tasks that the compiled components can do, the one for which they were made first."""
        return "text-to-image", "image-to-image", "inpainting"

    def named(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a call's arguments by the names that this pipeline has for them."""
        return arguments

    def for_arguments(self, arguments: Mapping[str, Any]) -> Any:
        """
        Return the pipeline for a call's arguments: by what is given, this one or a sibling over the same components.

        A pipeline of another task than the artifact's was asked for; it leaves nothing to a sibling, unless it starts from text.

        Raises:
            InputError: The architecture has no such task.

        """
        if self.task not in ("text-to-image", self.session.manifest.task):
            return self
        given = {"inpainting": arguments.get("mask_image"), "image-to-image": arguments.get("image")}
        task = next((task for task, value in given.items() if value is not None), "text-to-image")
        served = self.served_tasks
        task = task if task in served else served[0]
        if task == self.task:
            return self
        registry, key = get_registry(), f"{self.architecture}.{task}"
        if key not in registry:
            raise InputError(f"{type(self).__name__} takes no mask: diffusers has no {task} for {self.architecture}.")
        sibling = registry.resolve(key).plugin.pipeline.from_pipe(self)
        sibling.set_progress_bar_config(**getattr(self, "_progress_bar_config", {}))
        return sibling


class NeuronStableDiffusionPipelineBase(ImagePipeline):
    """A pipeline of text encoders, a UNet and a VAE, all compiled; the VAE's encoder too, whatever the task."""

    options_class = AdaptedOptions

    @classmethod
    def export_config(cls, source: Source, shapes: Mapping[str, list[int]], options: AdaptedOptions) -> ExportConfig:
        """
        Declare the graphs of a checkpoint.

        Raises:
            OptionError: A component is of a class that has no graph, or a size does not fit the VAE.

        """
        pipeline = load_adapted(source, cls._eager_class(), options)
        encoders = {name: pipeline.components.get(name) for name in ("text_encoder", "text_encoder_2")}
        encoders = {name: encoder for name, encoder in encoders.items() if encoder is not None}
        controlnets = controlnets_of(pipeline.components.get(CONTROLNET))
        compiled = {**encoders, "unet": pipeline.unet, "vae": pipeline.vae, **controlnets}
        require_supported(compiled)
        for name, net in controlnets.items():
            require_fitting(name, net, pipeline.unet)
        factor = 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
        trained = pipeline.unet.config.sample_size
        tall, wide = (trained, trained) if isinstance(trained, int) else trained
        sizes = image_sizes(shapes, tall * factor, wide * factor, factor)
        last = list(encoders.values())[-1]
        pooled = last.config.projection_dim if pipeline.unet.config.addition_embed_type == "text_time" else None
        sequence = last.config.max_position_embeddings
        graphs: list[Graph] = [
            *(text_encoder_graph(name, encoder, sizes) for name, encoder in encoders.items()),
            *(controlnet_graph(name, net, sizes, sequence, pooled) for name, net in controlnets.items()),
            unet_graph(pipeline.unet, sizes, sequence, pooled, ip_adapter_rows(pipeline), controlled=bool(controlnets)),
            *vae_graphs(pipeline.vae, sizes),
        ]
        return ExportConfig(
            load=lambda: nn.ModuleDict(compiled),
            graphs=graphs,
            tolerance=Tolerance(relative=True),
            shapes=sizes.shapes,
            write_files=lambda directory: write_files(source, pipeline, compiled, directory),
        )

    @property
    def served_tasks(self) -> tuple[str, ...]:
        """The tasks that the UNet can do: one with inputs for a masked image only inpaints, a refiner needs an image."""
        pipeline: Any = self
        if pipeline.unet.config.in_channels != pipeline.vae.config.latent_channels:
            return ("inpainting",)
        if pipeline.config.get("requires_aesthetics_score"):
            return "image-to-image", "inpainting"
        return super().served_tasks

    @classmethod
    def from_single_file(cls, file: str | Path, *, config: str | Path | None = None, **kwargs: Any) -> Self:
        """
        Compile a checkpoint that is one file.

        Args:
            file: A ``.safetensors`` or ``.ckpt`` file; of the latter no code is run.
            config: Directory with the configurations of such a checkpoint; None fetches those that diffusers knows it by.
            **kwargs: Components, shapes and options, as for `from_pretrained`.

        """
        return cls.from_pretrained(file, export=True, config=None if config is None else str(config), **kwargs)

    @property
    def loras(self) -> Loras:
        """The LoRAs of the session; pipelines that share its components share them."""
        extras = self.session.extras
        if _LORAS not in extras:
            extras[_LORAS] = Loras(self.session, self._eager_class())
        made: Loras = extras[_LORAS]
        return made

    def _require_compiled(self, loras: Iterable[Lora]) -> None:
        """
        Refuse LoRAs of components that the pipeline no longer calls.

        Raises:
            InputError: One has weights for a component in whose place there is another one.

        """
        components: Mapping[str, Any] = self.components  # type: ignore[attr-defined]  # of the pipeline
        for lora in loras:
            for name in sorted(lora.components & set(MODULE_PATHS)):
                component = components.get(name)
                compiled = isinstance(component, Shell) and component.session is self.session
                if component is not None and not compiled:
                    raise InputError(
                        f"{lora.name} has weights for {name}, and the pipeline has another {name} than the compiled one: "
                        "they would reach no image.\n"
                        f"Try: put the compiled {name} back, or load the LoRA into the other one with diffusers before "
                        "it takes its place."
                    )

    def _save_own(self, directory: Path) -> None:
        if self.loras.merged:
            raise FixedGraphError(
                "save_pretrained writes the artifact's own weights, and LoRAs are merged into those of the pipeline.\n"
                "Try: compile with lora_model_ids and lora_scales, or unfuse_lora() and unload_lora_weights() first."
            )
        super()._save_own(directory)

    def load_lora_weights(
        self,
        pretrained_model_name_or_path_or_dict: Any,
        adapter_name: str | None = None,
        hotswap: bool = False,
        **kwargs: Any,
    ) -> None:
        """
        Merge a LoRA into the weights of the compiled graphs, in place of those that are active, without compiling.

        Args:
            pretrained_model_name_or_path_or_dict: File, directory, hub id or state dict, in any format that diffusers reads.
            adapter_name: For `set_adapters`.
            hotswap: Replace the loaded LoRA of that name, and leave the others as they are.
            **kwargs: For diffusers (``weight_name``, ``subfolder``).

        Raises:
            WeightsError: The weights are inside the graphs (``inline_weights=True``).
            InputError: The LoRA cannot be read, or has weights for a component that is no longer the compiled one.

        """
        lora = self.loras.read(pretrained_model_name_or_path_or_dict, kwargs)
        self._require_compiled([lora])
        (self.loras.replace if hotswap else self.loras.load)(lora, adapter_name)

    def set_adapters(self, adapter_names: str | Sequence[str], adapter_weights: Any = None) -> None:
        """Merge these of the loaded LoRAs, with these strengths, and no others."""
        names = [adapter_names] if isinstance(adapter_names, str) else list(adapter_names)
        self._require_compiled(lora for name, lora in self.loras.loaded.items() if name in names)
        self.loras.activate(names, adapter_weights)

    def unload_lora_weights(self, **_: Any) -> None:
        """Forget all LoRAs: the graphs have the artifact's weights again, bit for bit."""
        self.loras.unload()

    def delete_adapters(self, adapter_names: str | Sequence[str]) -> None:
        """Forget some LoRAs."""
        self.loras.unload([adapter_names] if isinstance(adapter_names, str) else adapter_names)

    def disable_lora(self) -> None:
        """Merge none of the active LoRAs until `enable_lora`."""
        self.loras.enable(False)

    def enable_lora(self) -> None:
        """Merge the active LoRAs again."""
        self.loras.enable()

    def fuse_lora(
        self,
        components: Sequence[str] = tuple(MODULE_PATHS),
        lora_scale: float = 1.0,
        safe_fusing: bool = False,
        adapter_names: Sequence[str] | None = None,
        **_: Any,
    ) -> None:
        """
        Make LoRAs part of the weights, which `unload_lora_weights` then leaves as they are.

        Args:
            components: Where.
            lora_scale: Multiplies their strengths.
            safe_fusing: For diffusers' sake; a merge is always made beside the weights.
            adapter_names: Which; None takes those that are active.

        Raises:
            FixedGraphError: No LoRA is loaded.
            InputError: A name is not loaded, or no component is named, or one that takes no LoRA.

        """
        if not self.loras.names:
            raise FixedGraphError(
                f"fuse_lora would change {self._described}, which is compiled, and no LoRA is loaded.\n"
                "Try: compile with lora_model_ids and lora_scales, or load_lora_weights first (inline_weights=False)."
            )
        loaded, names = self.loras.loaded, self.loras.active if adapter_names is None else adapter_names
        self._require_compiled(loaded[name] for name in names if name in loaded)
        self.loras.fuse(adapter_names, lora_scale, components)

    def unfuse_lora(self, components: Sequence[str] | None = None, **_: Any) -> None:
        """
        Undo `fuse_lora`, in all components.

        Raises:
            InputError: Only some of the components are named.

        """
        taking = {name for name in MODULE_PATHS if isinstance(self.components.get(name), Shell)}  # type: ignore[attr-defined]
        if components is not None and not taking <= set(components):
            raise InputError("unfuse_lora undoes a fuse in all components at once.\nTry: leave components out.")
        self.loras.unfuse()

    @property
    def fused_loras(self) -> set[str]:
        """The names of the LoRAs that are part of the weights."""
        return self.loras.fused

    @property
    def num_fused_loras(self) -> int:
        """How many LoRAs are part of the weights."""
        return len(self.loras.fused)

    def enable_lora_hotswap(self, **_: Any) -> None:
        """Change nothing, and say so once: LoRAs are always swapped without compiling."""
        self._say_unchanged("enable_lora_hotswap")

    def set_lora_device(self, adapter_names: Sequence[str], device: Any) -> None:
        """Change nothing, and say so once: merged LoRAs are on no device of their own."""
        self._say_unchanged("set_lora_device")

    def get_active_adapters(self) -> list[str]:
        """Return the names of the LoRAs that are merged."""
        return self.loras.active

    def get_list_adapters(self) -> dict[str, list[str]]:
        """Return the names of the loaded LoRAs, under each component that they have weights for."""
        components: Mapping[str, Any] = self.components  # type: ignore[attr-defined]  # of the pipeline
        taking = [name for name in MODULE_PATHS if isinstance(components.get(name), Shell)]
        loaded = self.loras.loaded
        found = {name: [own for own, lora in loaded.items() if name in lora.components] for name in taking}
        return {name: names for name, names in found.items() if names}

    def encode_prompt(self, *args: Any, **kwargs: Any) -> Any:
        """
        Encode prompts as diffusers' own pipeline does.

        Raises:
            InputError: `lora_scale` is another than 1: what is merged has its strength.

        """
        encode: Any = super().encode_prompt  # type: ignore[misc]  # of the pipeline, which stands beside this one
        scale = inspect.signature(encode).bind(*args, **kwargs).arguments.get("lora_scale")
        if scale not in (None, 1.0):
            raise InputError(
                "lora_scale (cross_attention_kwargs['scale']) has no effect on compiled components.\n"
                "Try: compile with lora_scales, or use set_adapters."
            )
        return encode(*args, **kwargs)


def ip_adapter_rows(pipeline: Any) -> list[list[int]]:
    """
    Return the shape of one row of each IP-Adapter's image embeddings.

    A plain one takes an embedding an image, the others a sequence of the image encoder's hidden states.
    """
    from diffusers.models.embeddings import ImageProjection

    projection = getattr(pipeline.unet, "encoder_hid_proj", None)
    rows: list[list[int]] = []
    for layer in getattr(projection, "image_projection_layers", ()):
        if isinstance(layer, ImageProjection):
            rows.append([1, layer.image_embeds.in_features])
        else:
            vision = pipeline.image_encoder.config
            rows.append([1, (vision.image_size // vision.patch_size) ** 2 + 1, layer.proj_in.in_features])
    return rows


def image_sizes(shapes: Mapping[str, list[int]], height: int, width: int, factor: int) -> Sizes:
    """
    Return the sizes to compile for.

    Args:
        shapes: What the caller gave.
        height: In pixels, where the caller gave none: what the checkpoint was trained for.
        width: As `height`.
        factor: Pixels along one latent.

    Raises:
        OptionError: A height or a width is not a multiple of the factor.

    """
    heights, widths = shapes.get("height", [height]), shapes.get("width", [width])
    for name, given in (("height", heights), ("width", widths)):
        if odd := [size for size in given if size % factor]:
            raise OptionError(f"{name}: must be a multiple of {factor}, the pixels of one latent (got {odd[0]}).")
    prompts = shapes["batch_size"]
    images = [rows * each for rows in prompts for each in shapes.get("num_images_per_prompt", [1])]
    return Sizes(tuple(prompts), tuple(dict.fromkeys(images)), tuple(heights), tuple(widths), factor)
