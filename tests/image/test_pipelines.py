"""Every pipeline of the Stable Diffusion family gives what diffusers gives."""

from __future__ import annotations

import diffusers
import numpy as np
import pytest
import torch

import neuronkit
from neuronkit.errors import InputError
from tests.image.pairs import TOLERANCE, difference, images, load_pair, mask, picture, sibling_pair

PIPELINES = {
    "StableDiffusionPipeline": ("sd", {}),
    "StableDiffusionImg2ImgPipeline": ("sd", {"image": picture(), "strength": 0.7}),
    "StableDiffusionInpaintPipeline": ("sd", {"image": picture(), "mask_image": mask()}),
    "StableDiffusionXLPipeline": ("sdxl", {}),
    "StableDiffusionXLImg2ImgPipeline": ("sdxl", {"image": picture(), "strength": 0.7}),
    "StableDiffusionXLInpaintPipeline": ("sdxl", {"image": picture(), "mask_image": mask(), "strength": 0.8}),
    "LatentConsistencyModelPipeline": ("lcm", {}),
    "LatentConsistencyModelImg2ImgPipeline": ("lcm", {"image": picture(), "strength": 0.9}),
}


@pytest.fixture(scope="module")
def pair(checkpoint, artifact):
    """Return the compiled and the eager pipeline of a class; one artifact serves all classes of a checkpoint."""
    made = {}

    def load(name):
        if name not in made:
            recipe, _ = PIPELINES[name]
            first = next(other for other in PIPELINES if PIPELINES[other][0] == recipe)
            if name == first:
                made[name] = load_pair(name, checkpoint(recipe), artifact(recipe))
            else:
                made[name] = sibling_pair(name, load(first))
        return made[name]

    return load


@pytest.mark.parametrize("name", PIPELINES)
def test_equals_diffusers(name, pair):
    """Three steps on a fixed seed give the same image."""
    compiled, eager = pair(name)
    assert isinstance(compiled, type(eager))
    assert difference(compiled, eager, **PIPELINES[name][1]) <= TOLERANCE


@pytest.mark.parametrize("name", PIPELINES)
def test_several_images_of_several_prompts(name, pair):
    """Two prompts with two images each, and a generator for each image, give the same images in the same order."""
    compiled, eager = pair(name)
    arguments = dict(PIPELINES[name][1])
    if "image" in arguments:
        arguments["image"] = [picture(), picture(seed=1)]
    if "mask_image" in arguments:
        arguments["mask_image"] = [mask(), mask()]
    arguments |= {"prompt": ["a red cat", "a dog"], "num_images_per_prompt": 2, "seed": [1, 2, 3, 4]}
    if "Img2Img" in name or "Inpaint" in name:
        arguments |= {"num_images_per_prompt": 1, "seed": [1, 2]}
    assert difference(compiled, eager, **arguments) <= TOLERANCE


@pytest.mark.parametrize(
    "arguments",
    [
        {"guidance_scale": 1.0},
        {"negative_prompt": "blurry"},
        {"prompt": ["a cat", "a dog"], "negative_prompt": ["blurry", "red"]},
        {"guidance_rescale": 0.7},
        {"eta": 0.5},
        {"output_type": "latent"},
        {"output_type": "pt"},
        {"height": 32, "width": 32},
        {"num_inference_steps": 2},
    ],
    ids=str,
)
def test_options_of_text_to_image(arguments, pair):
    """Each argument has the effect that it has in diffusers."""
    compiled, eager = pair("StableDiffusionPipeline")
    assert difference(compiled, eager, **arguments) <= TOLERANCE


def test_pil_images_are_equal(pair):
    """The default output is a list of PIL images."""
    compiled, eager = pair("StableDiffusionPipeline")
    ours, theirs = (images(pipeline, output_type="pil")[0] for pipeline in (compiled, eager))
    assert np.abs(np.asarray(ours, dtype=int) - np.asarray(theirs, dtype=int)).max() <= 1


