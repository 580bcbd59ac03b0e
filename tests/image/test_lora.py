"""LoRAs on a loaded artifact whose weights are apart, beside diffusers with the same LoRAs."""

from __future__ import annotations

import pickle
import shutil

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import neuronkit
from neuronkit.errors import FixedGraphError, InputError, WeightsError
from tests.image.loras import load_eagerly, write_kohya, write_lora
from tests.image.pairs import TOLERANCE, images, load_pair


@pytest.fixture(scope="module")
def pair(checkpoint, artifact):
    """A pipeline whose weights are apart, and diffusers' own."""
    return load_pair("StableDiffusionPipeline", checkpoint("sd"), artifact("sd"))


@pytest.fixture(scope="module")
def before(pair):
    """The image without a LoRA."""
    return images(pair[0])


@pytest.fixture(scope="module")
def directories(checkpoint, tmp_path_factory):
    """Two LoRAs of the UNet."""
    root = tmp_path_factory.mktemp("loras")
    return [write_lora(checkpoint("sd"), root / str(seed), seed) for seed in (0, 1)]


@pytest.fixture
def both(pair, before, directories):
    """Both LoRAs on both pipelines, as ``one`` and ``other``; afterwards no pipeline has any."""
    for pipeline in pair:
        for directory, name in zip(directories, ("one", "other"), strict=True):
            pipeline.load_lora_weights(directory, adapter_name=name)
        pipeline.set_adapters(["one", "other"], [0.8, 0.5])
    yield pair
    for pipeline in pair:
        pipeline.unload_lora_weights()
    assert np.array_equal(images(pair[0]), before)


def differ(pair):
    """Return how far the images of two pipelines are apart."""
    ours, theirs = map(images, pair)
    return float(np.abs(ours - theirs).max())


def test_swap_and_unload(both, before):
    """Loading changes the image as in diffusers; scales of two add up; unloading restores every bit."""
    assert np.abs(images(both[0]) - before).max() > 1e-3
    assert differ(both) <= TOLERANCE


def test_a_copy_would_have_no_lora(both):
    """So there is none."""
    with pytest.raises(WeightsError, match=r"Weights of unet were replaced .* a copy would not have them"):
        pickle.dumps(both[0])


def test_the_newest_is_active(pair, before, directories):
    """A LoRA that is loaded takes the place of those that were active; disabled ones stay disabled."""
    compiled, eager = pair
    for disabled in (False, True):
        for pipeline in pair:
            pipeline.load_lora_weights(pretrained_model_name_or_path_or_dict=directories[0], adapter_name="one")
            if disabled:
                pipeline.disable_lora()
            pipeline.load_lora_weights(directories[1], adapter_name="other")
        assert compiled.get_active_adapters() == eager.get_active_adapters() == ["other"]
        assert differ(pair) <= TOLERANCE
        assert np.array_equal(images(compiled), before) == disabled
        for pipeline in pair:
            pipeline.enable_lora()
        assert differ(pair) <= TOLERANCE
        for pipeline in pair:
            pipeline.unload_lora_weights()


def test_one_in_place_of_another(pair, before, directories):
    """Hotswap gives a loaded name other weights and strength 1, and leaves alone which are active."""
    compiled, _ = pair
    for pipeline in pair:
        pipeline.load_lora_weights(directories[0], adapter_name="one")
        pipeline.set_adapters("one", 0.5)
        pipeline.load_lora_weights(directories[1], adapter_name="one", hotswap=True)
    assert compiled.loras.names == ["one"]
    assert np.abs(images(compiled) - before).max() > 1e-3
    assert differ(pair) <= TOLERANCE
    compiled.load_lora_weights(directories[1], adapter_name="other")
    compiled.load_lora_weights(directories[0], adapter_name="one", hotswap=True)
    assert compiled.get_active_adapters() == ["other"]
    for name, message in (
        ("third", "There is no LoRA 'third'. Loaded: one, other."),
        (None, "hotswap=True replaces a LoRA. Try: the adapter_name of one that is loaded."),
    ):
        with pytest.raises(InputError) as raised:
            compiled.load_lora_weights(directories[0], adapter_name=name, hotswap=True)
        assert str(raised.value) == message
    with pytest.raises(InputError) as raised:
        compiled.load_lora_weights(directories[0], adapter_name="one")
    assert str(raised.value) == (
        "There is a LoRA 'one' already.\n"
        "Try: another adapter_name, hotswap=True to replace it, or unload_lora_weights()."
    )
    for pipeline in pair:
        pipeline.unload_lora_weights()


