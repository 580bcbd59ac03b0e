"""LoRAs on a loaded artifact whose weights are apart, beside diffusers with the same LoRAs."""

from __future__ import annotations

import diffusers
import numpy as np
import pytest
import torch

from tests.image.pairs import TOLERANCE, images, load_pair


def write_lora(checkpoint, directory, seed):
    """Save a LoRA of the UNet's attention, all of whose weights are random."""
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    unet = diffusers.UNet2DConditionModel.from_pretrained(checkpoint, subfolder="unet")
    unet.add_adapter(LoraConfig(r=2, lora_alpha=4, target_modules=["to_q", "to_v"], init_lora_weights=False))
    generator = torch.Generator().manual_seed(seed)
    layers = {
        name: torch.randn(tensor.shape, generator=generator) * 0.3
        for name, tensor in get_peft_model_state_dict(unet).items()
    }
    diffusers.StableDiffusionPipeline.save_lora_weights(directory, unet_lora_layers=layers)
    return directory


@pytest.fixture(scope="module")
def pair(checkpoint, artifact):
    """A pipeline whose weights are apart, and diffusers' own."""
    return load_pair("StableDiffusionPipeline", checkpoint("sd"), artifact("sd", inline_weights=False))


def test_swap_and_unload(pair, checkpoint, tmp_path):
    """Loading changes the image as in diffusers; scales of two add up; unloading restores every bit."""
    compiled, eager = pair
    before = images(compiled)
    for seed, name in enumerate(("one", "other")):
        directory = write_lora(checkpoint("sd"), tmp_path / name, seed)
        for pipeline in (compiled, eager):
            pipeline.load_lora_weights(directory, adapter_name=name)
    for pipeline in (compiled, eager):
        pipeline.set_adapters(["one", "other"], [0.8, 0.5])
    changed = images(compiled)
    assert np.abs(changed - before).max() > 1e-3
    assert np.abs(changed - images(eager)).max() <= TOLERANCE
    for pipeline in (compiled, eager):
        pipeline.unload_lora_weights()
    assert np.array_equal(images(compiled), before)
