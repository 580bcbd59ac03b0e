"""How compiled pipelines behave where an eager one has freedoms that they lack: sizes, batches, sharing, saving, methods."""

from __future__ import annotations

import errno
import json
import pickle
import re
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

import neuronkit
from neuronkit.artifact.reader import open_artifact, verify
from neuronkit.errors import (
    ArtifactMismatchError,
    ArtifactNotFoundError,
    ArtifactWriteError,
    FixedGraphError,
    InputError,
    OptionError,
    SourceError,
    WeightsError,
)
from neuronkit_plugins.image.plugin import read_image
from tests.image.loras import write_lora
from tests.image.pairs import TOLERANCE, difference, images, load_pair, mask, picture


@pytest.fixture(scope="module")
def pair(checkpoint, artifact):
    """Return the compiled and the eager text-to-image pipeline."""
    return load_pair("StableDiffusionPipeline", checkpoint("sd"), artifact("sd"))


def open_quietly(path):
    """Load an artifact."""
    pipeline = neuronkit.load(path)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def compiled(pair):
    """Return the compiled text-to-image pipeline."""
    return pair[0]


def test_sizes_that_were_not_compiled_are_refused(compiled):
    """Another height or width is an error that names the compiled ones, before anything runs."""
    with pytest.raises(InputError, match=r"height x width of 64 x 32 was asked for.*compiled for 32 x 32"):
        compiled("a cat", height=64, width=32)
    with pytest.raises(InputError, match="any x 48"):
        compiled("a cat", width=48)


def test_an_image_of_another_size_is_refused(compiled):
    """Images are never padded or resized silently."""
    pipeline = neuronkit.NeuronStableDiffusionImg2ImgPipeline.from_pipe(compiled)
    with pytest.raises(InputError, match=r"pixels is 48 x 48 \(height x width\).*compiled for 32 x 32"):
        pipeline("a cat", image=picture(48))


def test_latents_of_another_size_are_refused(compiled):
    """Latents must be as large as those compiled for."""
    with pytest.raises(InputError, match=r"sample is 8 x 8 .*compiled for 16 x 16"):
        images(compiled, latents=torch.zeros(1, 4, 8, 8))


def test_several_resolutions_in_one_artifact(checkpoint, artifact):
    """Heights and widths pair up; the first is the default, the others are asked for."""
    sizes = {"height": [32, 16], "width": [32, 48], "inline_weights": False}
    compiled, eager = load_pair("StableDiffusionPipeline", checkpoint("sd"), artifact("sd", **sizes))
    assert compiled.compiled_sizes == [(32, 32), (16, 48)]
    assert difference(compiled, eager) <= TOLERANCE
    assert difference(compiled, eager, height=16, width=48) <= TOLERANCE
    assert images(compiled, width=48).shape == (1, 16, 48, 3)
    with pytest.raises(InputError, match="32 x 32, 16 x 48"):
        images(compiled, height=32, width=48)
    weights = [name for name in (artifact("sd", **sizes)).iterdir() if name.suffix == ".safetensors"]
    assert len(weights) == 1


def test_a_size_must_fit_the_vae(checkpoint, tmp_path):
    """A height that is no multiple of a latent's pixels cannot be compiled."""
    with pytest.raises(OptionError, match="height: must be a multiple of 2"):
        neuronkit.compile(checkpoint("sd"), tmp_path / "out", height=33, width=32, optlevel=1)


def test_static_buckets_chunk_guidance_and_images(checkpoint, artifact):
    """A graph of one row serves two rows of guidance for three images of two prompts, in order."""
    options = {"static": True, "num_images_per_prompt": 1, "batch_size": 1}
    compiled, eager = load_pair("StableDiffusionPipeline", checkpoint("sd"), artifact("sd", **options))
    assert compiled.session.limits["batch"] == 1
    arguments = {"prompt": ["a cat", "a dog"], "num_images_per_prompt": 3, "seed": [1, 2, 3, 4, 5, 6]}
    assert difference(compiled, eager, **arguments) <= TOLERANCE


def test_more_images_than_a_call_holds(pair):
    """Seventeen images with guidance are 34 rows: more than one call takes."""
    assert difference(*pair, num_images_per_prompt=17, num_inference_steps=2) <= TOLERANCE


