"""What pipelines call in place of the components: shells that map their arguments to graph inputs and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from neuronkit.errors import InputError, OptionError
from neuronkit.session import LoadedGraph, Session
from neuronkit.shells import Shell, make_shell


class TextEncoderShell(Shell):
    """A CLIP text encoder; its last normalisation stays real, for `clip_skip` applies it to an earlier state."""

    @classmethod
    def kept(cls, module: nn.Module) -> list[str]:
        """Return the path of the last normalisation, which depends on the release of transformers."""
        return [path for path, _ in module.named_modules() if path.rpartition(".")[2] == "final_layer_norm"]

    def __getattr__(self, name: str) -> Any:
        """Answer for the level `text_model`, which transformers 5 dropped and diffusers asks for."""
        try:
            return super().__getattr__(name)  # type: ignore[misc]  # of the real class, which stands beside this one
        except AttributeError:
            if name != "text_model":
                raise
            return SimpleNamespace(final_layer_norm=self.final_layer_norm)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **other: Any,
    ) -> Any:
        """Run the graph; returns the class that the encoder itself returns."""
        from transformers.modeling_outputs import BaseModelOutputWithPooling
        from transformers.models.clip.modeling_clip import CLIPTextModelOutput

        refuse(self.component, position_ids=position_ids, **other)
        if "attention_mask" not in self.input_names(self.component):
            if attention_mask is not None and not bool(attention_mask.all()):
                raise InputError(
                    f"{self.component} was compiled without attention_mask: its configuration does not use one."
                )
            attention_mask = None
        outputs = self.run(self.component, {"input_ids": input_ids, "attention_mask": attention_mask})
        states = [outputs.pop(name) for name in list(outputs) if name.startswith("hidden_states_")]
        kind = CLIPTextModelOutput if "text_embeds" in outputs else BaseModelOutputWithPooling
        found = kind(**outputs, hidden_states=tuple(states) if output_hidden_states else None)
        return found.to_tuple() if return_dict is False else found


class UNetShell(Shell):
    """A UNet with the conditions that it was compiled for."""

    def complete(self) -> None:
        """Answer for the IP-Adapters, whose projections run in the graph: pipelines ask how many there are and of which kind."""
        from diffusers.models.embeddings import ImageProjection, IPAdapterPlusImageProjection

        inputs = [input for input in self.session.graphs["unet"].graph.inputs if input.name.startswith("image_embeds_")]
        if not inputs:
            return
        with torch.device("meta"):
            layers = [ImageProjection() if len(input.axes) == 3 else IPAdapterPlusImageProjection() for input in inputs]
        self.__dict__["encoder_hid_proj"] = SimpleNamespace(image_projection_layers=layers)
        self.register_to_config(encoder_hid_dim_type=ADAPTED)  # type: ignore[attr-defined]  # of the real class

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | float,
        encoder_hidden_states: torch.Tensor,
        class_labels: torch.Tensor | None = None,
        timestep_cond: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        cross_attention_kwargs: Mapping[str, Any] | None = None,
        added_cond_kwargs: Mapping[str, Any] | None = None,
        down_block_additional_residuals: Sequence[torch.Tensor] | None = None,
        mid_block_additional_residual: torch.Tensor | None = None,
        down_intrablock_additional_residuals: Sequence[torch.Tensor] | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        return_dict: bool = True,
    ) -> Any:
        """
        Predict the noise.

        Raises:
            InputError: A condition that the graph was compiled without, or one that it needs and did not get.

        """
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

        refuse(
            "unet",
            class_labels=class_labels,
            attention_mask=attention_mask,
            encoder_attention_mask=encoder_attention_mask,
            down_block_additional_residuals=down_block_additional_residuals,
            mid_block_additional_residual=mid_block_additional_residual,
            down_intrablock_additional_residuals=down_intrablock_additional_residuals,
        )
        refuse_attention_kwargs("unet", cross_attention_kwargs)
        _require_length(self.session.graphs["unet"], encoder_hidden_states)
        steps = torch.as_tensor(timestep, dtype=torch.float32).reshape(-1).expand(sample.shape[0])
        tensors = {
            "sample": sample,
            "timestep": steps,
            "encoder_hidden_states": encoder_hidden_states,
            "timestep_cond": timestep_cond,
            **self._added(added_cond_kwargs or {}),
        }
        predicted = self.run("unet", tensors)["sample"]
        return UNet2DConditionOutput(sample=predicted) if return_dict else (predicted,)

    def _added(self, given: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        names = self.input_names("unet")
        added = {name: tensor for name, tensor in given.items() if name in names and name != "image_embeds"}
        embeds = given.get("image_embeds")
        for index, tensor in enumerate(
            embeds if isinstance(embeds, (list, tuple)) else [] if embeds is None else [embeds]
        ):
            if f"image_embeds_{index}" not in names:
                raise InputError(
                    "The unet was compiled without an IP-Adapter for these image embeddings.\n"
                    "Try: compile with ip_adapter_ids."
                )
            added[f"image_embeds_{index}"] = tensor
        if any(name.startswith("image_embeds_") for name in names - added.keys()):
            raise InputError(
                "The unet was compiled with IP-Adapters, and there are not as many image embeddings.\n"
                "Try: ip_adapter_image=... (or ip_adapter_image_embeds=...), a list with an item for each."
            )
        return added


class VaeShell(Shell):
    """A VAE; sampling its latents stays on the host, with the caller's generator."""

    def encode(self, x: torch.Tensor, return_dict: bool = True) -> Any:
        """Encode images ``[batch, 3, height, width]`` into a distribution of latents."""
        from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
        from diffusers.models.modeling_outputs import AutoencoderKLOutput

        latents = DiagonalGaussianDistribution(self.run("vae_encoder", {"pixels": x})["moments"])
        return AutoencoderKLOutput(latent_dist=latents) if return_dict else (latents,)

    def decode(self, z: torch.Tensor, return_dict: bool = True, generator: Any = None) -> Any:
        """Decode latents ``[batch, channels, height, width]``; the generator is never used, as in diffusers."""
        from diffusers.models.autoencoders.vae import DecoderOutput

        pixels = self.run("vae_decoder", {"latents": z})["pixels"]
        return DecoderOutput(sample=pixels) if return_dict else (pixels,)

    def forward(
        self,
        sample: torch.Tensor,
        sample_posterior: bool = False,
        return_dict: bool = True,
        generator: torch.Generator | None = None,
    ) -> Any:
        """Encode and decode."""
        latents = self.encode(sample).latent_dist
        return self.decode(latents.sample(generator) if sample_posterior else latents.mode(), return_dict)

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """
        Accept any float dtype: pipelines cast a VAE back and forth, and this one converts what it is given.

        Raises:
            InputError: Another device was asked for.

        """
        device, *_ = torch._C._nn._parse_to(*args, **kwargs)
        return super().to(device) if device is not None else self


