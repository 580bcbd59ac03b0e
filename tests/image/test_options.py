"""Options that change a checkpoint before it is compiled have the effect that diffusers' methods have."""

from __future__ import annotations

import json
import os

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

import neuronkit
from neuronkit.errors import InputError, NeuronkitError, OptionError, SourceError
from tests.image.checkpoints import TEXT, tiny_unet, tiny_vae
from tests.image.loras import load_eagerly, write_kohya, write_lora
from tests.image.pairs import TOLERANCE, difference, images, picture
from tests.image.single_file import original_names

FREEU = {"s1": 0.9, "s2": 0.2, "b1": 1.2, "b2": 1.4}
QUICK = {"validate": False}
"""Every compiled pipeline is compared with diffusers here."""


@pytest.fixture
def eager(checkpoint):
    """Return an eager pipeline to change."""
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(checkpoint("sd"))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def recorded(path):
    """Return the options that a manifest records."""
    return json.loads((path / "neuronkit.json").read_text())["plugin_options"]


def open_quietly(path):
    """Load an artifact."""
    pipeline = neuronkit.load(path)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_all_at_once(eager, checkpoint, artifact, tmp_path):
    """Another UNet and VAE, two LoRAs, a learnt token, FreeU and fused projections; each matters, and is in the manifest."""
    files = [
        write_lora(checkpoint("sd"), tmp_path / "peft", 0) / "pytorch_lora_weights.safetensors",
        write_kohya(checkpoint("sd"), tmp_path / "kohya.safetensors", 1),
    ]
    token = tmp_path / "token.safetensors"
    save_file({"<x>": torch.randn(1, TEXT["hidden_size"], generator=torch.Generator().manual_seed(1))}, token)
    tiny_vae(7).save_pretrained(tmp_path / "vae")
    tiny_unet(7).save_pretrained(tmp_path / "unet")
    options = {
        "unet_id": str(tmp_path / "unet"),
        "vae_id": str(tmp_path / "vae"),
        "lora_model_ids": [str(file.parent) for file in files],
        "lora_weight_names": [file.name for file in files],
        "lora_adapter_names": ["a", "b"],
        "lora_scales": [0.8, 0.5],
        "textual_inversion": {"<x>": str(token)},
        "freeu": FREEU,
        "fuse_qkv_projections": True,
    }
    compiled = open_quietly(artifact("sd", **options, **QUICK))
    seen = [images(eager, prompt="a <x> cat")]

    def note():
        seen.append(images(eager, prompt="a <x> cat"))
        assert np.abs(seen[-1] - seen[-2]).max() > 1e-3

    eager.load_textual_inversion(str(token), token="<x>")
    note()
    eager.unet = tiny_unet(7)
    note()
    eager.vae = tiny_vae(7)
    note()
    for file, scale in zip(files, options["lora_scales"], strict=True):
        load_eagerly(eager, file, scale)
        eager.unet.fuse_lora()
        eager.unet.unload_lora()
        note()
    eager.enable_freeu(**FREEU)
    note()
    assert np.abs(images(compiled, prompt="a <x> cat") - seen[-1]).max() <= TOLERANCE
    assert recorded(artifact("sd", **options, **QUICK)).items() >= options.items()


def test_an_ip_adapter(eager, checkpoint, tmp_path):
    """An image prompt through a plain IP-Adapter, with its scale, as diffusers has it; as embeddings and as an image."""
    file = write_ip_adapter(eager, tmp_path)
    options = {"ip_adapter_ids": [str(tmp_path)], "ip_adapter_weight_names": [file.name], "ip_adapter_scales": [0.6]}
    neuronkit.compile(checkpoint("sd"), tmp_path / "out", optlevel=1, **QUICK, **options)
    compiled = open_quietly(tmp_path / "out")
    eager.load_ip_adapter(str(tmp_path), subfolder="", weight_name=file.name)
    eager.set_ip_adapter_scale(0.6)
    embeds = torch.randn(2, 1, 24, generator=torch.Generator().manual_seed(4))
    assert difference(compiled, eager, ip_adapter_image_embeds=[embeds]) <= TOLERANCE
    other = images(compiled, ip_adapter_image_embeds=[-embeds])
    assert np.abs(images(compiled, ip_adapter_image_embeds=[embeds]) - other).max() > 1e-3
    assert difference(compiled, eager, ip_adapter_image=picture()) <= TOLERANCE
    with pytest.raises(InputError) as raised:
        images(compiled)
    assert str(raised.value) == (
        "The unet was compiled with IP-Adapters, and there are not as many image embeddings.\n"
        "Try: ip_adapter_image=... (or ip_adapter_image_embeds=...), a list with an item for each."
    )
    assert recorded(tmp_path / "out").items() >= options.items()