def test_embeddings_in_place_of_prompts(pair):
    """`encode_prompt` gives the embeddings that the pipeline then takes in place of a prompt."""
    compiled, eager = pair("StableDiffusionPipeline")
    results = []
    for pipeline in (compiled, eager):
        prompt, negative = pipeline.encode_prompt("a red cat", "cpu", 1, True)
        results.append(images(pipeline, prompt=None, prompt_embeds=prompt, negative_prompt_embeds=negative))
    assert np.abs(results[0] - results[1]).max() <= TOLERANCE
    assert np.abs(results[0] - images(compiled)).max() <= TOLERANCE


def test_latents_of_the_caller(pair):
    """Given latents take the place of seeded noise."""
    compiled, eager = pair("StableDiffusionPipeline")
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(3))
    assert difference(compiled, eager, latents=latents) <= TOLERANCE


def test_clip_skip(pair):
    """`clip_skip` normalises an earlier hidden state; eager diffusers needs the level that transformers 5 dropped."""
    compiled, eager = pair("StableDiffusionPipeline")
    prompt, _ = compiled.encode_prompt("a red cat", "cpu", 1, False, clip_skip=1)
    ids = eager.tokenizer("a red cat", padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        states = eager.text_encoder(ids, output_hidden_states=True).hidden_states
        expected = eager.text_encoder.final_layer_norm(states[-2])
    assert (prompt - expected).abs().max() <= TOLERANCE
    assert np.abs(images(compiled, clip_skip=1) - images(compiled)).max() > 1e-3


def test_callback_on_step_end_sees_and_changes_tensors(pair):
    """A callback gets the tensors that it asked for, and what it returns is used."""
    seen = []

    def halve(pipeline, step, timestep, tensors):
        seen.append((type(pipeline).__name__, step, sorted(tensors)))
        return {"latents": tensors["latents"] / 2}

    arguments = {"callback_on_step_end": halve, "callback_on_step_end_tensor_inputs": ["latents", "prompt_embeds"]}
    compiled, eager = pair("StableDiffusionPipeline")
    assert difference(compiled, eager, **arguments) <= TOLERANCE
    assert seen[0] == ("NeuronStableDiffusionPipeline", 0, ["latents", "prompt_embeds"])
    assert len(seen) == 6


@pytest.mark.parametrize(
    "scheduler", ["PNDMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler", "LCMScheduler"]
)
def test_any_scheduler(scheduler, pair):
    """A scheduler swapped in is used; its timesteps may be floats."""
    compiled, eager = sibling_pair("StableDiffusionPipeline", pair("StableDiffusionPipeline"))
    for pipeline in (compiled, eager):
        pipeline.scheduler = getattr(diffusers, scheduler).from_config(pipeline.scheduler.config)
    assert difference(compiled, eager, num_inference_steps=5) <= TOLERANCE  # PNDM cannot do fewer than four


def test_timesteps_and_sigmas(pair):
    """Custom schedules reach the UNet."""
    compiled, eager = sibling_pair("StableDiffusionPipeline", pair("StableDiffusionPipeline"))
    for pipeline in (compiled, eager):
        pipeline.scheduler = diffusers.EulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    assert difference(compiled, eager, num_inference_steps=50, timesteps=[900, 500, 100]) <= TOLERANCE
    assert difference(compiled, eager, num_inference_steps=50, sigmas=[10.0, 3.0, 0.5]) <= TOLERANCE


@pytest.mark.parametrize("guidance", [1.0, 8.0])
def test_guidance_of_an_lcm(guidance, pair):
    """The guidance reaches an LCM's UNet as an input."""
    compiled, eager = pair("LatentConsistencyModelPipeline")
    assert difference(compiled, eager, guidance_scale=guidance) <= TOLERANCE


def test_guidance_of_an_lcm_matters(pair):
    """Two guidances give two images."""
    compiled, _ = pair("LatentConsistencyModelPipeline")
    assert np.abs(images(compiled, guidance_scale=1.0) - images(compiled, guidance_scale=8.0)).max() > 1e-4


@pytest.mark.parametrize(
    "arguments",
    [
        {"prompt_2": "a dog", "negative_prompt": "blurry", "negative_prompt_2": "red"},
        {"original_size": (64, 48), "target_size": (40, 40), "crops_coords_top_left": (3, 5)},
        {
            "negative_original_size": (20, 20),
            "negative_target_size": (50, 50),
            "negative_crops_coords_top_left": (1, 2),
        },
        {"guidance_rescale": 0.5},
        {"clip_skip": 1},
        {"denoising_end": 0.5, "output_type": "latent"},
    ],
    ids=str,
)
def test_options_of_sdxl(arguments, pair):
    """Micro-conditioning and the second prompt have the effect that they have in diffusers."""
    compiled, eager = pair("StableDiffusionXLPipeline")
    assert difference(compiled, eager, **arguments) <= TOLERANCE


@pytest.mark.parametrize("typed", ["64,48", [64, 48], ["64", "48"]], ids=str)
def test_sizes_of_sdxl_as_they_are_typed(typed, artifact, pair):
    """On the command line they are texts and lists, and diffusers adds tuples up."""
    run = neuronkit.pipeline(artifact("sdxl"))
    run.shell.set_progress_bar_config(disable=True)
    arguments = {"original_size": (64, 48), "negative_target_size": (64, 48), "negative_original_size": (64, 48)}
    typed = dict.fromkeys(arguments, typed)
    ours = run(prompt="a red cat", steps=3, seed=0, output_type="np", crops_coords_top_left="3,5", **typed)
    theirs = images(pair("StableDiffusionXLPipeline")[1], crops_coords_top_left=(3, 5), **arguments)
    assert np.abs(ours - theirs).max() <= TOLERANCE


def test_sdxl_turbo_is_one_step_without_guidance(pair):
    """One step without guidance, as SDXL Turbo is used."""
    compiled, eager = pair("StableDiffusionXLPipeline")
    assert difference(compiled, eager, num_inference_steps=1, guidance_scale=0.0) <= TOLERANCE


def test_pooled_embeddings(pair):
    """SDXL's four embeddings take the place of the prompts."""
    compiled, eager = pair("StableDiffusionXLPipeline")
    results = []
    for pipeline in (compiled, eager):
        prompt, negative, pooled, negative_pooled = pipeline.encode_prompt("a cat", negative_prompt="red")
        embeds = {"prompt_embeds": prompt, "negative_prompt_embeds": negative}
        embeds |= {"pooled_prompt_embeds": pooled, "negative_pooled_prompt_embeds": negative_pooled}
        results.append(images(pipeline, prompt=None, **embeds))
    assert np.abs(results[0] - results[1]).max() <= TOLERANCE


@pytest.fixture(scope="module")
def refiner(checkpoint, artifact):
    """Return the compiled and the eager refiner of SDXL."""
    return load_pair("StableDiffusionXLImg2ImgPipeline", checkpoint("refiner"), artifact("refiner"))


@pytest.mark.parametrize("split", [True, False], ids=["ensemble", "whole images"])
def test_base_and_refiner(split, pair, refiner):
    """Both documented ways of refining: half-denoised latents, and a finished image's latents."""
    results = []
    for base, refining in zip(pair("StableDiffusionXLPipeline"), refiner, strict=True):
        first = {"denoising_end": 0.6} if split else {}
        second = {"denoising_start": 0.6} if split else {"strength": 0.7}
        latents = images(base, output_type="latent", **first)
        results.append(images(refining, image=latents, aesthetic_score=5.0, negative_aesthetic_score=2.0, **second))
    assert np.abs(results[0] - results[1]).max() <= TOLERANCE


@pytest.fixture(scope="module", params=["sd", "sd-inpaint"])
def inpainting(request, pair, checkpoint, artifact):
    """Return the compiled and the eager pipeline over UNets of 4 and of 9 channels."""
    if request.param == "sd":
        return pair("StableDiffusionInpaintPipeline")
    return load_pair("StableDiffusionInpaintPipeline", checkpoint(request.param), artifact(request.param))


@pytest.mark.parametrize("crop", [None, 4])
def test_inpainting_with_both_kinds_of_unet(crop, inpainting):
    """UNets of 4 and of 9 channels repaint, whole and around the mask."""
    compiled, eager = inpainting
    arguments = {"image": picture(), "mask_image": mask(), "padding_mask_crop": crop, "strength": 0.9}
    if crop:
        ours, theirs = (images(pipeline, **{**arguments, "output_type": "pil"})[0] for pipeline in (compiled, eager))
        assert np.abs(np.asarray(ours, dtype=int) - np.asarray(theirs, dtype=int)).max() <= 1
    else:
        assert difference(compiled, eager, **arguments) <= TOLERANCE


@pytest.mark.parametrize("kind", ["array", "tensor", "latents", "list"])
def test_image_in_every_form(kind, pair):
    """Image-to-image takes arrays, tensors, latents and lists."""
    compiled, eager = pair("StableDiffusionImg2ImgPipeline")
    array = np.asarray(picture(), dtype=np.float32) / 255
    forms = {
        "array": array[None],
        "tensor": torch.from_numpy(array).permute(2, 0, 1)[None],
        "latents": torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(5)),
        "list": [picture()],
    }
    assert difference(compiled, eager, image=forms[kind], strength=0.7) <= TOLERANCE


