"""Pipelines with ControlNets give what diffusers gives."""

from __future__ import annotations

import re

import diffusers
import numpy as np
import pytest
from PIL import Image

import neuronkit
from neuronkit.cli import main
from neuronkit.errors import ArtifactMismatchError, FixedGraphError, InputError, OptionError
from tests.image.checkpoints import tiny_controlnet
from tests.image.loras import write_lora
from tests.image.pairs import TOLERANCE, difference, images, load_pair, mask, picture, sibling_pair

CONTROL = picture(seed=7)
SD, XL = "StableDiffusionControlNet", "StableDiffusionXLControlNet"
START = {"image": picture(), "strength": 0.7, "control_image": CONTROL}
PIPELINES = {
    f"{SD}Pipeline": ("sd-control", {"image": CONTROL}),
    f"{SD}Img2ImgPipeline": ("sd-control", START),
    f"{SD}InpaintPipeline": ("sd-control", {**START, "mask_image": mask()}),
    f"{XL}Pipeline": ("sdxl-control", {"image": CONTROL}),
    f"{XL}Img2ImgPipeline": ("sdxl-control", START),
    f"{XL}InpaintPipeline": ("sdxl-control", {**START, "mask_image": mask()}),
}


@pytest.fixture(scope="module")
def pair(checkpoint, artifact):
    """Return the compiled and the eager pipeline of a class."""
    made = {}

    def load(name):
        if name not in made:
            recipe, _ = PIPELINES[name]
            first = f"{SD if recipe == 'sd-control' else XL}Pipeline"
            if name == first:
                made[name] = load_pair(name, checkpoint(recipe), artifact(recipe))
            else:
                made[name] = sibling_pair(name, load(first))
        return made[name]

    return load


@pytest.mark.parametrize("name", PIPELINES)
def test_equals_diffusers(name, pair):
    """Three steps on a fixed seed give the same image, and another one than without control."""
    compiled, eager = pair(name)
    arguments = PIPELINES[name][1]
    assert isinstance(compiled, type(eager))
    assert difference(compiled, eager, **arguments) <= TOLERANCE
    free = images(compiled, **arguments, controlnet_conditioning_scale=0.0)
    assert np.abs(images(compiled, **arguments) - free).max() > 100 * TOLERANCE


@pytest.mark.parametrize(
    "arguments",
    [
        {"controlnet_conditioning_scale": 0.3},
        {"guess_mode": True},
        {"guess_mode": True, "guidance_scale": 1.0},
        {"control_guidance_start": 0.4},
        {"control_guidance_end": 0.5},
        {"num_images_per_prompt": 2},
        {"prompt": ["a red cat", "a dog"], "image": [CONTROL, picture(seed=8)]},
        {"image": picture(48), "height": 32, "width": 32},
        {"image": np.asarray(CONTROL)[None] / 255.0},
        {"negative_prompt": "blurry", "guidance_scale": 3.0},
    ],
    ids=lambda arguments: "-".join(arguments),
)
def test_options(arguments, pair):
    """Each argument has the effect that it has in diffusers; an image that controls is resized where the size is given."""
    compiled, eager = pair(f"{SD}Pipeline")
    assert difference(compiled, eager, **{"image": CONTROL, **arguments}) <= TOLERANCE


def test_several(checkpoint, tmp_path):
    """Two ControlNets add up, each with its image, its strength and its time; saved and loaded they are the same two."""
    nets = [tiny_controlnet(1), tiny_controlnet(2)]
    for number, net in enumerate(nets):
        net.save_pretrained(tmp_path / f"net{number}")
    compiled = neuronkit.NeuronStableDiffusionControlNetPipeline.from_pretrained(
        checkpoint("sd"), export=True, controlnet_ids=[str(tmp_path / "net0"), str(tmp_path / "net1")], optlevel=1
    )
    eager = diffusers.StableDiffusionControlNetPipeline.from_pretrained(checkpoint("sd"), controlnet=nets)
    eager.set_progress_bar_config(disable=True)
    arguments = {
        "image": [CONTROL, picture(seed=8)],
        "controlnet_conditioning_scale": [0.3, 0.9],
        "control_guidance_end": [0.5, 1.0],
    }
    for guess in (False, True):
        assert difference(compiled, eager, **arguments, guess_mode=guess) <= TOLERANCE
    run = neuronkit.pipeline(compiled)
    asked = {"prompt": "a red cat", "steps": 3, "seed": 0, "output_type": "np", "control_image": arguments["image"]}
    wanted = images(eager, image=arguments["image"])
    assert np.abs(run(**asked, controlnet_conditioning_scale=1) - wanted).max() <= TOLERANCE
    with pytest.raises(InputError) as raised:
        run(**{**asked, "control_image": CONTROL})
    assert str(raised.value) == (
        "NeuronStableDiffusionControlNetPipeline has 2 ControlNets, and needs an image for each (got 1).\n"
        "Try: a list of as many (--control-image once for each)."
    )
    with pytest.raises(InputError) as raised:
        images(compiled, image=arguments["image"], controlnet_conditioning_scale=[0.3])
    assert str(raised.value) == (
        "There are 2 ControlNets, and each needs a strength (got 1).\n"
        "Try: controlnet_conditioning_scale=[...] with one for each, or a float for all."
    )
    compiled.save_pretrained(tmp_path / "saved")
    again = neuronkit.load(tmp_path / "saved")
    assert np.array_equal(images(again, **arguments), images(compiled, **arguments))
    sibling = neuronkit.NeuronStableDiffusionControlNetPipeline(**again.components)
    sibling.save_pretrained(tmp_path / "again")
    assert isinstance(neuronkit.load(tmp_path / "again").controlnet, diffusers.MultiControlNetModel)
    first = type(again).from_pipe(again, controlnet=again.controlnet.nets[0])
    assert images(first, image=CONTROL).shape == (1, 32, 32, 3)
    with pytest.raises(FixedGraphError, match=r"^save_pretrained writes the compiled controlnet, and the pipeline has"):
        first.save_pretrained(tmp_path / "first")


