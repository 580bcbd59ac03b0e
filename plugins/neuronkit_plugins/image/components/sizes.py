"""The sizes that a pipeline is compiled for."""

from __future__ import annotations

import attrs

MOST_IMAGES = 16
"""Rows of one call of a UNet where the batch is dynamic: more would save no time and cost memory."""
_LIMIT = 63
"""diffusers' upsampling takes another path from 64 rows on, so that no one graph serves both sides."""


@attrs.frozen
class Sizes:
    """
    The sizes that a pipeline is compiled for; one entry of `heights` and `widths` per resolution.

    Args:
        prompts: Rows of a text encoder's call.
        images: Rows of a UNet's call.
        heights: Of the images, in pixels.
        widths: Of the images, in pixels.
        factor: Pixels along one latent.

    """

    prompts: tuple[int, ...]
    images: tuple[int, ...]
    heights: tuple[int, ...]
    widths: tuple[int, ...]
    factor: int

    @property
    def shapes(self) -> dict[str, list[int]]:
        """The sizes as an artifact records them where the caller gave none."""
        return {**self.pixels, "num_images_per_prompt": [1]}

    @property
    def rows(self) -> list[int]:
        """Rows of a UNet's call, as many as its operators allow; more are split over several calls."""
        return list(dict.fromkeys(min(rows, _LIMIT) for rows in self.images))

    @property
    def pixels(self) -> dict[str, list[int]]:
        """Height and width of the images."""
        return {"height": list(self.heights), "width": list(self.widths)}

    @property
    def latents(self) -> dict[str, list[int]]:
        """Height and width of the latents."""
        return {axis: [size // self.factor for size in sizes] for axis, sizes in self.pixels.items()}
