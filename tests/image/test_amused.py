"""aMUSEd's pipelines give the tokens and the pixels that diffusers gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import neuronkit
from neuronkit.errors import FixedGraphError, InputError
from tests.image.pairs import TOLERANCE, difference, images, load_pair, mask, picture, sibling_pair

SIZES = {"amused": 16, "amused-large": 32}


@pytest.fixture(scope="module")
def pair(checkpoint, artifact):
    """Return the compiled and the eager pipeline of a class over a recipe's checkpoint."""
    made = {}

    def load(name="AmusedPipeline", recipe="amused"):
        if (name, recipe) not in made:
            if name == "AmusedPipeline":
                made[name, recipe] = load_pair(name, checkpoint(recipe), artifact(recipe))
            else:
                made[name, recipe] = sibling_pair(name, load(recipe=recipe))
        return made[name, recipe]

    return load


def inputs(name, size=16):
    """Return the image and the mask that a pipeline takes."""
    given = {} if name == "AmusedPipeline" else {"image": picture(size)}
    return given | ({"mask_image": mask(size)} if "Inpaint" in name else {})


@pytest.mark.parametrize("recipe", ["amused", pytest.param("amused-large", marks=pytest.mark.heavy)])
@pytest.mark.parametrize("name", ["AmusedPipeline", "AmusedImg2ImgPipeline", "AmusedInpaintPipeline"])
def test_equals_diffusers(name, recipe, pair):
    """Both geometries, every task."""
    compiled, eager = pair(name, recipe)
    assert difference(compiled, eager, num_inference_steps=4, **inputs(name, SIZES[recipe])) <= TOLERANCE


@pytest.mark.parametrize("name", ["AmusedPipeline", "AmusedImg2ImgPipeline", "AmusedInpaintPipeline"])
def test_token_ids_are_equal_at_every_step(name, pair):
    """The loop samples on the host, so every step has diffusers' very tokens."""
    steps = []
    for pipeline in pair(name):
        seen = []
        images(
            pipeline,
            num_inference_steps=4,
            callback=lambda step, timestep, latents, seen=seen: seen.append(latents.clone()),
            **inputs(name),
        )
        steps.append(seen)
    assert len(steps[0]) == len(steps[1]) >= 2
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*steps, strict=True))
    assert torch.int64 == steps[0][0].dtype


@pytest.mark.parametrize(
    "arguments",
    [
        {"guidance_scale": 0.0},
        {"guidance_scale": 3.0, "negative_prompt": "blurry"},
        {"prompt": ["a cat", "a dog"], "num_images_per_prompt": 2},
        {"temperature": 1},
        {"temperature": (3, 1)},
        {"temperature": [3, 1]},
        {"micro_conditioning_aesthetic_score": 3, "micro_conditioning_crop_coord": (4, 8)},
        {"output_type": "latent"},
        {"return_dict": False},
        {"num_inference_steps": 12},
        {"latents": torch.full((1, 8, 8), 32).index_fill(1, torch.tensor([0, 3]), 5)},
        {"callback_steps": 2, "callback": lambda *_: None},
        {"height": 16, "width": 16},
    ],
    ids=lambda arguments: "-".join(arguments),
)
def test_arguments(arguments, pair):
    """Each argument has the effect that it has in diffusers."""
    compiled, eager = pair()
    assert difference(compiled, eager, **{"num_inference_steps": 4, **arguments}) <= TOLERANCE


@pytest.mark.parametrize("token", [-1, 33])
def test_ids_that_stand_for_nothing(token, pair):
    """A compiled lookup that meets one ends the process: they are refused before."""
    compiled, _ = pair()
    with pytest.raises(InputError, match=f"^input_ids holds {token}, and must hold numbers from 0 to 32.$"):
        images(compiled, latents=torch.full((1, 8, 8), token))
    with pytest.raises(InputError, match=f"^tokens holds {token}, and must hold numbers from 0 to 31.$"):
        compiled.vqvae.decode(torch.full((1, 8, 8), token), force_not_quantize=True)


