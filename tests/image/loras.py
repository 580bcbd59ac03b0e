"""LoRA files with random weights, as PEFT and as Kohya's scripts write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

SCALE = 0.3


def write_lora(checkpoint: Path, directory: Path, seed: int, *, text: bool = False) -> Path:
    """Save a LoRA of the UNet's attention and, with `text`, of the text encoder's, as diffusers does."""
    generator = torch.Generator().manual_seed(seed)
    unet = diffusers.UNet2DConditionModel.from_pretrained(checkpoint, subfolder="unet")
    unet.add_adapter(LoraConfig(r=2, lora_alpha=4, target_modules=["to_q", "to_v"], init_lora_weights=False))
    found = get_peft_model_state_dict(unet)
    layers = {"unet_lora_layers": {name: _random(tensor.shape, generator) for name, tensor in found.items()}}
    if text:
        encoder = transformers.CLIPTextModel.from_pretrained(checkpoint, subfolder="text_encoder")
        layers["text_encoder_lora_layers"] = {
            f"{path}.lora_{letter}.weight": _random(shape, generator)
            for path, layer in encoder.named_modules()
            if path.endswith(("q_proj", "v_proj"))
            for letter, shape in (("A", (2, layer.in_features)), ("B", (layer.out_features, 2)))
        }
    diffusers.StableDiffusionPipeline.save_lora_weights(directory, **layers)
    return directory


def _random(shape: Any, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(shape, generator=generator) * SCALE


def write_kohya(checkpoint: Path, file: Path, seed: int) -> Path:
    """Save a LoRA of the UNet and the text encoder under Kohya's names, with an alpha that is not the rank."""
    generator = torch.Generator().manual_seed(seed)
    unet = diffusers.UNet2DConditionModel.from_pretrained(checkpoint, subfolder="unet")
    encoder = transformers.CLIPTextModel.from_pretrained(checkpoint, subfolder="text_encoder")
    tensors: dict[str, torch.Tensor] = {}
    for prefix, module, ends in (
        ("lora_unet", unet, ("to_q", "to_k", "to_out.0", "conv1")),
        ("lora_te_text_model", encoder, ("q_proj", "fc1")),
    ):
        for path, layer in module.named_modules():
            wanted = path.endswith(ends) and ("attentions" in path or "layers" in path or "conv1" in ends)
            if not wanted or not isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d)):
                continue
            name = f"{prefix}_{path.removeprefix('text_model.').replace('.', '_')}"
            kernel = getattr(layer, "kernel_size", ())
            out, taken = layer.weight.shape[:2]
            tensors[f"{name}.lora_down.weight"] = _random((2, taken, *kernel), generator)
            tensors[f"{name}.lora_up.weight"] = _random((out, 2, *(1 for _ in kernel)), generator)
            tensors[f"{name}.alpha"] = torch.tensor(1.0)
    save_file(tensors, file)
    return file


def load_eagerly(pipeline: Any, file: Path, scale: float = 1.0) -> None:
    """
    Give an eager pipeline a LoRA: its UNet through diffusers, its text encoder by the formula.

    Through diffusers a text encoder needs a release of PEFT that transformers accepts, and there is not always one.
    """
    state, alphas, metadata = pipeline.lora_state_dict(file.parent, weight_name=file.name, return_lora_metadata=True)
    pipeline.load_lora_into_unet(
        state, network_alphas=alphas, unet=pipeline.unet, adapter_name="unet", metadata=metadata
    )
    pipeline.unet.set_adapters("unet", scale)
    raw = load_file(file)
    for path, layer in pipeline.text_encoder.named_modules():
        kohya = f"lora_te_text_model_{path.replace('.', '_')}"
        if f"{kohya}.alpha" in raw:
            down, up = raw[f"{kohya}.lora_down.weight"], raw[f"{kohya}.lora_up.weight"]
            layer.weight.data += scale * raw[f"{kohya}.alpha"] / len(down) * up @ down
        elif f"text_encoder.{path}.lora_A.weight" in raw:
            down, up = (raw[f"text_encoder.{path}.lora_{letter}.weight"] for letter in "AB")
            layer.weight.data += scale * up @ down
