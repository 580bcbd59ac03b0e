"""aMUSEd's VQ model: its halves as modules that are traced, the graphs, and the shell."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from neuronkit.errors import InputError
from neuronkit.export import Graph, Input, Output
from neuronkit.shells import Shell
from neuronkit_plugins.image.components.sizes import Sizes
from neuronkit_plugins.image.components.vae import autoencoder_graphs


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
    tokens = Input("tokens", ["batch", "height", "width"], table_size=config.num_vq_embeddings)
    return autoencoder_graphs("vqvae", vqvae, sizes, (VqEncoder, latents), (VqDecoder, tokens))


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

        Raises:
            InputError: A token id is none of the codebook's, or latents are not to be quantised.

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
