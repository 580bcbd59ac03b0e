"""
The components of diffusion pipelines as graphs: CLIP text encoders, UNet, VAE encoder and decoder.

Each has a small module that turns its forward into named tensors in, named tensors out, and a function that declares the
graph.
What stands on the other side, the shells that pipelines call, is in `neuronkit_plugins.image.shells`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import torch
from torch import nn

from neuronkit.export import CompilerHints, Graph, Input, Output

_MOST_IMAGES = 16
"""Rows of one call of a UNet where the batch is dynamic: more would save no time and cost memory."""
MODULE_PATHS = {"text_encoder": "module.encoder.", "text_encoder_2": "module.encoder.", "unet": "module.unet."}
"""Where a component stands in the module that is traced: what its weights' names begin with in the graph."""
_LIMIT = 63
"""diffusers' upsampling takes another path from 64 rows on, so that no one graph serves both sides."""


@attrs.frozen
class Sizes:
    """
    The sizes that a pipeline is compiled for; one entry of `heights` and `widths` per resolution.

    Args:
        prompts: Rows of a text encoder's call.
        images: Rows of a UNet's call.
        heights: Of the images, in pixels.
        widths: Of the images, in pixels.
        factor: Pixels along one latent.

    """

    prompts: tuple[int, ...]
    images: tuple[int, ...]
    heights: tuple[int, ...]
    widths: tuple[int, ...]
    factor: int

    @property
    def shapes(self) -> dict[str, list[int]]:
        """The sizes as an artifact records them where the caller gave none."""
        return {**self.pixels, "num_images_per_prompt": [1]}

    @property
    def rows(self) -> list[int]:
        """Rows of a UNet's call, as many as its operators allow; more are split over several calls."""
        return list(dict.fromkeys(min(rows, _LIMIT) for rows in self.images))

    @property
    def pixels(self) -> dict[str, list[int]]:
        """Height and width of the images."""
        return {"height": list(self.heights), "width": list(self.widths)}

    @property
    def latents(self) -> dict[str, list[int]]:
        """Height and width of the latents."""
        return {axis: [size // self.factor for size in sizes] for axis, sizes in self.pixels.items()}


class TextEncoder(nn.Module):
    """CLIP's text model with every hidden state, as `clip_skip` and SDXL need them."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """
        Run the encoder.

        Args:
            input_ids: ``[batch, sequence]``.
            attention_mask: ``[batch, sequence]``, for the few checkpoints that use one.

        """
        returned = self.encoder(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
        states = {f"hidden_states_{index}": state for index, state in enumerate(returned.hidden_states)}
        pooled = "text_embeds" if "text_embeds" in returned else "pooler_output"
        return {pooled: returned[pooled], "last_hidden_state": returned.last_hidden_state, **states}


def text_encoder_graph(name: str, encoder: Any, sizes: Sizes) -> Graph:
    """
    Declare a CLIP text encoder.

    Args:
        name: Of the component in the pipeline.
        encoder: ``CLIPTextModel`` or ``CLIPTextModelWithProjection``.
        sizes: What to compile for.

    """
    from transformers import CLIPTextModelWithProjection

    config = encoder.config
    length = config.max_position_embeddings
    inputs = [Input("input_ids", ["batch", length], high=encoder.get_input_embeddings().num_embeddings)]
    if getattr(config, "use_attention_mask", False):
        inputs.append(Input("attention_mask", ["batch", length], default=1))
    projected = isinstance(encoder, CLIPTextModelWithProjection)
    pooled = (
        Output("text_embeds", ["batch", config.projection_dim])
        if projected
        else Output("pooler_output", ["batch", config.hidden_size])
    )
    states = ["last_hidden_state", *(f"hidden_states_{index}" for index in range(config.num_hidden_layers + 1))]
    return Graph(
        name,
        inputs,
        [pooled, *(Output(state, ["batch", length, config.hidden_size]) for state in states)],
        kind="encoder",
        wrap=lambda components: TextEncoder(components[name]),
        sizes={"batch": list(sizes.prompts)},
        hints=CompilerHints(dynamic_axes=("batch",)),
    )


class UNet(nn.Module):
    """A UNet whose optional conditions are tensors by name."""

    def __init__(self, unet: nn.Module, adapters: int) -> None:
        super().__init__()
        self.unet = unet
        self.adapters = adapters

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        timestep_cond: torch.Tensor | None = None,
        text_embeds: torch.Tensor | None = None,
        time_ids: torch.Tensor | None = None,
        **image_embeds: torch.Tensor,
    ) -> tuple[torch.Tensor]:
        """
        Predict the noise.

        Args:
            sample: Noisy latents, ``[batch, channels, height, width]``.
            timestep: ``[batch]``.
            encoder_hidden_states: The prompt, ``[batch, sequence, hidden]``.
            timestep_cond: The guidance that an LCM was distilled with, ``[batch, features]``.
            text_embeds: SDXL's pooled prompt, ``[batch, features]``.
            time_ids: SDXL's sizes and crops, ``[batch, numbers]``.
            **image_embeds: ``image_embeds_0`` and so on, one per IP-Adapter, ``[batch, images, ...]``.

        """
        added: dict[str, Any] = {}
        if text_embeds is not None:
            added |= {"text_embeds": text_embeds, "time_ids": time_ids}
        if self.adapters:
            added["image_embeds"] = [image_embeds[f"image_embeds_{index}"] for index in range(self.adapters)]
        predicted = self.unet(
            sample,
            timestep,
            encoder_hidden_states,
            timestep_cond=timestep_cond,
            added_cond_kwargs=added or None,
            return_dict=False,
        )
        return (predicted[0],)


def unet_graph(
    unet: Any, sizes: Sizes, sequence: int, pooled: int | None, adapters: Sequence[Sequence[int]] = ()
) -> Graph:
    """
    Declare a UNet.

    Args:
        unet: ``UNet2DConditionModel``.
        sizes: What to compile for.
        sequence: Tokens of a prompt.
        pooled: Features of SDXL's pooled prompt; None for other UNets.
        adapters: Shape of one row of each IP-Adapter's image embeddings.

    """
    config = unet.config
    latent = ["height", "width"]
    inputs = [
        Input("sample", ["batch", config.in_channels, *latent], "float32"),
        Input("timestep", ["batch"], "float32"),
        Input("encoder_hidden_states", ["batch", sequence, _text_features(unet)], "float32"),
    ]
    if config.time_cond_proj_dim is not None:
        inputs.append(Input("timestep_cond", ["batch", config.time_cond_proj_dim], "float32"))
    if pooled is not None:
        numbers = (unet.add_embedding.linear_1.in_features - pooled) // config.addition_time_embed_dim
        inputs += [Input("text_embeds", ["batch", pooled], "float32"), Input("time_ids", ["batch", numbers], "float32")]
    inputs += [Input(f"image_embeds_{index}", ["batch", *row], "float32") for index, row in enumerate(adapters)]
    return Graph(
        "unet",
        inputs,
        [Output("sample", ["batch", config.out_channels, *latent])],
        kind="unet",
        wrap=lambda components: UNet(components["unet"], len(adapters)),
        sizes={"batch": sizes.rows, **sizes.latents},
        hints=CompilerHints(
            dynamic_axes=("batch",),
            channels_last=True,
            max_batch=_MOST_IMAGES,
        ),
    )


def _text_features(unet: Any) -> int:
    wide = unet.config.encoder_hid_dim if unet.config.encoder_hid_dim_type in ("text_proj", "text_image_proj") else None
    features = wide or unet.config.cross_attention_dim
    return features if isinstance(features, int) else features[0]


class VaeEncoder(nn.Module):
    """The part of a VAE from pixels to the moments of the latents."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.encoder = vae.encoder
        self.quant_conv = vae.quant_conv

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor]:
        """Return mean and log variance, ``[batch, 2 * channels, height, width]``, of ``[batch, 3, height, width]``."""
        moments = self.encoder(pixels)
        return (moments if self.quant_conv is None else self.quant_conv(moments),)


class VaeDecoder(nn.Module):
    """The part of a VAE from latents to pixels."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.decoder = vae.decoder
        self.post_quant_conv = vae.post_quant_conv

    def forward(self, latents: torch.Tensor) -> tuple[torch.Tensor]:
        """Return ``[batch, 3, height, width]`` of ``[batch, channels, height, width]``."""
        return (self.decoder(latents if self.post_quant_conv is None else self.post_quant_conv(latents)),)


def vae_graphs(vae: Any, sizes: Sizes) -> tuple[Graph, Graph]:
    """
    Declare a VAE's encoder and decoder, one image a call: a batch would save them nothing and cost memory.

    Args:
        vae: ``AutoencoderKL``.
        sizes: What to compile for.

    """
    config = vae.config
    moments = Output(
        "moments", ["batch", 2 * config.latent_channels, f"height/{sizes.factor}", f"width/{sizes.factor}"]
    )
    latents = Input("latents", ["batch", config.latent_channels, "height", "width"], "float32")
    return _autoencoder_graphs("vae", vae, sizes, (VaeEncoder, moments), (VaeDecoder, latents))


def _autoencoder_graphs(
    name: str, autoencoder: Any, sizes: Sizes, encoder: tuple[Any, Output], decoder: tuple[Any, Input]
) -> tuple[Graph, Graph]:
    """Declare the two halves, each by the module that wraps it and what stands at its inner end."""
    config = autoencoder.config
    encode, encoded = encoder
    decode, decoding = decoder
    common: dict[str, Any] = {
        "kind": "vae",
        "hints": CompilerHints(
            dynamic_axes=(),
            channels_last=True,
            keep_fp32=bool(config.force_upcast),
        ),
    }
    outer = Graph(
        f"{name}_encoder",
        [Input("pixels", ["batch", config.in_channels, "height", "width"], "float32")],
        [encoded],
        wrap=lambda components: encode(components[name]),
        sizes={"batch": 1, **sizes.pixels},
        **common,
    )
    inner = Graph(
        f"{name}_decoder",
        [decoding],
        [Output("pixels", ["batch", config.out_channels, f"height*{sizes.factor}", f"width*{sizes.factor}"])],
        wrap=lambda components: decode(components[name]),
        sizes={"batch": 1, **sizes.latents},
        **common,
    )
    return outer, inner


class Transformer(nn.Module):
    """aMUSEd's transformer with a name for its output."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, **tensors: torch.Tensor) -> tuple[torch.Tensor]:
        """Return the logits of every code for every token."""
        return (self.transformer(**tensors),)


def transformer_graph(transformer: Any, sizes: Sizes, sequence: int) -> Graph:
    """
    Declare aMUSEd's transformer.

    Args:
        transformer: ``UVit2DModel``.
        sizes: What to compile for.
        sequence: Tokens of a prompt.

    """
    config = transformer.config
    grid = ["height", "width"]
    return Graph(
        "transformer",
        [
            Input("input_ids", ["batch", *grid], high=config.vocab_size),
            Input("encoder_hidden_states", ["batch", sequence, config.encoder_hidden_size], "float32"),
            Input("pooled_text_emb", ["batch", config.cond_embed_dim], "float32"),
            Input("micro_conds", ["batch", 5], "float32"),
        ],
        [Output("logits", ["batch", config.codebook_size, *grid])],
        kind="transformer",
        wrap=lambda components: Transformer(components["transformer"]),
        sizes={"batch": sizes.rows, **sizes.latents},
        hints=CompilerHints(dynamic_axes=("batch",), channels_last=True, max_batch=_MOST_IMAGES),
    )


class VqEncoder(nn.Module):
    """The part of a VQ model from pixels to latents that are not quantised yet."""

    def __init__(self, vqvae: Any) -> None:
        super().__init__()
        self.encoder = vqvae.encoder
        self.quant_conv = vqvae.quant_conv

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor]:
        """Return ``[batch, channels, height, width]`` of ``[batch, 3, height, width]``."""
        return (self.quant_conv(self.encoder(pixels)),)


