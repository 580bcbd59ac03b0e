"""A Stable Diffusion checkpoint as one file, with the names that the original code gave its weights."""

from __future__ import annotations

import re
from typing import Any

import torch

_UNET = {
    r"time_embedding\.linear_1": "time_embed.0",
    r"time_embedding\.linear_2": "time_embed.2",
    r"conv_in": "input_blocks.0.0",
    r"conv_norm_out": "out.0",
    r"conv_out": "out.2",
    r"mid_block\.resnets\.0": "middle_block.0",
    r"mid_block\.attentions\.0": "middle_block.1",
    r"mid_block\.resnets\.1": "middle_block.2",
}
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_VAE = {
    r"mid_block\.resnets\.0": "mid.block_1",
    r"mid_block\.resnets\.1": "mid.block_2",
    r"mid_block\.attentions\.0": "mid.attn_1",
    "conv_norm_out": "norm_out",
    "conv_shortcut": "nin_shortcut",
    "group_norm": "norm",
    r"to_([qkv])\.": r"\1.",
    r"to_out\.0": "proj_out",
}


def original_names(pipeline: Any) -> dict[str, torch.Tensor]:
    """Return the weights of a pipeline by the names of the original code."""
    per_block = pipeline.unet.config.layers_per_block + 1
    blocks = len(pipeline.vae.config.block_out_channels)
    state = {}
    for name, tensor in pipeline.unet.state_dict().items():
        state[f"model.diffusion_model.{_unet_name(name, per_block)}"] = tensor
    for name, tensor in pipeline.vae.state_dict().items():
        state[f"first_stage_model.{_vae_name(name, blocks)}"] = tensor
    for name, tensor in pipeline.text_encoder.state_dict().items():
        state[f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}"] = tensor
    return state


def _unet_name(name: str, per_block: int) -> str:
    for pattern, original in _UNET.items():
        name = re.sub(f"^{pattern}", original, name)

    def place(found: re.Match[str]) -> str:
        direction, block, kind, layer = found.groups()
        first = int(block) * per_block
        if kind == "downsamplers":
            return f"input_blocks.{first + per_block}.0.op"
        if kind == "upsamplers":
            return f"output_blocks.{first + per_block - 1}.{int(block == '0') + 1}.conv"
        number = first + int(layer) + (direction == "down")
        return f"{'input' if direction == 'down' else 'output'}_blocks.{number}.{int(kind == 'attentions')}"

    pattern = r"^(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)"
    is_resnet = ".resnets." in name or name.startswith(("middle_block.0", "middle_block.2"))
    name = re.sub(pattern, place, name).replace(".conv.conv", ".conv").replace(".op.conv", ".op")
    for layer, original in _RESNET.items() if is_resnet else ():
        name = name.replace(f".{layer}.", f".{original}.")
    return name


def _vae_name(name: str, blocks: int) -> str:
    for pattern, original in _VAE.items():
        name = re.sub(pattern, original, name)
    name = re.sub(r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block.", name)
    name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
    up = re.compile(r"up_blocks\.(\d+)\.")
    name = up.sub(lambda found: f"up.{blocks - 1 - int(found[1])}.", name)
    return name.replace(".resnets.", ".block.").replace(".upsamplers.0", ".upsample")