def test_masked_image_latents(pair):
    """Latents of the masked image may be given, and a mask as a tensor."""
    compiled, eager = pair("StableDiffusionInpaintPipeline")
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(6))
    tensor = torch.from_numpy(np.asarray(mask(), dtype=np.float32) / 255)[None, None]
    assert difference(compiled, eager, image=picture(), mask_image=tensor, masked_image_latents=latents) <= TOLERANCE


def test_the_task_of_a_checkpoint(checkpoint, artifact, refiner):
    """A checkpoint is compiled for the task of the pipeline class that it names, with all of its settings."""
    assert type(neuronkit.load(artifact("refiner"))) is neuronkit.NeuronStableDiffusionXLImg2ImgPipeline
    assert type(neuronkit.load(artifact("sd-inpaint"))) is neuronkit.NeuronStableDiffusionInpaintPipeline
    other = artifact("refiner", task="text-to-image", validate=False)
    again = neuronkit.NeuronStableDiffusionXLImg2ImgPipeline.from_pretrained(other)
    again.set_progress_bar_config(disable=True)
    assert again.config.requires_aesthetics_score is True
    assert difference(again, refiner[1], image=picture(), strength=0.7, aesthetic_score=5.0) <= TOLERANCE


@pytest.mark.parametrize("task", ["image-to-image", "inpainting"])
@pytest.mark.parametrize("given", [(), ("image",), ("image", "mask_image")], ids=len)
def test_every_task_serves_the_others(task, given, artifact, pair):
    """What is given chooses the pipeline, whatever the artifact was compiled for."""
    run = neuronkit.pipeline(artifact("sd", task=task, validate=False))
    run.shell.set_progress_bar_config(disable=True)
    arguments = {name: {"image": picture(), "mask_image": mask()}[name] for name in given}
    names = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline")
    theirs = images(pair(names[len(given)])[1], **arguments)
    ours = run(prompt="a red cat", steps=3, seed=0, output_type="np", **arguments)
    assert np.abs(ours - theirs).max() <= TOLERANCE