@pytest.mark.heavy
def test_data_parallel_mode_is_accepted_and_recorded(artifact):
    """On cpu it changes nothing."""
    pipeline = neuronkit.load(artifact("sd", data_parallel_mode="all"))
    assert pipeline.data_parallel_mode == "all"
    assert neuronkit.load(artifact("sd")).data_parallel_mode == "none"


def test_data_parallel_mode_at_load(artifact):
    """Where optimum-neuron takes it."""
    path = artifact("sd")
    with pytest.raises(OptionError) as raised:
        neuronkit.NeuronStableDiffusionPipeline.from_pretrained(path, data_parallel_mode="all")
    assert str(raised.value) == (
        "data_parallel_mode: set when the model was compiled (none). "
        "Try: without it, or compile again with data_parallel_mode=all."
    )


def test_unknown_data_parallel_mode(checkpoint, tmp_path):
    """A mode that does not exist is refused with those that do."""
    with pytest.raises(OptionError, match="data_parallel_mode: must be one of none, unet, all"):
        neuronkit.compile(checkpoint("sd"), tmp_path / "out", data_parallel_mode="vae")


def test_sizes_are_recorded(artifact):
    """The shapes stand in the configuration and in the manifest, in pixels."""
    recorded = json.loads((artifact("sd") / "model_index.json").read_text())["neuron"]
    wanted = {"static_batch_size": 1, "static_height": 32, "static_num_images_per_prompt": 1, "static_width": 32}
    assert wanted == {name: value for name, value in recorded.items() if name.startswith("static")}
    expected = {"batch_size": 1, "height": 32, "num_images_per_prompt": 1, "width": 32}
    assert expected == neuronkit.load(artifact("sd")).get_input_static_shapes()


def test_from_pipe_shares_components(compiled):
    """No component is loaded again, there and back."""
    other = neuronkit.NeuronStableDiffusionInpaintPipeline.from_pipe(compiled)
    back = neuronkit.NeuronStableDiffusionPipeline.from_pipe(other)
    assert other.unet is compiled.unet is back.unet
    assert other.vae is compiled.vae
    assert other.session is compiled.session
    assert np.abs(images(compiled) - images(back)).max() == 0


def test_from_pipe_of_an_eager_pipeline(pair):
    """An eager pipeline has nothing compiled to share."""
    with pytest.raises(InputError, match="StableDiffusionPipeline has no compiled component"):
        neuronkit.NeuronStableDiffusionImg2ImgPipeline.from_pipe(pair[1])


def test_components_work_in_pipelines_of_diffusers(pair):
    """Compiled components stand beside eager ones in diffusers' own classes."""
    compiled, eager = pair
    parts = {**compiled.components, "vae": eager.vae, "safety_checker": None}
    mixed = diffusers.StableDiffusionPipeline(**parts)
    mixed.set_progress_bar_config(disable=True)
    assert isinstance(mixed.unet, diffusers.UNet2DConditionModel)
    assert np.abs(images(mixed) - images(eager)).max() <= TOLERANCE
    again = diffusers.AutoPipelineForImage2Image.from_pipe(mixed, unet=compiled.unet)
    again.set_progress_bar_config(disable=True)
    assert images(again, image=picture()).shape == (1, 32, 32, 3)


def test_shells_accept_what_changes_nothing(compiled):
    """A shell stays where it is, and says that it cannot be elsewhere."""
    assert compiled.unet is compiled.unet.to("cpu").eval()
    assert compiled.unet is compiled.unet.to(torch.float32)
    assert torch.float32 == compiled.dtype == compiled.vae.dtype
    assert compiled is compiled.to("cpu")
    compiled.unet.set_default_attn_processor()
    with pytest.raises(InputError, match=r"unet keeps its dtype \(torch\.float32\): it is compiled"):
        compiled.unet.to(torch.bfloat16)
    with pytest.raises(InputError, match=r"unet keeps its dtype \(torch\.float32\): it is compiled"):
        compiled.unet.half()
    with pytest.raises(InputError, match="cannot be moved to meta"):
        compiled.to("meta")
    assert compiled.vae is compiled.vae.to(torch.float16)


