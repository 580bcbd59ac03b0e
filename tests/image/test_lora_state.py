"""What a pipeline knows of its LoRAs from one change to the next, beside diffusers with the same changes."""

from __future__ import annotations

import os
import re
import shutil

import numpy as np
import pytest
import torch

import neuronkit
from neuronkit.errors import InputError
from tests.image.loras import write_lora
from tests.image.pairs import TOLERANCE, images, load_pair

STRENGTHS = [None, [None], 0.4, {"unet": {"down": 0.4}}, {"text_encoder": 0.5}, {"unet": None, "text_encoder": 0.3}]


@pytest.fixture(scope="module")
def directories(checkpoint, tmp_path_factory):
    """Two LoRAs of the UNet, and one of the text encoder too."""
    root = tmp_path_factory.mktemp("loras")
    return [write_lora(checkpoint("sd"), root / str(seed), seed, text=seed == 2) for seed in (0, 1, 2)]


@pytest.fixture
def pair(checkpoint, artifact):
    """A pipeline whose weights are apart, and diffusers' own, both without LoRAs."""
    return load_pair("StableDiffusionPipeline", checkpoint("sd"), artifact("sd"))


def differ(pair):
    """Return how far the images of two pipelines are apart."""
    ours, theirs = map(images, pair)
    return float(np.abs(ours - theirs).max())


def test_what_was_read_stays(pair, directories, tmp_path):
    """A file that is replaced changes no LoRA that is loaded, and one that went is not missed; nor is a dictionary's."""
    run = shutil.copytree(directories[0], tmp_path / "run")
    for pipeline in pair:
        pipeline.load_lora_weights(run, adapter_name="step100")
    image = images(pair[0])
    name = "pytorch_lora_weights.safetensors"
    shutil.copy(directories[1] / name, run / "new")
    os.replace(run / "new", run / name)
    for pipeline in pair:
        pipeline.load_lora_weights(run, adapter_name="step200")
    shutil.rmtree(run)
    assert differ(pair) <= TOLERANCE
    for pipeline in pair:
        pipeline.set_adapters("step100")
        pipeline.delete_adapters("step200")
    assert np.array_equal(images(pair[0]), image)
    strengths = {"unet": 0.5}
    pair[0].set_adapters("step100", strengths)
    image = images(pair[0])
    strengths["unet"] = 1.0
    pair[0].disable_lora()
    pair[0].enable_lora()
    assert np.array_equal(images(pair[0]), image)


def test_deleting_the_active_one(pair, directories):
    """The first that is left, by name, is active then, with the strength that it had last; the others stay as they are."""
    for pipeline in pair:
        for directory, name in zip(directories[:2] * 2, ("second", "first", "it", "more"), strict=True):
            pipeline.load_lora_weights(directory, adapter_name=name)
            if name == "first":
                pipeline.set_adapters("first", 0.5)
    for names, active in (("more", "first"), (["it", "first"], "second"), ("second", None)):
        for pipeline in pair:
            pipeline.delete_adapters(names)
            if active is not None:
                assert pipeline.get_active_adapters() == [active]
        assert differ(pair) <= TOLERANCE
    assert pair[0].get_active_adapters() == []


@pytest.mark.parametrize("strength", STRENGTHS, ids=str)
def test_a_strength_that_is_implied(strength, pair, directories):
    """It is 1, and a fuse multiplies it like one that is given."""
    for pipeline in pair:
        pipeline.load_lora_weights(directories[0], adapter_name="it")
        pipeline.set_adapters("it", strength)
    assert differ(pair) <= TOLERANCE
    for pipeline in pair:
        pipeline.fuse_lora(lora_scale=0.5)
    assert differ(pair) <= TOLERANCE


@pytest.mark.parametrize("strength", [[None], {"unet": 0.3}], ids=str)
def test_an_implied_strength_of_a_text_encoder(strength, pair, directories):
    """It is 1 there too, and is multiplied."""
    compiled, _ = pair

    def encoded():
        return compiled.encode_prompt("a red cat", "cpu", 1, False)[0]

    plain = encoded()
    compiled.load_lora_weights(directories[2], adapter_name="it")
    full = encoded()
    assert (full - plain).abs().max() > 1e-3
    compiled.set_adapters(["it"], strength if isinstance(strength, list) else [strength])
    assert torch.equal(encoded(), full)
    compiled.set_adapters("it", 0.5)
    half = encoded()
    compiled.set_adapters(["it"], strength if isinstance(strength, list) else [strength])
    compiled.fuse_lora(lora_scale=0.5)
    assert torch.equal(encoded(), half)


def test_unknown_components(pair, directories):
    """Strengths for one, and a fuse into none, are refused."""
    compiled, _ = pair
    compiled.load_lora_weights(directories[0], adapter_name="it")
    with pytest.raises(InputError) as raised:
        compiled.set_adapters("it", {"unnet": 0.1})
    assert str(raised.value) == (
        "set_adapters knows no component 'unnet'. Weights may be given for text_encoder, text_encoder_2, unet."
    )
    with pytest.raises(InputError) as raised:
        compiled.fuse_lora(components=[])
    assert str(raised.value) == (
        "fuse_lora needs components. Try: leave them out, or some of text_encoder, text_encoder_2, unet."
    )
    assert compiled.fused_loras == set()


