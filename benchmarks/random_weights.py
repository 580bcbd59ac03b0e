"""Pipelines of full size with random weights, written in about a minute: no initialisation, one cheap filling."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

TEXT = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
    "max_position_embeddings": 77,
}
"""CLIP ViT-L/14's text model."""
VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "latent_channels": 4,
    "sample_size": 512,
}
VQ = {
    "block_out_channels": (128, 256, 256, 512, 768),
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 5,
    "up_block_types": ("UpDecoderBlock2D",) * 5,
    "latent_channels": 64,
    "num_vq_embeddings": 8192,
    "mid_block_add_attention": False,
    "lookup_from_codebook": True,
    "force_upcast": True,
}


def write_stable_diffusion(path: Path, *, quick: bool) -> Path:
    """Write a checkpoint of Stable Diffusion 1.5's size, or with `quick` a tiny one, unless it is there."""
    import diffusers
    from tests.image.checkpoints import SCHEDULER, tiny_stable_diffusion

    def write(target: Path) -> None:
        if quick:
            tiny_stable_diffusion(target)
            return
        tokenizer, encoder = _text(target, projection=False)
        diffusers.StableDiffusionPipeline(
            vae=filled(lambda: diffusers.AutoencoderKL(**VAE)),
            text_encoder=encoder,
            tokenizer=tokenizer,
            unet=filled(lambda: diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768)),
            scheduler=diffusers.DDIMScheduler(**SCHEDULER),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).save_pretrained(target)

    return _once(path, write)


def write_controlnet(path: Path, checkpoint: Path) -> Path:
    """Write a ControlNet for the UNet of a checkpoint, unless it is there; it adds something in every place."""
    import diffusers

    def write(target: Path) -> None:
        config = diffusers.UNet2DConditionModel.load_config(checkpoint, subfolder="unet")
        with torch.device("meta"):
            unet = diffusers.UNet2DConditionModel.from_config(config)
        halvings = len(diffusers.AutoencoderKL.load_config(checkpoint, subfolder="vae")["block_out_channels"]) - 1
        channels = (16, 32, 96, 256)[: halvings + 1]
        build = diffusers.ControlNetModel.from_unet
        filled(lambda: build(unet, "rgb", channels, load_weights_from_unet=False)).save_pretrained(target)

    return _once(path, write)


def write_amused(path: Path, *, quick: bool) -> Path:
    """Write a checkpoint of aMUSEd 256's size, or with `quick` a tiny one, unless it is there."""
    import diffusers
    from tests.image.checkpoints import tiny_amused

    def write(target: Path) -> None:
        if quick:
            tiny_amused(target)
            return
        tokenizer, encoder = _text(target, projection=True)
        diffusers.AmusedPipeline(
            vqvae=filled(lambda: diffusers.VQModel(**VQ)),
            tokenizer=tokenizer,
            text_encoder=encoder,
            transformer=filled(lambda: diffusers.UVit2DModel(sample_size=16)),  # the rest is the class's default
            scheduler=diffusers.AmusedScheduler(mask_token_id=8255),
        ).save_pretrained(target)

    return _once(path, write)


def filled(build: Callable[[], nn.Module]) -> Any:
    """Return a module without spending time on its initialisation: normal matrices, norms of one, biases of zero."""
    with torch.device("meta"):
        module = build()
    module = module.to_empty(device="cpu").eval().requires_grad_(False)
    for _, buffer in module.named_buffers():  # position ids are the only ones here
        buffer.copy_(torch.arange(buffer.shape[-1]))
    generator = torch.Generator().manual_seed(0)
    for name, parameter in module.named_parameters():
        if parameter.dim() > 1:
            scale = 0.5 / (parameter[0].numel() ** 0.5)  # keeps activations from growing through the layers
            parameter.normal_(0, scale, generator=generator)
        else:
            parameter.fill_(1.0 if name.endswith("weight") else 0.0)
    return module


def _text(path: Path, *, projection: bool) -> tuple[Any, Any]:
    from tests.image.checkpoints import tiny_tokenizer
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    tokenizer = tiny_tokenizer(path / "tokenizer")
    kind = CLIPTextModelWithProjection if projection else CLIPTextModel
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return tokenizer, filled(lambda: kind(CLIPTextConfig(vocab_size=49408, **TEXT, **ids)))


def _once(path: Path, write: Callable[[Path], None]) -> Path:
    if not path.exists():
        unfinished = path.with_name(f"{path.name}.unfinished")
        unfinished.mkdir(parents=True, exist_ok=True)
        write(unfinished)
        unfinished.rename(path)
    return path