@pytest.mark.parametrize(
    "method",
    [
        "enable_attention_slicing",
        "disable_attention_slicing",
        "enable_vae_slicing",
        "disable_vae_slicing",
        "enable_vae_tiling",
        "disable_vae_tiling",
        "enable_xformers_memory_efficient_attention",
        "disable_xformers_memory_efficient_attention",
        "enable_group_offload",
        "enable_model_cpu_offload",
    ],
)
def test_memory_switches_say_once_that_they_change_nothing(method, pair, capsys):
    """They are accepted, noted once, and the image stays."""
    pipeline = neuronkit.NeuronStableDiffusionPipeline.from_pipe(pair[0])
    pipeline.set_progress_bar_config(disable=True)
    before = images(pipeline, num_inference_steps=1)
    getattr(pipeline, method)()
    getattr(pipeline, method)()
    assert capsys.readouterr().err.count(f"note: {method} changes nothing") == 1
    assert np.abs(before - images(pipeline, num_inference_steps=1)).max() == 0


def test_a_component_is_not_offloaded(compiled, capsys):
    """It says so once."""
    for _ in range(2):
        compiled.vae.enable_group_offload(torch.device("cpu"))
    assert capsys.readouterr().err == "note: enable_group_offload changes nothing: vae is compiled\n"


@pytest.mark.parametrize(
    ("method", "arguments", "option"),
    [
        ("enable_freeu", {"s1": 0.9, "s2": 0.2, "b1": 1.2, "b2": 1.4}, "freeu"),
        ("disable_freeu", {}, "freeu"),
        ("fuse_qkv_projections", {}, "fuse_qkv_projections"),
        ("unfuse_qkv_projections", {}, "fuse_qkv_projections"),
        ("load_ip_adapter", {"pretrained_model_name_or_path_or_dict": "x"}, "ip_adapter_ids"),
        ("set_ip_adapter_scale", {"scale": 1}, "ip_adapter_scales"),
        ("load_textual_inversion", {"pretrained_model_name_or_path": "x"}, "textual_inversion"),
        ("fuse_lora", {}, "lora_model_ids"),
    ],
)
def test_what_changes_the_graph_names_the_compile_option(method, arguments, option, compiled):
    """The error says what to compile with."""
    with pytest.raises(
        FixedGraphError, match=rf"{method} would change the pipeline, which is compiled(.|\n)*compile with {option}"
    ):
        getattr(compiled, method)(**arguments)


@pytest.mark.parametrize("method", ["set_attn_processor", "enable_layerwise_casting", "enable_gradient_checkpointing"])
def test_shells_refuse_what_would_be_ignored(method, compiled):
    """Nothing on a component is ignored silently."""
    with pytest.raises(FixedGraphError, match=f"{method} would change unet, which is compiled"):
        getattr(compiled.unet, method)({})


@pytest.mark.parametrize(
    ("component", "method"),
    [
        *(
            ("unet", method)
            for method in (
                "add_adapter",
                "delete_adapters",
                "disable_adapters",
                "enable_adapters",
                "load_attn_procs",
                "set_adapter",
                "set_adapters",
                "unload_lora",
            )
        ),
        *(("text_encoder", method) for method in ("add_adapter", "delete_adapter", "load_adapter", "set_adapter")),
    ],
)
def test_loras_of_a_component_are_refused(component, method, compiled):
    """They would be put on weights that no graph reads; the error says what does swap LoRAs."""
    with pytest.raises(FixedGraphError) as raised:
        getattr(getattr(compiled, component), method)("one")
    assert str(raised.value) == (
        f"{method} would change {component}, which is compiled.\n"
        "Try: compile with lora_model_ids, or inline_weights=False, with which the pipeline swaps LoRAs."
    )


@pytest.mark.parametrize("component", ["unet", "text_encoder"])
def test_a_component_does_not_know_the_loras(component, compiled):
    """The error says what does."""
    with pytest.raises(FixedGraphError) as raised:
        getattr(compiled, component).active_adapters()
    assert str(raised.value) == (
        f"{component} is compiled and has no LoRAs of its own, so that active_adapters has no answer.\n"
        "Try: pipeline.get_active_adapters()."
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda unet: unet.half(),
        lambda unet: unet.double(),
        lambda unet: unet.bfloat16(),
        lambda unet: unet.type(torch.float16),
        lambda unet: unet.type("torch.HalfTensor"),
    ],
    ids=["half", "double", "bfloat16", "type", "name of a type"],
)
def test_a_component_keeps_its_dtype_by_every_name(change, compiled):
    """As `to` says it."""
    for component in (compiled.unet, compiled.text_encoder):
        with pytest.raises(
            InputError, match=r"keeps its dtype \(torch\.float32\): it is compiled\.\nTry: compile with auto"
        ):
            change(component)
    assert compiled.unet is compiled.unet.type(torch.float32)