def test_methods_that_choose(both, before):
    """LoRAs are chosen, disabled, enabled and deleted as in diffusers."""
    compiled, eager = both
    for change in (
        lambda pipeline: pipeline.set_adapters("other"),
        lambda pipeline: pipeline.disable_lora(),
        lambda pipeline: pipeline.enable_lora(),
        lambda pipeline: pipeline.delete_adapters("one"),
    ):
        change(compiled)
        change(eager)
        assert differ(both) <= TOLERANCE
    assert compiled.get_active_adapters() == eager.get_active_adapters() == ["other"]
    assert compiled.get_list_adapters() == eager.get_list_adapters()
    with pytest.raises(InputError, match=r"There is no LoRA 'one'\. Loaded: other"):
        compiled.set_adapters("one")


def test_strengths_by_component(both):
    """A strength may be one for each component, and in the UNet one for each part."""
    for pipeline in both:
        pipeline.set_adapters("other", {"unet": {"down": 0.3, "up": 0.9}})
    assert differ(both) <= TOLERANCE


def test_fused_and_unfused(both):
    """Fused LoRAs keep their strengths until they are unfused."""
    for pipeline in both:
        pipeline.fuse_lora(lora_scale=0.7)
    assert differ(both) <= TOLERANCE
    compiled, eager = both
    assert compiled.fused_loras == eager.fused_loras == {"one", "other"}
    assert compiled.num_fused_loras == 2
    for pipeline in both:
        pipeline.unfuse_lora()
    # diffusers leaves the strength multiplied; ours is what was set.
    eager.set_adapters(["one", "other"], [0.8, 0.5])
    assert differ(both) <= TOLERANCE


def test_fused_ones_outlive_the_unloading(pair, before, checkpoint, directories):
    """After a fuse the LoRA may be unloaded, and its weights stay; also those of one component alone."""
    compiled, _ = pair
    eager = diffusers.StableDiffusionPipeline.from_pretrained(checkpoint("sd"))
    eager.set_progress_bar_config(disable=True)
    for pipeline in (compiled, eager):
        pipeline.load_lora_weights(directories[1])
        pipeline.fuse_lora(components=["unet"])
        pipeline.unload_lora_weights()
    assert differ((compiled, eager)) <= TOLERANCE
    with pytest.raises(InputError, match="leave components out"):
        compiled.unfuse_lora(components=["unet"])
    compiled.unfuse_lora()
    assert np.array_equal(images(compiled), before)


def test_nothing_to_fuse(pair):
    """The error says how a LoRA gets there."""
    with pytest.raises(FixedGraphError, match=r"no LoRA is loaded(.|\n)*lora_model_ids"):
        pair[0].fuse_lora()


@pytest.mark.parametrize("kind", ["kohya", "diffusers"])
def test_text_encoders(kind, pair, before, checkpoint, tmp_path):
    """A LoRA of both: Kohya's names with convolutions and an alpha that is not the rank, and diffusers' own."""
    file = tmp_path / "pytorch_lora_weights.safetensors"
    if kind == "kohya":
        write_kohya(checkpoint("sd"), file, 5)
    else:
        write_lora(checkpoint("sd"), tmp_path, 5, text=True)
    compiled, _ = pair
    eager = diffusers.StableDiffusionPipeline.from_pretrained(checkpoint("sd"))
    eager.set_progress_bar_config(disable=True)
    load_eagerly(eager, file, 0.6)
    compiled.load_lora_weights(file, adapter_name="it")
    compiled.set_adapters("it", 0.6)
    assert np.abs(images(compiled) - images(eager)).max() <= TOLERANCE
    compiled.set_adapters("it", {"unet": 0.6, "text_encoder": 0.0})
    assert np.abs(images(compiled) - images(eager)).max() > 1e-3
    compiled.unload_lora_weights()
    assert np.array_equal(images(compiled), before)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"unet.conv_in.weight": torch.zeros(1)}, "is no LoRA: it has a tensor 'unet.conv_in.weight'"),
        (
            {f"text_encoder.nowhere.lora_{letter}.weight": torch.zeros(1, 1) for letter in "AB"},
            "text_encoder has no layer 'nowhere': the LoRA is for another model",
        ),
    ],
    ids=["no LoRA", "another model"],
)
def test_what_does_not_fit(state, message, pair, before):
    """It is refused, and nothing is loaded."""
    with pytest.raises(InputError, match=message):
        pair[0].load_lora_weights(state)
    assert pair[0].get_active_adapters() == []
    assert np.array_equal(images(pair[0]), before)


def test_names_of_those_without_one(pair, directories):
    """They get the first number that is free."""
    compiled, _ = pair
    for directory in directories:
        compiled.load_lora_weights(directory)
    compiled.delete_adapters("default_0")
    compiled.load_lora_weights(directories[0])
    assert compiled.loras.names == ["default_1", "default_0"]
    compiled.unload_lora_weights()