def test_one_that_averages_over_the_image(checkpoint, tmp_path):
    """What it adds has one pixel, and is spread over the latents."""
    net = tiny_controlnet(3, global_pool_conditions=True)
    net.save_pretrained(tmp_path)
    compiled = neuronkit.NeuronStableDiffusionControlNetPipeline.from_pretrained(
        checkpoint("sd"), export=True, controlnet_ids=str(tmp_path), optlevel=1
    )
    eager = diffusers.StableDiffusionControlNetPipeline.from_pretrained(checkpoint("sd"), controlnet=net)
    eager.set_progress_bar_config(disable=True)
    assert difference(compiled, eager, image=CONTROL) <= TOLERANCE
    assert difference(compiled, eager, image=CONTROL, guess_mode=True) <= TOLERANCE


def test_sizes_that_do_not_halve(checkpoint, artifact):
    """Latents of 17 x 13 are 9 x 7 on the next level; the resolutions of an artifact pair up."""
    sizes = {"height": [32, 34], "width": [32, 26], "static": True}
    compiled, eager = load_pair(f"{SD}Pipeline", checkpoint("sd-control"), artifact("sd-control", **sizes))
    assert difference(compiled, eager, image=CONTROL) <= TOLERANCE
    assert difference(compiled, eager, image=CONTROL, height=34, width=26) <= TOLERANCE
    other = CONTROL.resize((26, 34))
    assert images(compiled, image=other).shape == (1, 34, 26, 3)
    assert difference(compiled, eager, image=[other], output_type="latent") <= TOLERANCE


@pytest.mark.parametrize("as_array", [False, True])
def test_an_image_of_another_size(as_array, pair):
    """In diffusers it decides how large the result is, and no other size was compiled."""
    image = np.asarray(picture(48)) if as_array else [picture(48)]
    with pytest.raises(InputError) as raised:
        images(pair(f"{SD}Pipeline")[0], image=image)
    assert str(raised.value) == (
        "The image that controls is 48 x 48 (height x width), and the pipeline was compiled for 32 x 32.\n"
        "Try: height=32, width=32, to which it is resized, or compile again with its size."
    )


def test_images_of_another_size_to_start_from(pair, checkpoint, artifact):
    """They are never resized unless a size is given; of several compiled sizes it is theirs, as in diffusers."""
    compiled, eager = pair(f"{SD}Img2ImgPipeline")
    other = {"image": picture(48), "control_image": picture(48, seed=7), "strength": 0.7}
    with pytest.raises(InputError, match=r"pixels is 48 x 48 \(height x width\).*compiled for 32 x 32"):
        images(compiled, **other)
    with pytest.raises(InputError, match=r"is 48 x 48 \(height x width\).*compiled for 32 x 32"):
        images(pair(f"{SD}InpaintPipeline")[0], **other, mask_image=mask(48))
    assert difference(compiled, eager, **other, height=32, width=32) <= TOLERANCE
    sizes = {"height": [32, 34], "width": [32, 26], "static": True}
    several, _ = load_pair(f"{SD}Img2ImgPipeline", checkpoint("sd-control"), artifact("sd-control", **sizes))
    other = {"image": picture(48).resize((26, 34)), "control_image": CONTROL.resize((26, 34)), "strength": 0.7}
    assert difference(several, eager, **other) <= TOLERANCE