def test_a_lora_needs_weights_that_are_apart(checkpoint, artifact):
    """The error names the option."""
    compiled, _ = load_pair("StableDiffusionPipeline", checkpoint("sd"), artifact("sd", inline_weights=True))
    with pytest.raises(WeightsError, match=r"weights of text_encoder are inside(.|\n)*inline_weights=False"):
        compiled.load_lora_weights({"unet.x.lora_A.weight": torch.zeros(1, 1)})


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"down_block_additional_residuals": [torch.zeros(1)]}, "down_block_additional_residuals"),
        ({"class_labels": torch.zeros(1)}, "class_labels"),
    ],
)
def test_conditions_without_an_input(arguments, name, compiled):
    """A condition that the graph was not compiled with is refused."""
    with pytest.raises(InputError, match=f"was not given the input {name}"):
        compiled.unet(torch.zeros(1, 4, 16, 16), 1, torch.zeros(1, 77, 32), **arguments)


def test_lora_scale_in_a_call(compiled):
    """A LoRA's scale cannot be an argument of a call."""
    with pytest.raises(InputError, match=r"cross_attention_kwargs\['scale'\].*\n.*set_adapters"):
        images(compiled, cross_attention_kwargs={"scale": 0.5})
    images(compiled, cross_attention_kwargs={"scale": 1.0}, num_inference_steps=1)


def test_saved_and_loaded_again(compiled, tmp_path):
    """An artifact is written whole and loads in every class of its architecture."""
    compiled.save_pretrained(tmp_path / "saved")
    for name, given in (("Pipeline", {}), ("Img2ImgPipeline", {"image": picture(), "strength": 1.0})):
        again = getattr(neuronkit, f"NeuronStableDiffusion{name}").from_pretrained(tmp_path / "saved")
        assert images(again, num_inference_steps=1, **given).shape == (1, 32, 32, 3)
    assert np.abs(images(compiled) - images(neuronkit.load(tmp_path / "saved"))).max() == 0


def test_pickled(artifact):
    """A copy makes the same image, with the scheduler that was swapped in, and all its components run one session."""
    compiled = open_quietly(artifact("sd"))
    compiled.scheduler = diffusers.EulerDiscreteScheduler.from_config(compiled.scheduler.config)
    again = pickle.loads(pickle.dumps(compiled))
    assert type(again) is type(compiled)
    assert type(again.scheduler) is diffusers.EulerDiscreteScheduler
    assert again.unet.session is again.vae.session is again.session is not compiled.session
    assert again.unet.__class__.__name__ == "UNet2DConditionModel"
    assert np.array_equal(images(again), images(compiled))


def of_what(artifact):
    """Return an artifact's manifest without the command that makes it again, which says where."""
    manifest = json.loads((artifact / "neuronkit.json").read_text())
    return {name: value for name, value in manifest.items() if name != "rebuild"}


def test_saved_with_what_was_replaced(pair, artifact, tmp_path):
    """A scheduler that was swapped in is in what is saved, and the rest is as it was."""
    _, eager = pair
    compiled = open_quietly(artifact("sd"))
    compiled.scheduler = diffusers.EulerDiscreteScheduler.from_config(compiled.scheduler.config, use_karras_sigmas=True)
    compiled.save_pretrained(tmp_path / "saved")
    eager = diffusers.StableDiffusionPipeline.from_pipe(eager, scheduler=compiled.scheduler)
    eager.set_progress_bar_config(disable=True)
    again = open_quietly(tmp_path / "saved")
    assert type(again.scheduler) is diffusers.EulerDiscreteScheduler
    assert difference(again, eager) <= TOLERANCE
    before, after = (
        json.loads((path / "model_index.json").read_text()) for path in (artifact("sd"), tmp_path / "saved")
    )
    assert after == {**before, "scheduler": ["diffusers", "EulerDiscreteScheduler"]}
    swapped, again.scheduler = again.scheduler, diffusers.LCMScheduler.from_config(again.scheduler.config)
    again.save_pretrained(tmp_path / "saved")  # the artifact's own directory
    again.scheduler = swapped
    again.save_pretrained(tmp_path / "saved")
    neuronkit.NeuronStableDiffusionImg2ImgPipeline.from_pipe(again).save_pretrained(tmp_path / "sibling")
    for name in ("scheduler/scheduler_config.json", "model_index.json"):
        assert (tmp_path / "sibling" / name).read_bytes() == (tmp_path / "saved" / name).read_bytes()
    assert of_what(tmp_path / "sibling") == of_what(tmp_path / "saved")


