"""UNets of full size with random weights: minutes each, and gigabytes, so only with ``-m heavy``."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.random_weights import filled

from tests.image.checkpoints import SCHEDULER, SCHEDULER_XL, tiny_text_encoder, tiny_tokenizer, tiny_vae

MOST_BYTES = 22e9
SDXL: dict[str, Any] = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "use_linear_projection": True,
    "cross_attention_dim": 2048,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}


def write_sd(path: Path) -> None:
    """Save Stable Diffusion 1.5's UNet between tiny components."""
    import diffusers

    tokenizer = tiny_tokenizer(path / "tokenizer")
    diffusers.StableDiffusionPipeline(
        vae=tiny_vae(),
        text_encoder=tiny_text_encoder(tokenizer, 0, hidden_size=768, num_attention_heads=12),
        tokenizer=tokenizer,
        unet=filled(lambda: diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768)),
        scheduler=diffusers.DDIMScheduler(**SCHEDULER),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(path)


def write_sdxl(path: Path) -> None:
    """Save SDXL's UNet between tiny components."""
    import diffusers

    tokenizer = tiny_tokenizer(path / "tokenizer")
    wide = {"hidden_size": 1280, "num_attention_heads": 20, "projection_dim": 1280}
    diffusers.StableDiffusionXLPipeline(
        vae=tiny_vae(force_upcast=True),
        text_encoder=tiny_text_encoder(tokenizer, 0, hidden_size=768, num_attention_heads=12),
        tokenizer=tokenizer,
        text_encoder_2=tiny_text_encoder(tokenizer, 1, projection=True, **wide),
        tokenizer_2=tokenizer,
        unet=filled(lambda: diffusers.UNet2DConditionModel(**SDXL)),
        scheduler=diffusers.EulerDiscreteScheduler(**SCHEDULER_XL),
        add_watermarker=False,
    ).save_pretrained(path)


def compile_apart(checkpoint: Path, output: Path, pixels: int, optlevel: int) -> tuple[dict[str, Any], int]:
    """
    Compile in bf16 with the weights apart, in a process of its own.

    Returns:
        The report of the comparison with eager, and the most bytes that were in memory and in no file.
    """
    words = ["compile", "--model", checkpoint, "--height", pixels, "--width", pixels, f"-O{optlevel}"]
    words += ["--auto-cast", "matmul", "--no-inline-weights", output]
    command = [str(Path(sys.executable).with_name("neuronkit")), *map(str, words)]
    cores = {"OMP_NUM_THREADS": str(os.cpu_count())}
    process = subprocess.Popen(command, env={**os.environ, **cores})
    most = 0
    while process.poll() is None:
        if found := re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text()):
            most = max(most, int(found[1]) * 1024)
        time.sleep(0.05)
    assert process.returncode == 0
    report: dict[str, Any] = json.loads((output / "neuronkit.json").read_text())["validation"]
    return report, most


@pytest.mark.heavy
@pytest.mark.parametrize("write", [write_sd, write_sdxl])
def test_full_size_unets(write, tmp_path):
    """They compile in a small machine's memory, one copy of their weights at most, and equal eager as far as bf16 allows."""
    torch.manual_seed(0)
    write(tmp_path / "checkpoint")
    report, most = compile_apart(tmp_path / "checkpoint", tmp_path / "out", 64, 2)
    print(f"{most / 2**30:.2f} GiB in memory and in no file")
    assert report["status"] == "passed"
    assert {check["graph"] for check in report["checks"]} >= {"unet", "vae_encoder", "vae_decoder"}
    packed = (
        (tmp_path / "out" / "weights.safetensors").stat().st_size
    )  # where oneDNN packs weights, comparing takes a copy
    assert most < min(MOST_BYTES, packed + 2 * 2**30)