class TransformerShell(Shell):
    """aMUSEd's transformer from token ids to the logits of the masked ones."""

    def forward(
        self,
        input_ids: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        pooled_text_emb: torch.Tensor,
        micro_conds: torch.Tensor,
        cross_attention_kwargs: Mapping[str, Any] | None = None,
    ) -> torch.Tensor:
        """Return the logits of every code for every token, ``[batch, codes, height, width]``."""
        refuse_attention_kwargs("transformer", cross_attention_kwargs)
        tensors = {
            "input_ids": input_ids,
            "encoder_hidden_states": encoder_hidden_states,
            "pooled_text_emb": pooled_text_emb,
            "micro_conds": micro_conds,
        }
        return self.run("transformer", tensors)["logits"]


class VqShell(Shell):
    """aMUSEd's VQ model; its codebook stays real, for pipelines look the nearest codes up in it."""

    @classmethod
    def kept(cls, module: nn.Module) -> list[str]:
        """Return the path of the codebook."""
        return ["quantize"]

    def encode(self, x: torch.Tensor, return_dict: bool = True) -> Any:
        """Encode images ``[batch, 3, height, width]`` into latents, which `quantize` turns into token ids."""
        from diffusers.models.autoencoders.vq_model import VQEncoderOutput

        latents = self.run("vqvae_encoder", {"pixels": x})["latents"]
        return VQEncoderOutput(latents=latents) if return_dict else (latents,)

    def decode(
        self, h: torch.Tensor, force_not_quantize: bool = False, return_dict: bool = True, shape: Any = None
    ) -> Any:
        """
        Decode token ids ``[batch, height, width]``, or latents, which are quantised first.

        Args:
            h: Token ids, or latents ``[batch, channels, height, width]``.
            force_not_quantize: Take `h` as it is: token ids.
            return_dict: False returns a tuple.
            shape: ``(batch, height, width, channels)``, where the token ids are flat.

        """
        from diffusers.models.autoencoders.vae import DecoderOutput

        if h.is_floating_point():
            if force_not_quantize:
                raise InputError("The compiled VQ model decodes token ids: latents need force_not_quantize=False.")
            h = self.quantize(h)[2][2].reshape(h.shape[0], *h.shape[-2:])  # type: ignore[attr-defined]  # kept real
        tokens = h.reshape(shape[:3]) if shape is not None else h
        pixels = self.run("vqvae_decoder", {"tokens": tokens})["pixels"]
        loss = torch.zeros(tokens.shape[0])
        return DecoderOutput(sample=pixels, commit_loss=loss) if return_dict else (pixels, loss)

    def forward(self, sample: torch.Tensor, return_dict: bool = True) -> Any:
        """Encode and decode."""
        return self.decode(self.encode(sample).latents, return_dict=return_dict)