class Full(diffusers.EulerDiscreteScheduler):
    """A scheduler that fills the disk."""

    def save_pretrained(self, directory, **_):
        Path(directory).mkdir()
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_save_that_fails_leaves_the_artifact(compiled, tmp_path):
    """Also where it is the artifact's own directory."""
    compiled.save_pretrained(tmp_path / "saved")
    loaded = open_quietly(tmp_path / "saved")
    loaded.scheduler = Full.from_config(loaded.scheduler.config)
    with pytest.raises(ArtifactWriteError, match=r"No space left on device.* Nothing was left behind\."):
        loaded.save_pretrained(tmp_path / "saved")
    verify(open_artifact(tmp_path / "saved"), weights=True)
    assert of_what(tmp_path / "saved") == of_what(compiled.session.artifact.path)


def test_saved_as_it_is(compiled, artifact, tmp_path):
    """Where nothing was replaced every file is the artifact's own."""
    compiled.save_pretrained(tmp_path / "saved")
    assert of_what(tmp_path / "saved") == of_what(artifact("sd"))
    for file in artifact("sd").rglob("*"):
        copy = tmp_path / "saved" / file.relative_to(artifact("sd"))
        assert file.is_dir() or file.name == "neuronkit.json" or file.read_bytes() == copy.read_bytes()


def test_what_is_not_saved(pair, artifact, checkpoint, tmp_path):
    """Weights that are not the artifact's are refused, not dropped."""
    compiled = open_quietly(artifact("sd"))
    compiled.load_lora_weights(write_lora(checkpoint("sd"), tmp_path / "lora", 0))
    message = (
        "save_pretrained writes the artifact's own weights, and LoRAs are merged into those of the pipeline.\n"
        "Try: compile with lora_model_ids and lora_scales, or unfuse_lora() and unload_lora_weights() first."
    )
    for change in (lambda: None, compiled.fuse_lora, compiled.unload_lora_weights):
        change()
        with pytest.raises(FixedGraphError, match=f"^{re.escape(message)}$"):
            compiled.save_pretrained(tmp_path / "saved")
    compiled.unfuse_lora()
    compiled.vae = pair[1].vae
    with pytest.raises(FixedGraphError) as raised:
        compiled.save_pretrained(tmp_path / "saved")
    assert str(raised.value) == (
        "save_pretrained writes the compiled vae, and the pipeline has another one.\n"
        "Try: put the compiled vae back, or compile a checkpoint that has the other one."
    )
    assert not (tmp_path / "saved").exists()


def test_components_of_the_caller(artifact, checkpoint):
    """`from_pretrained` takes components in place of the artifact's."""
    scheduler = diffusers.EulerDiscreteScheduler.from_pretrained(checkpoint("sd") / "scheduler")
    pipeline = neuronkit.NeuronStableDiffusionPipeline.from_pretrained(artifact("sd"), scheduler=scheduler)
    assert scheduler is pipeline.scheduler


def test_wrong_artifact(artifact, checkpoint):
    """Another architecture's artifact and a plain checkpoint are refused, with what to do."""
    with pytest.raises(ArtifactMismatchError, match="needs the components of stable-diffusion-xl"):
        neuronkit.NeuronStableDiffusionXLPipeline.from_pretrained(artifact("sd"))
    with pytest.raises(ArtifactNotFoundError, match="export=True"):
        neuronkit.NeuronStableDiffusionPipeline.from_pretrained(checkpoint("sd"))


