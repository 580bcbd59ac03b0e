"""
Every image plugin keeps every promise: one of each family in full here, the others as far as no checkpoint is needed.

In full they take minutes, and are run with ``-m heavy``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("diffusers")

from neuronkit.testing import PluginConformance
from tests.conformance.keys import keys_of_tasks
from tests.image.checkpoints import RECIPES
from tests.image.pairs import mask, picture

IMAGE_TASKS = ("image-to-image", "inpainting", "text-to-image")


class Diffusion(PluginConformance):
    """A task of a pipeline of small components."""

    recipe = ""
    shapes = {"height": 32, "width": 32}
    arguments: dict[str, Any] = {}

    def checkpoint(self, path: Path) -> Path:
        return RECIPES[self.recipe](path)

    def raw(self) -> dict[str, Any]:
        return {"prompt": "a red cat", "steps": 2, "seed": 0, **self.arguments}


class FromImage(Diffusion):
    arguments = {"image": picture(), "strength": 0.9}


class OfMask(Diffusion):
    arguments = {"image": picture(), "mask": mask(), "strength": 0.9}


@pytest.mark.heavy
class TestStableDiffusion(Diffusion):
    recipe, key = "sd", "stable-diffusion.text-to-image"


@pytest.mark.heavy
class TestStableDiffusionFromImage(FromImage):
    recipe, key = "sd", "stable-diffusion.image-to-image"


@pytest.mark.heavy
class TestStableDiffusionInpainting(OfMask):
    recipe, key = "sd", "stable-diffusion.inpainting"


@pytest.mark.heavy
class TestStableDiffusionXL(Diffusion):
    recipe, key = "sdxl", "stable-diffusion-xl.text-to-image"


@pytest.mark.heavy
class TestStableDiffusionXLFromImage(FromImage):
    recipe, key = "sdxl", "stable-diffusion-xl.image-to-image"


@pytest.mark.heavy
class TestStableDiffusionXLInpainting(OfMask):
    recipe, key = "sdxl", "stable-diffusion-xl.inpainting"


class Controlled:
    """Arguments of a pipeline with a ControlNet."""

    def raw(self) -> dict[str, Any]:
        return {**super().raw(), "control_image": picture(seed=7)}  # type: ignore[misc]


@pytest.mark.heavy
class TestControlNet(Controlled, Diffusion):
    recipe, key = "sd-control", "stable-diffusion-control-net.text-to-image"


@pytest.mark.heavy
class TestControlNetFromImage(Controlled, FromImage):
    recipe, key = "sd-control", "stable-diffusion-control-net.image-to-image"


@pytest.mark.heavy
class TestControlNetInpainting(Controlled, OfMask):
    recipe, key = "sd-control", "stable-diffusion-control-net.inpainting"


@pytest.mark.heavy
class TestControlNetXL(Controlled, Diffusion):
    recipe, key = "sdxl-control", "stable-diffusion-xl-control-net.text-to-image"


@pytest.mark.heavy
class TestControlNetXLFromImage(Controlled, FromImage):
    recipe, key = "sdxl-control", "stable-diffusion-xl-control-net.image-to-image"


@pytest.mark.heavy
class TestControlNetXLInpainting(Controlled, OfMask):
    recipe, key = "sdxl-control", "stable-diffusion-xl-control-net.inpainting"


@pytest.mark.heavy
class TestLatentConsistency(Diffusion):
    recipe, key = "lcm", "latent-consistency.text-to-image"


@pytest.mark.heavy
class TestLatentConsistencyFromImage(FromImage):
    recipe, key = "lcm", "latent-consistency.image-to-image"


class TestAmused(Diffusion):
    recipe, key = "amused", keys_of_tasks("amused.text-to-image", IMAGE_TASKS)


@pytest.mark.heavy
class TestAmusedFromImage(FromImage):
    recipe, key = "amused", "amused.image-to-image"


@pytest.mark.heavy
class TestAmusedInpainting(OfMask):
    recipe, key = "amused", "amused.inpainting"