def test_a_fuse_while_disabled(pair, directories):
    """What is fused is part of the weights: disabled with the rest as long as the LoRA is loaded, and kept after that."""
    compiled, _ = pair
    plain = images(compiled)
    for pipeline in pair:
        pipeline.load_lora_weights(directories[0], adapter_name="one")
        pipeline.fuse_lora(components=["unet"])
    fused = images(compiled)
    for pipeline in pair:
        pipeline.disable_lora()
    assert np.array_equal(images(compiled), plain)
    assert differ(pair) <= TOLERANCE
    for pipeline in pair:
        pipeline.enable_lora()
    assert np.array_equal(images(compiled), fused)
    assert differ(pair) <= TOLERANCE
    compiled.unload_lora_weights()
    compiled.disable_lora()
    assert compiled.fused_loras == {"one"}
    assert compiled.num_fused_loras == 1
    assert np.array_equal(images(compiled), fused)
    compiled.load_lora_weights(directories[1], adapter_name="one")
    compiled.enable_lora()
    compiled.fuse_lora()
    compiled.unfuse_lora()
    compiled.unload_lora_weights()
    assert compiled.fused_loras == set()
    assert np.array_equal(images(compiled), plain)


def test_what_a_lora_has_weights_for(pair, directories):
    """It is listed there, as in diffusers, and nowhere else."""
    for pipeline in pair:
        pipeline.load_lora_weights(directories[0], adapter_name="one")
    assert pair[0].get_list_adapters() == pair[1].get_list_adapters() == {"unet": ["one"]}
    pair[0].load_lora_weights(directories[2], adapter_name="text")
    assert pair[0].get_list_adapters() == {"text_encoder": ["text"], "unet": ["one", "text"]}


@pytest.mark.parametrize(("component", "number"), [("unet", 0), ("text_encoder", 2)])
def test_a_component_that_was_replaced(component, number, pair, directories, artifact):
    """A LoRA that has weights for it is refused, whenever it took the compiled one's place; put back, that takes LoRAs."""
    compiled, eager = pair
    directory = directories[number]
    replaced = neuronkit.NeuronStableDiffusionPipeline.from_pretrained(
        artifact("sd"), **{component: getattr(eager, component)}
    )
    shell = getattr(compiled, component)
    compiled.load_lora_weights(directory, adapter_name="before")
    setattr(compiled, component, getattr(eager, component))
    message = (
        f"{directory} has weights for {component}, and the pipeline has another {component} than the compiled one: "
        "they would reach no image.\n"
        f"Try: put the compiled {component} back, or load the LoRA into the other one with diffusers before it takes its place."
    )
    for change in (
        lambda: replaced.load_lora_weights(directory),
        lambda: compiled.load_lora_weights(directory),
        lambda: compiled.set_adapters("before"),
        compiled.fuse_lora,
    ):
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            change()
    if component == "text_encoder":
        compiled.load_lora_weights(directories[0], adapter_name="of the UNet")
        assert compiled.get_active_adapters() == ["of the UNet"]
    setattr(compiled, component, shell)
    compiled.set_adapters("before", 0.5)


def test_no_component_of_ours(pair):
    """A LoRA that has weights for none of those that take one is refused."""
    state = {f"transformer.blocks.0.attn.to_q.lora_{letter}.weight": torch.zeros(2, 2) for letter in "AB"}
    with pytest.raises(InputError) as raised:
        pair[0].load_lora_weights(state)
    assert str(raised.value) == (
        "The dictionary has weights for transformer, and LoRAs are merged into text_encoder, text_encoder_2, unet: "
        "the LoRA is for another model, or its names lack the component."
    )
    assert pair[0].get_active_adapters() == []


def test_a_scale_for_the_text_encoder(pair, directories):
    """`encode_prompt` refuses one, as a call does: what is merged has its strength."""
    compiled, _ = pair
    compiled.load_lora_weights(directories[2], adapter_name="it")
    with pytest.raises(InputError) as raised:
        compiled.encode_prompt("a red cat", "cpu", 1, True, lora_scale=0.3)
    assert str(raised.value) == (
        "lora_scale (cross_attention_kwargs['scale']) has no effect on compiled components.\n"
        "Try: compile with lora_scales, or use set_adapters."
    )
    one, none = (compiled.encode_prompt("a red cat", "cpu", 1, True, lora_scale=scale)[0] for scale in (1.0, None))
    assert torch.equal(one, none)


def test_projections_compiled_as_one(checkpoint, artifact, directories):
    """A LoRA of query, key and value reaches their product."""
    pair = load_pair("StableDiffusionPipeline", checkpoint("sd"), artifact("sd", fuse_qkv_projections=True))
    compiled, eager = pair
    plain = images(compiled)
    for pipeline in pair:
        pipeline.load_lora_weights(directories[0], adapter_name="it")
    assert differ(pair) <= TOLERANCE
    eager.unet.fuse_lora()
    eager.unet.unload_lora()
    eager.fuse_qkv_projections()
    assert differ(pair) <= TOLERANCE
    compiled.unload_lora_weights()
    assert np.array_equal(images(compiled), plain)