def test_a_class_that_leaves_out_a_model(checkpoint):
    """Nothing is compiled of a checkpoint that the class could not run."""
    path = checkpoint("sdxl")
    with pytest.raises(SourceError) as raised:
        neuronkit.NeuronStableDiffusionPipeline.from_pretrained(path, export=True, optlevel=1)
    assert str(raised.value) == (
        f"{path} is a StableDiffusionXLPipeline with text_encoder_2, which StableDiffusionPipeline does not run.\n"
        "Try: neuronkit.compile without a task, which picks the plugin, and neuronkit.load, which picks the class."
    )


def test_exported_by_the_class(checkpoint, tmp_path):
    """`export=True` compiles as the class says, whatever the checkpoint calls itself, and keeps it until it is saved."""
    pipeline = neuronkit.NeuronStableDiffusionImg2ImgPipeline.from_pretrained(
        checkpoint("sd"), export=True, optlevel=1, batch_size=1, height=32, width=32
    )
    assert pipeline.session.manifest.key == "stable-diffusion.image-to-image"
    pipeline.save_pretrained(tmp_path / "saved")
    assert isinstance(neuronkit.load(tmp_path / "saved"), neuronkit.NeuronStableDiffusionImg2ImgPipeline)


def test_push_to_hub(compiled, tmp_path, monkeypatch):
    """What `save_pretrained` wrote is uploaded whole."""
    sent = {}

    class Hub:
        def __init__(self, **given):
            sent.update(given)

        def create_repo(self, name, **given):
            return type("Repository", (), {"repo_id": f"me/{name}"})()

        def upload_folder(self, **given):
            sent.update(given)
            return type("Commit", (), {"commit_url": "address"})()

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    compiled.save_pretrained(tmp_path / "saved")
    assert compiled.push_to_hub(tmp_path / "saved", repository_id="tiny", use_auth_token="t") == "address"
    assert ("me/tiny", tmp_path / "saved", "t") == (sent["repo_id"], sent["folder_path"], sent["token"])
    with pytest.raises(ArtifactMismatchError, match="is not an artifact"):
        compiled.push_to_hub(tmp_path)


def test_documented_bases(compiled, artifact):
    """The documented base has `load_model` and `data_parallel_mode`."""
    assert isinstance(compiled, neuronkit.NeuronStableDiffusionPipelineBase)
    assert set(compiled.session.graphs) == set(compiled.load_model(artifact("sd")).graphs)


def test_generic_pipeline_by_what_it_is_given(artifact, pair, capsys):
    """Short names, seeds and siblings: text, an image, a mask; a progress bar that was switched off stays so."""
    run = neuronkit.pipeline(artifact("sd"))
    run.shell.set_progress_bar_config(disable=True)
    _, eager = pair
    ours = run(prompt="a cat", steps=3, guidance=4.0, seed=7, negative_prompt="red", output_type="np")
    assert (
        np.abs(ours - images(eager, prompt="a cat", guidance_scale=4.0, seed=7, negative_prompt="red")).max()
        <= TOLERANCE
    )
    inpaint = diffusers.StableDiffusionInpaintPipeline.from_pipe(eager)
    inpaint.set_progress_bar_config(disable=True)
    ours = run(prompt="a cat", steps=3, seed=7, image=picture(), mask=mask(), strength=0.9, output_type="np")
    theirs = images(inpaint, prompt="a cat", seed=7, image=picture(), mask_image=mask(), strength=0.9)
    assert np.abs(ours - theirs).max() <= TOLERANCE
    assert "it/s" not in capsys.readouterr().err
    (image,) = run(prompt="a cat", steps=2, seed=7, image=picture())
    assert image.info["neuronkit"] == {"prompt": "a cat", "num_inference_steps": "2", "seed": "7"}


@pytest.mark.parametrize("name", ["mask", "mask_image"])
def test_several_image_files(name, artifact, pair, tmp_path):
    """A list of files is a list of images, for two prompts; the pipeline's own name of a mask does as well."""
    pictures, masks = [picture(), picture(seed=1)], [mask(), mask().rotate(90).point(lambda value: 255 - value)]
    files = [[tmp_path / f"{kind}{number}.png" for number in (0, 1)] for kind in ("image", "mask")]
    for made, names in zip((pictures, masks), files, strict=True):
        for image, file in zip(made, names, strict=True):
            image.save(file)
    run = neuronkit.pipeline(artifact("sd"))
    run.shell.set_progress_bar_config(disable=True)
    typed = {"image": list(map(str, files[0])), name: list(map(str, files[1]))}
    ours = run(prompt=["a cat", "a dog"], steps=3, seed=0, output_type="np", **typed)
    inpaint = diffusers.StableDiffusionInpaintPipeline.from_pipe(pair[1])
    inpaint.set_progress_bar_config(disable=True)
    theirs = images(inpaint, prompt=["a cat", "a dog"], image=pictures, mask_image=masks)
    assert np.abs(ours - theirs).max() <= TOLERANCE