def write_ip_adapter(pipeline, directory):
    """Save the weights of a plain IP-Adapter: a projection into four tokens, and keys and values of every cross-attention."""
    generator = torch.Generator().manual_seed(8)
    width = pipeline.unet.config.cross_attention_dim
    state = {
        "image_proj.proj.weight": torch.randn(4 * width, 24, generator=generator) * 0.3,
        "image_proj.proj.bias": torch.zeros(4 * width),
        "image_proj.norm.weight": torch.ones(width),
        "image_proj.norm.bias": torch.zeros(width),
    }
    number = 1
    for name, module in pipeline.unet.named_modules():
        if name.endswith("attn2"):
            for letter in "kv":
                shape = getattr(module, f"to_{letter}").weight.shape
                state[f"ip_adapter.{number}.to_{letter}_ip.weight"] = torch.randn(shape, generator=generator) * 0.3
            number += 2
    save_file(state, directory / "ip.safetensors")
    torch.manual_seed(9)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = CLIPVisionConfig(image_size=32, patch_size=16, projection_dim=24, **small)
    CLIPVisionModelWithProjection(vision).save_pretrained(directory / "image_encoder")
    return directory / "ip.safetensors"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lora_model_ids": ["a", "b"], "lora_scales": [1.0]}, "lora_scales: needs 2 values"),
        (
            {"ip_adapter_scales": [0.5]},
            r"^ip_adapter_scales: needs 0 values, one for each of ip_adapter_ids \(got 1\)\.$",
        ),
        (
            {"ip_adapter_weight_names": ["ip.safetensors"]},
            r"^ip_adapter_weight_names: needs 0 values, one for each of ip_adapter_ids \(got 1\)\.$",
        ),
        ({"freeu": "s1"}, "freeu: must be name=value"),
        ({"unet_id": "/nowhere/unet"}, "unet_id: /nowhere/unet cannot be loaded as UNet2DConditionModel"),
        ({"lora_model_ids": ["/nowhere/lora"]}, "lora_model_ids: /nowhere/lora cannot be read as a LoRA"),
        (
            {"ip_adapter_ids": ["/nowhere"], "ip_adapter_weight_names": ["ip.safetensors"]},
            "ip_adapter_ids: /nowhere cannot be loaded",
        ),
        ({"ip_adapter_ids": ["a"]}, "ip_adapter_weight_names: required with ip_adapter_ids"),
        (
            {"ip_adapter_ids": ["a"], "ip_adapter_weight_names": ["ip.safetensors"], "fuse_qkv_projections": True},
            r"^fuse_qkv_projections: diffusers has no fused projections for ip_adapter_ids\. Try: one of the two\.$",
        ),
    ],
    ids=str,
)
def test_options_that_do_not_fit(options, message, checkpoint, tmp_path):
    """They are refused before anything is compiled, and leave nothing behind."""
    with pytest.raises(OptionError, match=message):
        neuronkit.compile(checkpoint("sd"), tmp_path / "out", optlevel=1, **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("freeu", "message"),
    [
        ("s1=0.9", "freeu: needs s1, s2, b1 and b2 (got s1)."),
        ({**FREEU, "b3": 1}, "freeu: needs s1, s2, b1 and b2 (got s1, s2, b1, b2, b3)."),
        ("s1=a,s2=1,b1=1,b2=1", "freeu: s1, s2, b1 and b2 must be numbers (got 's1=a,s2=1,b1=1,b2=1')."),
    ],
    ids=str,
)
def test_a_freeu_that_cannot_be(freeu, message, checkpoint, tmp_path):
    """The error names the option and what it needs."""
    with pytest.raises(OptionError) as raised:
        neuronkit.compile(checkpoint("sd"), tmp_path / "out", optlevel=1, freeu=freeu)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("token", "width", "reason"),
    [
        ("<x>", 16, "Loaded embeddings are of incorrect shape"),
        ("a", TEXT["hidden_size"], "Token a already in tokenizer vocabulary"),
        ("<x>", None, "No such file or directory"),
    ],
    ids=["width", "duplicate", "missing"],
)
def test_a_token_that_cannot_be_taught(token, width, reason, checkpoint, tmp_path):
    """The error names the option, the file and the token."""
    file = tmp_path / "token.safetensors"
    if width:
        save_file({token: torch.zeros(1, width)}, file)
    with pytest.raises(OptionError) as raised:
        neuronkit.compile(checkpoint("sd"), tmp_path / "out", optlevel=1, textual_inversion={token: str(file)})
    assert str(raised.value).startswith(f"textual_inversion: {file} cannot be taught as {token!r}: {reason}")