def test_there_and_back(pair, artifact):
    """The plain pipeline has no place for the ControlNet, and the artifact still has it."""
    compiled, _ = pair(f"{SD}Pipeline")
    kind = type(compiled)
    plain = neuronkit.NeuronStableDiffusionImg2ImgPipeline.from_pipe(compiled)
    back = kind.from_pipe(plain)
    assert back.unet is compiled.unet
    assert np.array_equal(images(back, image=CONTROL), images(compiled, image=CONTROL))
    eager = tiny_controlnet(5)
    assert kind.from_pipe(plain, controlnet=eager).controlnet is eager
    with pytest.raises(InputError) as raised:
        kind.from_pipe(neuronkit.load(artifact("sd")))
    assert str(raised.value) == (
        "NeuronStableDiffusionPipeline has no controlnet, and NeuronStableDiffusionControlNetPipeline needs one.\n"
        "Try: NeuronStableDiffusionControlNetPipeline.from_pretrained(..., export=True)."
    )


def test_without_its_control(checkpoint, artifact):
    """An artifact with a ControlNet serves the plain pipeline too: nothing is added."""
    compiled, eager = load_pair("StableDiffusionPipeline", checkpoint("sd"), artifact("sd-control"))
    assert "controlnet" not in compiled.components
    assert difference(compiled, eager) <= TOLERANCE


def test_an_eager_controlnet_beside_a_compiled_unet(pair):
    """A UNet takes what any ControlNet adds."""
    compiled, eager = pair(f"{SD}Pipeline")
    net = tiny_controlnet(5)
    ours, theirs = (
        diffusers.StableDiffusionControlNetPipeline(**{**pipeline.components, "controlnet": net})
        for pipeline in (compiled, eager)
    )
    for pipeline in (ours, theirs):
        pipeline.set_progress_bar_config(disable=True)
    assert difference(ours, theirs, image=CONTROL) <= TOLERANCE


def test_a_unet_that_was_compiled_without(artifact):
    """It has no inputs for what a ControlNet adds, and says how to get them."""
    plain = neuronkit.load(artifact("sd"))
    mixed = diffusers.StableDiffusionControlNetPipeline(**plain.components, controlnet=tiny_controlnet())
    with pytest.raises(InputError) as raised:
        mixed("a cat", image=CONTROL, num_inference_steps=2)
    assert str(raised.value) == (
        "The unet was compiled for no residuals of a ControlNet (got 4).\n"
        "Try: compile with controlnet_ids, as stable-diffusion-control-net."
    )
    with pytest.raises(ArtifactMismatchError, match="needs the components of stable-diffusion-control-net"):
        neuronkit.NeuronStableDiffusionControlNetPipeline.from_pretrained(artifact("sd"))


def test_a_lora_beside_a_controlnet(checkpoint, artifact, tmp_path):
    """LoRAs are merged into the UNet, whose graph has the inputs of a ControlNet."""
    lora = write_lora(checkpoint("sd"), tmp_path, seed=2)
    compiled, eager = load_pair(f"{SD}Pipeline", checkpoint("sd-control"), artifact("sd-control"))
    before = images(compiled, image=CONTROL)
    for pipeline in (compiled, eager):
        pipeline.load_lora_weights(str(lora))
    assert np.abs(images(compiled, image=CONTROL) - before).max() > TOLERANCE
    assert difference(compiled, eager, image=CONTROL) <= TOLERANCE
    compiled.unload_lora_weights()
    assert np.array_equal(images(compiled, image=CONTROL), before)


def test_raw_input(pair, artifact):
    """`control_image` controls, whatever else is given; alone, `image` does, as in diffusers."""
    pipe = neuronkit.pipeline(artifact("sd-control"))
    settings = {"prompt": "a red cat", "steps": 3, "seed": 0, "output_type": "np"}
    wanted = images(pair(f"{SD}Pipeline")[1], image=CONTROL)
    for arguments in ({"control_image": CONTROL}, {"image": CONTROL}):
        assert np.abs(pipe(**settings, **arguments) - wanted).max() <= TOLERANCE
    wanted = images(pair(f"{SD}Img2ImgPipeline")[1], **START)
    assert np.abs(pipe(**settings, **START) - wanted).max() <= TOLERANCE
    wanted = images(pair(f"{SD}InpaintPipeline")[1], **START, mask_image=mask())
    assert np.abs(pipe(**settings, **START, mask=mask()) - wanted).max() <= TOLERANCE
    wanted = images(pair(f"{SD}Pipeline")[1], image=CONTROL, controlnet_conditioning_scale=2.0)
    assert np.abs(pipe(**settings, image=CONTROL, controlnet_conditioning_scale="2") - wanted).max() <= TOLERANCE
    with pytest.raises(InputError) as raised:
        pipe(prompt="a cat", control_image=[CONTROL, CONTROL])
    assert str(raised.value) == (
        "2 images control, and there is 1 ControlNet and 1 prompt.\n"
        "Try: one image, or as many prompts as images (--prompt once for each)."
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"control_guidance_start": 0.8, "control_guidance_end": 0.2},
        {"controlnet_conditioning_scale": [0.5]},
        {"num_inference_steps": 3, "callback_on_step_end_tensor_inputs": ["no_such_tensor"]},
    ],
)
def test_what_diffusers_says_of_arguments(arguments, pair):
    """In its words, and as an error of ours, which the command line tells from one that nobody foresaw."""
    compiled, eager = pair(f"{SD}Pipeline")
    with pytest.raises((TypeError, ValueError)) as wanted:
        eager("a red cat", image=CONTROL, **arguments)
    with pytest.raises(InputError) as raised:
        compiled("a red cat", image=CONTROL, **arguments)
    assert str(raised.value) == str(wanted.value)


