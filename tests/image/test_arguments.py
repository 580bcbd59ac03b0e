"""What a pipeline's own call would overlook or trip over is refused before anything runs."""

from __future__ import annotations

import diffusers
import pytest
import torch

from neuronkit.errors import InputError
from neuronkit_plugins.image.plugin import check_arguments, read_pair, read_typed


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("StableDiffusionPipeline", {}, r"^StableDiffusionPipeline needs prompt=\.\.\. \(or prompt_embeds=\.\.\.\)\.$"),
        ("StableDiffusionPipeline", {"prompt": None}, "needs prompt="),
        ("StableDiffusionPipeline", {"prompt": "a", "stepz": 3}, r"^stepz: unknown input\. Did you mean 'steps'\?$"),
        (
            "StableDiffusionPipeline",
            {"prompt": "a", "qqq": 3},
            r"^qqq: unknown input\. It takes: callback_on_step_end, ",
        ),
        (
            "StableDiffusionPipeline",
            {"prompt": "a", "strength": 0.5},
            r"^StableDiffusionPipeline takes no strength without image=\.\.\.\.$",
        ),
        (
            "StableDiffusionImg2ImgPipeline",
            {"prompt": "a", "image": 1, "height": 32},
            r"^StableDiffusionImg2ImgPipeline takes no height\.$",
        ),
        (
            "StableDiffusionImg2ImgPipeline",
            {"prompt": "a", "image": 1, "hight": 3},
            r"^hight: unknown input\. It takes: ",
        ),
        (
            "StableDiffusionImg2ImgPipeline",
            {"prompt": "a"},
            r"^StableDiffusionImg2ImgPipeline needs image=\.\.\.: a file or",
        ),
        (
            "StableDiffusionInpaintPipeline",
            {"prompt": "a", "image": 1},
            r"^StableDiffusionInpaintPipeline needs mask=\.\.\.:",
        ),
        (
            "StableDiffusionPipeline",
            {"prompt": "a", "generator": 3},
            r"^generator: must be an object of Python, which cannot be typed \(got 3\)\.\nTry: seed=\.\.\. \(--seed\)\.$",
        ),
        (
            "StableDiffusionPipeline",
            {"prompt": "a", "latents": "foo"},
            r"^latents: must be an object of Python, which cannot be typed \(got 'foo'\)\.$",
        ),
        (
            "StableDiffusionPipeline",
            {"prompt": "a", "eta": "none"},
            r"^eta: must be a number or what the pipeline takes, and is no text \(got 'none'\)\.$",
        ),
        (
            "StableDiffusionImg2ImgPipeline",
            {"prompt": "a", "image": [1, 2]},
            r"^2 images are given, and 1 prompt\.\nTry: as many prompts as images \(--prompt once for each\)\.$",
        ),
        (
            "StableDiffusionImg2ImgPipeline",
            {"prompt_embeds": torch.zeros(3, 77, 8), "image": [1, 2], "num_images_per_prompt": 1},
            r"^2 images are given, and 3 prompts\.",
        ),
        ("AmusedPipeline", {"negative_prompt": "a"}, r"^AmusedPipeline needs prompt=\.\.\."),
    ],
)
def test_refused(name, given, message):
    with pytest.raises(InputError, match=message):
        check_arguments(object.__new__(getattr(diffusers, name)), given)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        (
            "StableDiffusionPipeline",
            {"prompt_embeds": torch.zeros(1), "callback": print, "callback_steps": 2, "clip_skip": 1},
        ),
        ("StableDiffusionXLPipeline", {"prompt": "a", "prompt_2": "b", "denoising_end": 0.8}),
        ("StableDiffusionInpaintPipeline", {"prompt": ["a"], "image": 1, "mask_image": 1, "padding_mask_crop": 3}),
        ("StableDiffusionImg2ImgPipeline", {"prompt": ["a", "b"], "image": [1, 2]}),
        ("StableDiffusionImg2ImgPipeline", {"prompt": "a", "image": [1, 2], "num_images_per_prompt": 2}),
        ("StableDiffusionImg2ImgPipeline", {"prompt": ["a", "b"], "image": [1]}),
    ],
)
def test_accepted(name, given):
    check_arguments(object.__new__(getattr(diffusers, name)), given)


@pytest.mark.parametrize("value", ["64", "64,a", [1, 2, 3], 64])
def test_no_pair(value):
    """The error shows how a size is written."""
    with pytest.raises(InputError) as raised:
        read_pair("original_size", value)
    assert str(raised.value) == f"original_size: must be two whole numbers, such as 64,48 (got {value!r})."


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("2,0", [2, 0]),
        ("9.5, 3,1e-1", [9.5, 3, 0.1]),
        ("[900,500]", [900, 500]),
        ("7", 7),
        ("true", True),
        ("a,b", "a,b"),
        ('"a","b"', '"a","b"'),
        ("2,", "2,"),
        ("", ""),
        ((2, 0), (2, 0)),
    ],
)
def test_typed(typed, value):
    """Numbers with commas between are a list, as for the options of a compile."""
    found = read_typed(typed)
    assert found == value
    assert type(found) is type(value)