class VqDecoder(nn.Module):
    """The part of a VQ model from token ids to pixels."""

    def __init__(self, vqvae: Any) -> None:
        super().__init__()
        self.codes = vqvae.quantize.embedding
        self.post_quant_conv = vqvae.post_quant_conv
        self.decoder = vqvae.decoder
        self.spatial = vqvae.config.norm_type == "spatial"

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor]:
        """Return ``[batch, 3, height, width]`` of ``[batch, height, width]``."""
        quantised = self.codes(tokens).permute(0, 3, 1, 2).contiguous()
        return (self.decoder(self.post_quant_conv(quantised), quantised if self.spatial else None),)


def vq_graphs(vqvae: Any, sizes: Sizes) -> tuple[Graph, Graph]:
    """
    Declare a VQ model's encoder and decoder, one image a call.

    Args:
        vqvae: ``VQModel`` that looks its codes up.
        sizes: What to compile for.

    """
    config = vqvae.config
    channels = config.vq_embed_dim or config.latent_channels
    latents = Output("latents", ["batch", channels, f"height/{sizes.factor}", f"width/{sizes.factor}"])
    tokens = Input("tokens", ["batch", "height", "width"], high=config.num_vq_embeddings)
    return _autoencoder_graphs("vqvae", vqvae, sizes, (VqEncoder, latents), (VqDecoder, tokens))