def test_missing_images(artifact):
    """Each is named as the caller gives it."""
    pipe = neuronkit.pipeline(artifact("sd-control"))
    with pytest.raises(InputError) as raised:
        pipe(prompt="a cat")
    assert str(raised.value) == ("NeuronStableDiffusionControlNetPipeline needs control_image=...: a file or an image.")
    with pytest.raises(InputError) as raised:
        pipe(prompt="a cat", image=picture(), mask=mask())
    assert str(raised.value) == (
        "NeuronStableDiffusionControlNetInpaintPipeline needs control_image=...: a file or an image."
    )


def test_no_controlnet(checkpoint, tmp_path):
    """A checkpoint without one, no checkpoint, and a model of another class."""
    key = {"task": "stable-diffusion-control-net.text-to-image", "optlevel": 1}
    with pytest.raises(OptionError) as raised:
        neuronkit.compile(checkpoint("sd"), tmp_path / "out", **key)
    assert str(raised.value) == (
        f"controlnet_ids: required, because {checkpoint('sd')} has no ControlNet.\n"
        "Try: --controlnet-ids with a directory or a hub id for each."
    )
    missing = tmp_path / "nothing"
    with pytest.raises(OptionError, match=f"^controlnet_ids: {re.escape(str(missing))} cannot be loaded as ControlNet"):
        neuronkit.compile(checkpoint("sd"), tmp_path / "out", **key, controlnet_ids=str(missing))
    other = tiny_controlnet(cross_attention_dim=16)
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(OptionError) as raised:
        neuronkit.compile(checkpoint("sd"), tmp_path / "out", **key, controlnet_ids=str(tmp_path / "other"))
    assert str(raised.value) == (
        "controlnet_ids: controlnet takes prompts of 16 features, and the unet of 32: it is for another model."
    )


def test_a_controlnet_of_another_class(checkpoint, tmp_path):
    """diffusers loads it all the same, without the weights that the class has no place for."""
    tiny_controlnet().save_pretrained(tmp_path / "net")
    file = tmp_path / "net/config.json"
    file.write_text(file.read_text().replace('"ControlNetModel"', '"ControlNetUnionModel"'))
    with pytest.raises(OptionError) as raised:
        neuronkit.compile(
            checkpoint("sd"),
            tmp_path / "out",
            task="stable-diffusion-control-net.text-to-image",
            controlnet_ids=str(tmp_path / "net"),
            optlevel=1,
        )
    assert str(raised.value) == (
        f"controlnet_ids: {tmp_path / 'net'} is of class ControlNetUnionModel, and must be of ControlNetModel."
    )


def test_command_line(checkpoint, tmp_path, capsys):
    """From a plain checkpoint and a ControlNet's directory to an image of a file; another ControlNet needs no compile."""
    CONTROL.save(tmp_path / "edges.png")
    task = "stable-diffusion-control-net.text-to-image"
    arguments = ["--model", str(checkpoint("sd")), "--task", task, "-O1", "--force"]
    out = tmp_path / "out"
    for seed in (5, 6):
        tiny_controlnet(seed).save_pretrained(tmp_path / "net")
        assert main(["compile", *arguments, "--controlnet_ids", str(tmp_path / "net"), str(out)]) == 0
        said = capsys.readouterr().err
    assert (said.count(" from the cache ("), said.count(" compiled (")) == (5, 0)
    asked = ["--prompt", "a red cat", "--steps", "3", "--seed", "0", "--control-image", str(tmp_path / "edges.png")]
    assert main(["run", str(out), *asked, "--output", str(tmp_path / "cat.png")]) == 0
    with Image.open(tmp_path / "cat.png") as made:
        found = np.asarray(made, dtype=int)
    eager = diffusers.StableDiffusionControlNetPipeline.from_pretrained(checkpoint("sd"), controlnet=tiny_controlnet(6))
    wanted = images(eager, image=CONTROL, output_type="pil")[0]
    assert np.abs(found - np.asarray(wanted, dtype=int)).max() <= 1
