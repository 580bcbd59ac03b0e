"""Tiny diffusion checkpoints with random weights and a real tokenizer, made on the spot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

WORDS = ["a", "photo", "of", "an", "red", "cat", "dog", "house", "blurry", "riding", "horse", "sky"]
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 37,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 77,
    "initializer_range": 0.3,  # so that two prompts give two images
}
UNET = {
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "norm_num_groups": 4,
    "attention_head_dim": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "cross_attention_dim": 32,
}
VAE = {
    "block_out_channels": (8, 16),
    "in_channels": 3,
    "out_channels": 3,
    "norm_num_groups": 4,
    "down_block_types": ("DownEncoderBlock2D", "DownEncoderBlock2D"),
    "up_block_types": ("UpDecoderBlock2D", "UpDecoderBlock2D"),
    "latent_channels": 4,
    "sample_size": 32,
}
XL = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 80,
    "cross_attention_dim": 64,
    "use_linear_projection": True,
}
SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "clip_sample": False,
    "set_alpha_to_one": False,
}


def tiny_tokenizer(path: Path) -> Any:
    """Return CLIP's tokenizer over single letters and a few whole words."""
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(33, 127)]
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges = []
    for word in WORDS:
        pieces = [*word[:-1], f"{word[-1]}</w>"]
        while len(pieces) > 1:
            merges.append(f"{pieces[0]} {pieces[1]}")
            pieces = [pieces[0] + pieces[1], *pieces[2:]]
            vocabulary.append(pieces[0])
    merges = list(dict.fromkeys(merges))
    vocabulary = [*dict.fromkeys(vocabulary), "<|startoftext|>", "<|endoftext|>"]
    path.mkdir(parents=True, exist_ok=True)
    (path / "vocab.json").write_text(json.dumps({piece: index for index, piece in enumerate(vocabulary)}))
    (path / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    return CLIPTokenizer.from_pretrained(str(path), model_max_length=77)


def tiny_text_encoder(tokenizer: Any, seed: int, *, projection: bool = False, **config: Any) -> Any:
    """Return CLIP's text model of three small layers."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(seed)
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    settings = CLIPTextConfig(**{**TEXT, "vocab_size": len(tokenizer), "projection_dim": 32, **ids, **config})
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(settings).eval()


def tiny_unet(seed: int = 0, **config: Any) -> Any:
    """Return a UNet of two small blocks."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(seed)
    return UNet2DConditionModel(**{**UNET, **config}).eval()


def tiny_controlnet(seed: int = 0, **config: Any) -> Any:
    """Return a ControlNet for a tiny UNet; its last layers, which begin as zeros, are random, so that it matters."""
    from diffusers import ControlNetModel

    names = ("in_channels", "block_out_channels", "layers_per_block", "norm_num_groups", "attention_head_dim")
    shared = {name: UNET[name] for name in (*names, "down_block_types", "cross_attention_dim")}
    torch.manual_seed(seed)
    net = ControlNetModel(**{**shared, "conditioning_embedding_out_channels": (4, 8), **config})
    for layer in (*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out):
        torch.nn.init.normal_(layer.weight, std=0.3)
    return net.eval()


def tiny_controlled(path: Path, plain: Path, class_name: str, controlnets: list[Any]) -> Path:
    """
    Save a checkpoint with ControlNets.

    Args:
        path: Directory to write.
        plain: The checkpoint without them.
        class_name: Of the pipeline.
        controlnets: One or several.
    """
    import diffusers

    controlnet = controlnets if len(controlnets) > 1 else controlnets[0]
    getattr(diffusers, class_name).from_pretrained(plain, controlnet=controlnet).save_pretrained(path)
    return path


def tiny_vae(seed: int = 0, **config: Any) -> Any:
    """Return a VAE of two small blocks, so that latents are half as large as images."""
    from diffusers import AutoencoderKL

    torch.manual_seed(seed)
    return AutoencoderKL(**{**VAE, **config}).eval()


def tiny_stable_diffusion(
    path: Path, seed: int = 0, *, class_name: str = "StableDiffusionPipeline", **unet: Any
) -> Path:
    """
    Save a Stable Diffusion checkpoint.

    Args:
        path: Directory to write.
        seed: Of the weights.
        class_name: Of the pipeline.
        **unet: Fields of the UNet's configuration to change.
    """
    import diffusers

    tokenizer = tiny_tokenizer(path / "tokenizer")
    lcm = class_name.startswith("LatentConsistency")
    schedule = diffusers.LCMScheduler(**SCHEDULER) if lcm else diffusers.DDIMScheduler(**SCHEDULER)
    if lcm:
        unet = {"time_cond_proj_dim": 8, **unet}
    pipeline = getattr(diffusers, class_name)(
        vae=tiny_vae(seed),
        text_encoder=tiny_text_encoder(tokenizer, seed),
        tokenizer=tokenizer,
        unet=tiny_unet(seed, **unet),
        scheduler=schedule,
        safety_checker=None,
        feature_extractor=None,
        image_encoder=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(path)
    return path


def tiny_stable_diffusion_xl(path: Path, seed: int = 0, *, refiner: bool = False, **unet: Any) -> Path:
    """
    Save an SDXL checkpoint, or a refiner's, which has only the second text encoder.

    Args:
        path: Directory to write.
        seed: Of the weights.
        refiner: Write a refiner.
        **unet: Fields of the UNet's configuration to change.
    """
    import diffusers

    tokenizer = tiny_tokenizer(path / "tokenizer")
    extra = {**XL, "projection_class_embeddings_input_dim": 72, "cross_attention_dim": 32} if refiner else XL
    parts = {
        "vae": tiny_vae(seed, force_upcast=True, scaling_factor=0.13025),
        "text_encoder": None if refiner else tiny_text_encoder(tokenizer, seed),
        "tokenizer": None if refiner else tokenizer,
        "text_encoder_2": tiny_text_encoder(tokenizer, seed + 1, projection=True),
        "tokenizer_2": tokenizer,
        "unet": tiny_unet(seed, **{**extra, **unet}),
        "scheduler": diffusers.EulerDiscreteScheduler(**SCHEDULER_XL),
    }
    if refiner:
        pipeline = diffusers.StableDiffusionXLImg2ImgPipeline(
            **parts, requires_aesthetics_score=True, add_watermarker=False
        )
    else:
        pipeline = diffusers.StableDiffusionXLPipeline(**parts, add_watermarker=False)
    pipeline.save_pretrained(path)
    return path


SCHEDULER_XL = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "timestep_spacing": "leading",
}


def tiny_amused(path: Path, seed: int = 0, *, large: bool = False) -> Path:
    """
    Save an aMUSEd checkpoint.

    Args:
        path: Directory to write.
        seed: Of the weights.
        large: Sample down and up inside the transformer, as the model for images of 512 pixels does.

    """
    import diffusers

    tokenizer = tiny_tokenizer(path / "tokenizer")
    torch.manual_seed(seed)
    transformer = diffusers.UVit2DModel(
        hidden_size=16,
        cond_embed_dim=32,
        micro_cond_encode_dim=4,
        micro_cond_embed_dim=20,
        encoder_hidden_size=32,
        vocab_size=33,
        codebook_size=32,
        in_channels=16,
        block_out_channels=16,
        num_res_blocks=1,
        downsample=large,
        upsample=large,
        block_num_heads=2,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        sample_size=16 if large else 8,
    )
    for parameter in transformer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # so that prompts and conditions matter
    vqvae = diffusers.VQModel(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        latent_channels=8,
        norm_num_groups=4,
        num_vq_embeddings=32,
        vq_embed_dim=8,
        mid_block_add_attention=False,
        lookup_from_codebook=True,
    )
    torch.nn.init.normal_(vqvae.quantize.embedding.weight)
    pipeline = diffusers.AmusedPipeline(
        vqvae=vqvae.eval(),
        tokenizer=tokenizer,
        text_encoder=tiny_text_encoder(tokenizer, seed, projection=True),
        transformer=transformer.eval(),
        scheduler=diffusers.AmusedScheduler(mask_token_id=32),
    )
    pipeline.save_pretrained(path)
    return path


RECIPES = {
    "amused": tiny_amused,
    "amused-large": lambda path: tiny_amused(path, large=True),
    "sd": tiny_stable_diffusion,
    "sd-inpaint": lambda path: tiny_stable_diffusion(path, class_name="StableDiffusionInpaintPipeline", in_channels=9),
    "lcm": lambda path: tiny_stable_diffusion(path, class_name="LatentConsistencyModelPipeline"),
    "sd-control": lambda path: tiny_controlled(
        path,
        tiny_stable_diffusion(path.with_name("sd-plain")),
        "StableDiffusionControlNetPipeline",
        [tiny_controlnet()],
    ),
    "sdxl": tiny_stable_diffusion_xl,
    "sdxl-control": lambda path: tiny_controlled(
        path,
        tiny_stable_diffusion_xl(path.with_name("sdxl-plain")),
        "StableDiffusionXLControlNetPipeline",
        [tiny_controlnet(**XL)],
    ),
    "refiner": lambda path: tiny_stable_diffusion_xl(path, refiner=True),
}
"""Checkpoints by name."""