def test_each_image_has_its_own_prompt(artifact):
    """Of several prompts an image's settings have the one that made it."""
    run = neuronkit.pipeline(artifact("sd"))
    made = run(prompt=["a cat", "a dog"], negative_prompt=["red", "sky"], num_images_per_prompt=2, steps=1)
    texts = [(image.info["neuronkit"]["prompt"], image.info["neuronkit"]["negative_prompt"]) for image in made]
    assert texts == [("a cat", "red"), ("a cat", "red"), ("a dog", "sky"), ("a dog", "sky")]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"steps": 2, "num_inference_steps": 3},
            "steps and num_inference_steps are one and the same. Try: one of them.",
        ),
        (
            {"seed": 2, "generator": torch.Generator()},
            "seed makes a generator, and generator is given too. Try: one of them.",
        ),
    ],
    ids=["steps", "seed"],
)
def test_one_thing_by_two_names(given, message, artifact):
    """Neither wins silently."""
    with pytest.raises(InputError) as raised:
        neuronkit.pipeline(artifact("sd"))(prompt="a cat", **given)
    assert str(raised.value) == message


def test_an_image_that_the_camera_turned(tmp_path):
    """A file's orientation is applied, as diffusers' `load_image` does."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture().crop((0, 0, 32, 16)).save(tmp_path / "turned.png", exif=exif)
    ours, theirs = read_image(tmp_path / "turned.png"), diffusers.utils.load_image(str(tmp_path / "turned.png"))
    assert ours.size == (16, 32)
    assert np.array_equal(np.asarray(ours), np.asarray(theirs))


def test_an_image_file_that_is_not_there(artifact):
    """The error names the file."""
    with pytest.raises(InputError, match=r"nowhere\.png cannot be read as an image"):
        neuronkit.pipeline(artifact("sd"))(prompt="a cat", image="nowhere.png")


@pytest.mark.heavy
def test_lower_precision(artifact, checkpoint):
    """With auto-cast the image stays near; a VAE that would overflow stays in float32."""
    compiled, eager = load_pair("StableDiffusionPipeline", checkpoint("sd"), artifact("sd", auto_cast="matmul"))
    assert difference(compiled, eager) < 0.2
    assert torch.float32 == compiled.dtype


def test_made_of_components(checkpoint, artifact, tmp_path):
    """A pipeline over another one's components runs, is saved, and shares its LoRAs; without a compiled one it says so."""
    compiled, eager = load_pair("StableDiffusionPipeline", checkpoint("sd"), artifact("sd"))
    made = neuronkit.NeuronStableDiffusionPipeline(**compiled.components, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    assert made.session is compiled.session
    assert made.compiled_sizes == compiled.compiled_sizes
    assert np.abs(images(made) - images(eager)).max() <= TOLERANCE
    made.save_pretrained(tmp_path / "saved")
    saved = neuronkit.NeuronStableDiffusionPipeline.from_pretrained(tmp_path / "saved")
    saved.set_progress_bar_config(disable=True)
    assert np.array_equal(images(saved), images(compiled))
    directory = write_lora(checkpoint("sd"), tmp_path / "lora", 0)
    made.load_lora_weights(directory, adapter_name="it")
    assert compiled.get_active_adapters() == ["it"]
    compiled.unload_lora_weights()
    assert made.get_active_adapters() == []
    made.unet = eager.unet
    with pytest.raises(FixedGraphError, match=r"writes the compiled unet, and the pipeline has another one"):
        made.save_pretrained(tmp_path / "other")
    with pytest.raises(InputError) as raised:
        images(neuronkit.NeuronStableDiffusionPipeline(**eager.components, requires_safety_checker=False))
    assert str(raised.value) == (
        "NeuronStableDiffusionPipeline has no compiled component.\n"
        "Try: NeuronStableDiffusionPipeline.from_pretrained, or the components of a compiled pipeline."
    )


@pytest.mark.parametrize(
    ("suffix", "recipe", "more"),
    [
        ("StableDiffusionImg2ImgPipeline", "sd", {}),
        ("StableDiffusionInpaintPipeline", "sd", {"mask_image": mask()}),
        ("StableDiffusionXLImg2ImgPipeline", "sdxl", {}),
        (
            "StableDiffusionControlNetInpaintPipeline",
            "sd-control",
            {"mask_image": mask(), "control_image": picture(seed=7)},
        ),
    ],
)
def test_a_strength_that_leaves_no_step(suffix, recipe, more, artifact):
    """It is refused by name."""
    compiled = getattr(neuronkit, f"Neuron{suffix}").from_pretrained(artifact(recipe))
    compiled.set_progress_bar_config(disable=True)
    for strength in (0, 0.2):
        with pytest.raises(InputError) as raised:
            images(compiled, image=picture(), strength=strength, **more)
        assert str(raised.value) == (
            f"strength of {strength} leaves none of 3 steps.\n"
            "Try: a greater strength, or more steps: strength x steps must be 1 or more."
        )


def test_longer_embeddings(compiled):
    """Embeddings of another length than the compiled one are refused in words of prompts."""
    embeddings = torch.zeros(1, 154, 32)
    with pytest.raises(InputError) as raised:
        images(compiled, prompt=None, prompt_embeds=embeddings, negative_prompt_embeds=embeddings)
    assert str(raised.value) == (
        "The embeddings of the prompts have 154 tokens, and the unet was compiled for 77.\n"
        "Try: prompts truncated to 77 tokens (truncate_long_prompts=True of compel)."
    )


def test_parts_of_components(compiled):
    """What has no weights in a shell does not run by itself; what is kept does."""
    for component, path, tensor in (
        ("vae", "post_quant_conv", torch.zeros(1, 4, 16, 16)),
        ("unet", "conv_in", torch.zeros(1, 4, 16, 16)),
    ):
        with pytest.raises(FixedGraphError) as raised:
            getattr(getattr(compiled, component), path)(tensor)
        assert str(raised.value) == (
            f"{component}.{path} is a part of a compiled component, and does not run by itself.\nTry: {component}(...)."
        )
    assert compiled.text_encoder.final_layer_norm(torch.zeros(1, 32)).shape == (1, 32)


def test_masked_tokens(compiled):
    """A text encoder that was compiled without a mask takes one that masks nothing."""
    ids = torch.ones(1, compiled.tokenizer.model_max_length, dtype=torch.int64)
    assert torch.equal(compiled.text_encoder(ids, torch.ones_like(ids))[0], compiled.text_encoder(ids)[0])
    with pytest.raises(InputError) as caught:
        compiled.text_encoder(ids, torch.zeros_like(ids))
    assert str(caught.value) == (
        "text_encoder was compiled without attention_mask: its configuration does not use one.\n"
        "Try: no masked tokens; libraries that weight prompts can leave words out instead of masking them."
    )


def test_switches_of_components(compiled, capsys):
    """Those of speed and memory are noted, those of weights and training refused."""
    compiled.unet.set_attention_backend("native")
    compiled.text_encoder.set_attn_implementation("eager")
    compiled.set_use_memory_efficient_attention_xformers(True)
    assert capsys.readouterr().err.splitlines() == [
        "note: set_attention_backend changes nothing: unet is compiled",
        "note: set_attn_implementation changes nothing: text_encoder is compiled",
        "note: set_use_memory_efficient_attention_xformers changes nothing: the pipeline is compiled",
    ]
    for change, given in (("set_input_embeddings", torch.nn.Embedding(3, 3)), ("gradient_checkpointing_enable", None)):
        with pytest.raises(FixedGraphError, match=f"{change} would change text_encoder, which is compiled"):
            getattr(compiled.text_encoder, change)(given)


def test_a_dtype_at_loading(artifact):
    """The message names what does it when compiling."""
    with pytest.raises(OptionError) as raised:
        neuronkit.NeuronStableDiffusionPipeline.from_pretrained(artifact("sd"), torch_dtype=torch.float32)
    assert str(raised.value) == (
        "torch_dtype: unknown option. An artifact has the dtype that it was compiled for. "
        "Try: auto_cast and auto_cast_type."
    )
