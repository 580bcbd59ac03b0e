"""VAEs: their halves as modules that are traced, the graphs, and the shell."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from neuronkit.export import CompilerHints, Graph, Input, Output
from neuronkit.shells import Shell
from neuronkit_plugins.image.components.sizes import Sizes


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
    return autoencoder_graphs("vae", vae, sizes, (VaeEncoder, moments), (VaeDecoder, latents))


def autoencoder_graphs(
    name: str, autoencoder: Any, sizes: Sizes, encoder: tuple[Any, Output], decoder: tuple[Any, Input]
) -> tuple[Graph, Graph]:
    """
    Declare the two halves of an autoencoder, one image a call.

    Args:
        name: Of the component in the pipeline.
        autoencoder: With its configuration.
        sizes: What to compile for.
        encoder: The module that wraps the outer half, from images, and what comes out of it.
        decoder: The module that wraps the inner half, to images, and what it takes.

    """
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