@pytest.mark.parametrize("component", ["unet", "text_encoder"])
def test_a_lora_of_another_model(component, checkpoint, tmp_path):
    """The error names the option, the file and the component."""
    layer = {
        "unet": "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k",
        "text_encoder": "text_model.encoder.layers.0.self_attn.q_proj",
    }[component]
    file = tmp_path / "lora.safetensors"
    shapes = {"A": (2, 48), "B": (48, 2)}
    save_file({f"{component}.{layer}.lora_{name}.weight": torch.ones(shape) for name, shape in shapes.items()}, file)
    with pytest.raises(OptionError) as raised:
        neuronkit.compile(checkpoint("sd"), tmp_path / "out", optlevel=1, lora_model_ids=[str(file)])
    assert str(raised.value) == (
        f"lora_model_ids: {file} has other sizes than the layers of {component}: the LoRA is for another model."
    )


@pytest.mark.heavy
def test_lcm_of_sdxl(checkpoint, artifact, tmp_path):
    """An LCM's UNet in SDXL takes the guidance as an input."""
    base = diffusers.UNet2DConditionModel.load_config(checkpoint("sdxl"), subfolder="unet")
    torch.manual_seed(3)
    unet = diffusers.UNet2DConditionModel.from_config({**base, "time_cond_proj_dim": 8}).eval()
    unet.save_pretrained(tmp_path / "unet")
    compiled = open_quietly(artifact("sdxl", unet_id=str(tmp_path / "unet"), **QUICK))
    eager = diffusers.StableDiffusionXLPipeline.from_pretrained(checkpoint("sdxl"), unet=unet)
    eager.set_progress_bar_config(disable=True)
    for pipeline in (compiled, eager):
        pipeline.scheduler = diffusers.LCMScheduler.from_config(pipeline.scheduler.config)
    one = difference(compiled, eager, guidance_scale=1.0)
    assert max(one, difference(compiled, eager, guidance_scale=8.0)) <= TOLERANCE


def test_a_single_file(eager, checkpoint, tmp_path):
    """A file of the original code's names, with the configurations of a directory; by the command's way and by the class."""
    state = {name: tensor.contiguous() for name, tensor in original_names(eager).items()}
    save_file(state, tmp_path / "model.safetensors")
    torch.save({"state_dict": state}, tmp_path / "model.ckpt")
    config = str(checkpoint("sd"))
    neuronkit.compile(tmp_path / "model.safetensors", tmp_path / "out", config=config, optlevel=1, **QUICK)
    assert difference(open_quietly(tmp_path / "out"), eager) <= TOLERANCE
    kind = neuronkit.NeuronStableDiffusionPipeline
    pipeline = kind.from_single_file(tmp_path / "model.ckpt", config=config, optlevel=1, **QUICK)
    pipeline.set_progress_bar_config(disable=True)
    assert difference(pipeline, eager) <= TOLERANCE
    with pytest.raises(SourceError, match="is a single file, and diffusers reads none as AmusedPipeline"):
        neuronkit.compile(tmp_path / "model.ckpt", tmp_path / "other", config=str(checkpoint("amused")))


def test_a_variant(eager, tmp_path):
    """A checkpoint with no other files than a variant's is compiled from these, in float32."""
    eager.to(torch.float16).save_pretrained(tmp_path / "half", variant="fp16")
    with pytest.raises(
        SourceError, match=r"cannot be loaded as StableDiffusionPipeline: .*\nTry: --variant fp16 \(variant='fp16'\)$"
    ):
        neuronkit.compile(tmp_path / "half", tmp_path / "out", optlevel=1, **QUICK)
    neuronkit.compile(tmp_path / "half", tmp_path / "out", optlevel=1, variant="fp16", **QUICK)
    assert difference(open_quietly(tmp_path / "out"), eager.to(torch.float32)) <= TOLERANCE


@pytest.mark.parametrize("damage", ["truncated", "another shape"])
def test_damaged_weights(eager, tmp_path, damage):
    """What transformers ends with for a text encoder, as what diffusers ends with for a UNet."""
    eager.save_pretrained(tmp_path / "damaged")
    file = tmp_path / "damaged" / "text_encoder" / "model.safetensors"
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:3000])
    else:
        tensors = {name: torch.zeros(3, *tensor.shape[1:]) for name, tensor in load_file(file).items()}
        save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(SourceError, match="damaged cannot be loaded as StableDiffusionPipeline: "):
        neuronkit.compile(tmp_path / "damaged", tmp_path / "out", optlevel=1, **QUICK)


def test_code_in_a_pickle_does_not_run(checkpoint, tmp_path):
    """A `.ckpt` file is read with weights only."""
    torch.save({"state_dict": {"x": Trap(tmp_path / "trapped")}}, tmp_path / "model.ckpt")
    with pytest.raises(NeuronkitError, match="cannot be loaded as StableDiffusionPipeline"):
        neuronkit.compile(tmp_path / "model.ckpt", tmp_path / "out", config=str(checkpoint("sd")), optlevel=1)
    assert not (tmp_path / "trapped").exists()


class Trap:
    """An object whose unpickling makes a directory."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)
