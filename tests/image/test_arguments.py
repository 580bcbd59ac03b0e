"""What a pipeline's own call would overlook or trip over is refused before anything runs."""

from __future__ import annotations

import diffusers
import pytest

from neuronkit.errors import InputError
from neuronkit_plugins.image.plugin import check_arguments, read_pair


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
        ("AmusedPipeline", {"negative_prompt": "a"}, r"^AmusedPipeline needs prompt=\.\.\."),
    ],
)
def test_refused(name, given, message):
    with pytest.raises(InputError, match=message):
        check_arguments(object.__new__(getattr(diffusers, name)), given)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("StableDiffusionPipeline", {"prompt_embeds": 1, "callback": print, "callback_steps": 2, "clip_skip": 1}),
        ("StableDiffusionXLPipeline", {"prompt": "a", "prompt_2": "b", "denoising_end": 0.8}),
        ("StableDiffusionInpaintPipeline", {"prompt": ["a"], "image": 1, "mask_image": 1, "padding_mask_crop": 3}),
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