@pytest.mark.parametrize(
    ("recipe", "given", "message"),
    [
        ("sd-inpaint", {}, "NeuronStableDiffusionInpaintPipeline needs image=...: a file or an image."),
        (
            "sd-inpaint",
            {"image": picture()},
            "NeuronStableDiffusionInpaintPipeline needs mask=...: a file or an image.",
        ),
        ("refiner", {}, "NeuronStableDiffusionXLImg2ImgPipeline needs image=...: a file or an image."),
    ],
)
def test_components_of_one_task(recipe, given, message, artifact):
    """A UNet that cannot do the others says what is missing."""
    with pytest.raises(InputError) as raised:
        neuronkit.pipeline(artifact(recipe))(prompt="a cat", **given)
    assert str(raised.value) == message


def test_a_task_that_was_asked_for(artifact):
    """It is not left for another one."""
    with pytest.raises(InputError) as raised:
        neuronkit.pipeline(artifact("sd"), task="inpainting")(prompt="a cat", image=picture())
    assert str(raised.value) == "NeuronStableDiffusionInpaintPipeline needs mask=...: a file or an image."


def test_neuronkit_load_returns_the_pipeline_of_the_task(artifact):
    """`load` picks the class by the artifact's task, or by the one asked for."""
    assert neuronkit.NeuronStableDiffusionPipeline is type(neuronkit.load(artifact("sd")))
    assert neuronkit.NeuronStableDiffusionInpaintPipeline is type(neuronkit.load(artifact("sd"), task="inpainting"))