@pytest.mark.parametrize("strength", [0.2, 1.0])
def test_strength(strength, pair):
    """Image-to-image keeps as much of the image as diffusers does."""
    compiled, eager = pair("AmusedImg2ImgPipeline")
    arguments = {"num_inference_steps": 6, "strength": strength, "image": picture(16)}
    assert difference(compiled, eager, **arguments) <= TOLERANCE


def test_several_images_of_an_image(pair):
    """Several prompts and several images a prompt."""
    compiled, eager = pair("AmusedInpaintPipeline")
    arguments = {"prompt": ["a cat", "a dog"], "image": [picture(16), picture(16, 1)], "mask_image": [mask(16)] * 2}
    assert difference(compiled, eager, num_inference_steps=4, **arguments) <= TOLERANCE


def test_embeddings_in_place_of_prompts(pair):
    """Both kinds of embeddings and their negatives take the place of the prompts."""
    compiled, eager = pair()
    results = []
    for pipeline in (compiled, eager):
        made = {}
        for prefix, text in (("", "a red cat"), ("negative_", "blurry")):
            ids = pipeline.tokenizer(text, padding="max_length", max_length=77, return_tensors="pt").input_ids
            with torch.no_grad():
                encoded = pipeline.text_encoder(ids, return_dict=True, output_hidden_states=True)
            made |= {
                f"{prefix}prompt_embeds": encoded.text_embeds,
                f"{prefix}encoder_hidden_states": encoded.hidden_states[-2],
            }
        results.append(images(pipeline, prompt=None, num_inference_steps=4, **made))
    assert np.abs(results[0] - results[1]).max() <= TOLERANCE
    assert np.abs(results[0] - images(compiled, num_inference_steps=4, negative_prompt="blurry")).max() <= TOLERANCE


def test_a_prompt_matters(pair):
    """The tiny checkpoint is no constant: another prompt gives another image."""
    compiled, _ = pair()
    assert np.abs(images(compiled) - images(compiled, prompt="a dog")).max() > 0.01


def test_batch_one_graphs_serve_guidance(checkpoint, artifact):
    """With fixed buckets of one row, the two rows of guidance are two calls."""
    static, eager = load_pair("AmusedPipeline", checkpoint("amused"), artifact("amused", static=True))
    assert difference(static, eager, num_inference_steps=4, num_images_per_prompt=3) <= TOLERANCE


def test_other_sizes_are_refused(pair):
    """A height that was not compiled for is an error, and so is an image of such a size."""
    compiled, _ = pair()
    with pytest.raises(InputError, match=r"height x width of 32 x any was asked for.*compiled for 16 x 16"):
        images(compiled, height=32)
    transformer, _ = pair("AmusedImg2ImgPipeline")
    with pytest.raises(InputError, match="images are never padded"):
        images(transformer, image=picture(24))


def test_attention_keywords_are_refused(pair):
    """Keywords for attention processors would be lost."""
    compiled, _ = pair()
    with pytest.raises(InputError, match=r"cross_attention_kwargs\['gate'\] has no effect"):
        images(compiled, cross_attention_kwargs={"gate": 1})


def test_a_component_alone_is_not_saved(pair, tmp_path):
    """The whole artifact is saved, not a component."""
    compiled, _ = pair()
    with pytest.raises(FixedGraphError, match=r"pipeline\.save_pretrained"):
        compiled.transformer.save_pretrained(tmp_path)


def test_generic_pipeline(artifact, pair):
    """`neuronkit.pipeline` picks the task by what it is given."""
    run = neuronkit.pipeline(artifact("amused"))
    run.shell.set_progress_bar_config(disable=True)
    ours = run(prompt="a red cat", image=picture(16), mask=mask(16), steps=4, seed=0, output_type="np")
    _, eager = pair("AmusedInpaintPipeline")
    theirs = images(eager, image=picture(16), mask_image=mask(16), num_inference_steps=4)
    assert np.abs(ours - theirs).max() <= TOLERANCE