ADAPTED = "ip_image_proj"
"""What a UNet with IP-Adapters has as its `encoder_hid_dim_type`."""
SHELLS: dict[str, type[Shell]] = {
    "AutoencoderKL": VaeShell,
    "CLIPTextModel": TextEncoderShell,
    "CLIPTextModelWithProjection": TextEncoderShell,
    "UNet2DConditionModel": UNetShell,
    "UVit2DModel": TransformerShell,
    "VQModel": VqShell,
}
"""What stands for which class."""


def require_supported(components: Mapping[str, Any]) -> None:
    """
    Refuse components of classes that have no graph.

    Raises:
        OptionError: There is one; the message names those that have.

    """
    for name, component in components.items():
        if type(component).__name__ not in SHELLS:
            raise OptionError(
                f"{name} is of class {type(component).__name__}, and neuronkit compiles {', '.join(SHELLS)}.\n"
                f"Try: another checkpoint, or a {name} of one of these classes."
            )


def plain_config(shell: Any) -> dict[str, Any]:
    """Return the configuration that the real class can be built from: without IP-Adapters."""
    config = dict(shell.config)
    return config | {"encoder_hid_dim_type": None} if config.get("encoder_hid_dim_type") == ADAPTED else config


def make_shells(session: Session, classes: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """
    Return a shell for every component of a pipeline that is of a class with graphs: all of these are compiled.

    Args:
        session: The loaded artifact.
        classes: Library and class of every component, as ``model_index.json`` has them.

    """
    import diffusers
    import transformers

    libraries = {"diffusers": diffusers, "transformers": transformers}
    return {
        component: make_shell(
            SHELLS[name],
            getattr(libraries[library], name),
            session.artifact.path / component,
            session,
            component,
        )
        for component, (library, name) in classes.items()
        if name in SHELLS
    }


def refuse(component: str, **conditions: Any) -> None:
    """
    Refuse conditions that no graph of ours takes.

    Raises:
        InputError: One of them is not None.

    """
    for name, value in conditions.items():
        if value is not None:
            raise InputError(f"{component} is compiled and was not given the input {name}; it cannot be used here.")


def _require_length(unet: LoadedGraph, embeddings: torch.Tensor) -> None:
    """Refuse embeddings of prompts that have another length than the one that was compiled."""
    size = next(input for input in unet.graph.inputs if input.name == "encoder_hidden_states").axes[1]
    if isinstance(size, int) and embeddings.shape[1] != size:
        raise InputError(
            f"The embeddings of the prompts have {embeddings.shape[1]} tokens, and the unet was compiled for {size}.\n"
            f"Try: prompts truncated to {size} tokens (truncate_long_prompts=True of compel)."
        )


def refuse_attention_kwargs(component: str, given: Mapping[str, Any] | None) -> None:
    """
    Refuse keywords for attention processors: the graph has none to hand them to.

    Raises:
        InputError: There is one, other than a LoRA scale of 1.

    """
    for name, value in (given or {}).items():
        if name == "scale" and value == 1.0:
            continue
        hint = "compile with lora_scales, or use set_adapters" if name == "scale" else "leave it out"
        raise InputError(f"cross_attention_kwargs[{name!r}] has no effect on a compiled {component}.\nTry: {hint}.")