@pytest.mark.parametrize(
    ("first", "change"),
    [("disable_lora", "enable_lora"), ("fuse_lora", "unfuse_lora"), ("fuse_lora", "delete_adapters")],
)
def test_a_change_that_fails_leaves_what_was_there(first, change, before, artifact, directories, tmp_path):
    """Without the artifact's weights a merge fails: names, fused ones and the image stay; when they are back the change works."""
    path = shutil.copytree(artifact("sd"), tmp_path / "artifact")
    compiled = neuronkit.NeuronStableDiffusionPipeline.from_pretrained(path)
    compiled.set_progress_bar_config(disable=True)
    names = {"adapter_names": "one"} if change == "delete_adapters" else {}
    for directory, name in zip(directories, ("one", "other"), strict=True):
        compiled.load_lora_weights(directory, adapter_name=name)
    compiled.set_adapters(["one", "other"], [0.8, 0.5])
    getattr(compiled, first)()
    image, kept = images(compiled), (compiled.loras.names, compiled.get_active_adapters(), compiled.fused_loras)
    weights = path / compiled.session.manifest.weights.file
    weights.rename(tmp_path / "away")
    with pytest.raises(FileNotFoundError):
        getattr(compiled, change)(**names)
    assert kept == (compiled.loras.names, compiled.get_active_adapters(), compiled.fused_loras)
    assert np.array_equal(images(compiled), image)
    (tmp_path / "away").rename(weights)
    getattr(compiled, change)(**names)
    assert (np.abs(images(compiled) - image).max() > 1e-3) == (change == "enable_lora")
    compiled.unfuse_lora()
    compiled.unload_lora_weights()
    assert np.array_equal(images(compiled), before)


def test_a_state_dict_and_what_siblings_share(pair, before, directories):
    """A LoRA may be a dictionary of tensors; a pipeline over the same components has it too."""
    compiled, eager = pair
    for pipeline in pair:
        pipeline.load_lora_weights(load_file(directories[0] / "pytorch_lora_weights.safetensors"))
    assert differ(pair) <= TOLERANCE
    sibling = neuronkit.NeuronStableDiffusionPipeline.from_pipe(compiled)
    sibling.set_progress_bar_config(disable=True)
    assert compiled.get_active_adapters() == sibling.get_active_adapters()
    sibling.unload_lora_weights()
    eager.unload_lora_weights()
    assert np.array_equal(images(compiled), before)


def test_siblings_from_before_a_lora(checkpoint, artifact, before, directories):
    """What one pipeline loads the other has and can unload, also when they parted before any LoRA was there."""
    compiled = neuronkit.NeuronStableDiffusionPipeline.from_pretrained(artifact("sd"))
    compiled.set_progress_bar_config(disable=True)
    sibling = neuronkit.NeuronStableDiffusionImg2ImgPipeline.from_pipe(compiled)
    compiled.load_lora_weights(directories[0], adapter_name="one")
    sibling.load_lora_weights(directories[1], adapter_name="other")
    sibling.set_adapters(["one", "other"])
    assert compiled.get_active_adapters() == ["one", "other"]
    eager = diffusers.StableDiffusionPipeline.from_pretrained(checkpoint("sd"))
    eager.set_progress_bar_config(disable=True)
    for directory, name in zip(directories, ("one", "other"), strict=True):
        eager.load_lora_weights(directory, adapter_name=name)
    eager.set_adapters(["one", "other"])
    assert differ((compiled, eager)) <= TOLERANCE
    compiled.unload_lora_weights()
    assert sibling.get_active_adapters() == []
    assert np.array_equal(images(compiled), before)


def test_saved_from_a_compiled_class(tmp_path, directories):
    """`save_lora_weights` writes what diffusers' does."""
    state = load_file(directories[0] / "pytorch_lora_weights.safetensors")
    layers = {name.removeprefix("unet."): tensor for name, tensor in state.items()}
    for kind, folder in ((neuronkit.NeuronStableDiffusionPipeline, "ours"), (diffusers.StableDiffusionPipeline, "own")):
        kind.save_lora_weights(tmp_path / folder, unet_lora_layers=layers)
    ours, own = (load_file(tmp_path / folder / "pytorch_lora_weights.safetensors") for folder in ("ours", "own"))
    assert ours.keys() == own.keys() == state.keys()
    assert all(torch.equal(ours[name], own[name]) for name in own)


@pytest.mark.parametrize(
    ("method", "arguments"), [("enable_lora_hotswap", {}), ("set_lora_device", {"adapter_names": [], "device": "cpu"})]
)
def test_what_changes_nothing(method, arguments, pair, capsys):
    """They are accepted and noted."""
    getattr(pair[0], method)(**arguments)
    assert f"note: {method} changes nothing" in capsys.readouterr().err
