"""Writing images to files, with what they were made from."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import ceil, sqrt
from pathlib import Path
from typing import Any

from neuronkit.errors import InputError

TASKS = frozenset({"image-to-image", "inpainting", "text-to-image"})
"""Tasks whose results are images."""
NUMBERS = ".npy"
"""How a file of numbers ends that are no image."""
SETTINGS = "neuronkit"
"""Key of an image's ``info`` under which its settings lie, as a mapping of text to text."""


def save_images(images: Sequence[Any], path: Path, *, grid: bool = False) -> list[Path]:
    """
    Write PIL images; those in PNG files keep their settings as text chunks.

    Args:
        images: One or several. What `SETTINGS` of an image's ``info`` holds is written with it.
        path: Of the file; with several images a number is put after its stem.
        grid: Write all images into one file, side by side.

    Returns:
        The files.

    """
    if grid:
        images = [make_grid(images)]
    paths = image_paths(path, len(images))
    path.parent.mkdir(parents=True, exist_ok=True)
    for image, target in zip(images, paths, strict=True):
        settings = image.info.get(SETTINGS) or {}
        if target.suffix.lower() == ".png" and settings:
            from PIL.PngImagePlugin import PngInfo

            chunks = PngInfo()
            for name, text in settings.items():
                chunks.add_itxt(name, text)
            image.save(target, pnginfo=chunks)
        else:
            image.save(target)
    return paths


def require_image_ending(path: Path) -> None:
    """
    Refuse a file that `save_images` could not write, before there are images that could be lost.

    Raises:
        InputError: Its name does not end as that of an image.

    """
    from PIL import Image

    written = {ending for ending, kind in Image.registered_extensions().items() if kind in Image.SAVE}
    if path.suffix.lower() not in written:
        raise InputError(f"{path} has no ending of an image file. Try: {path.with_suffix('.png')}")


def save_array(array: Any, path: Path) -> None:
    """
    Write numbers as NumPy's ``.npy``.

    Args:
        array: A tensor, an array, or a list of either.
        path: Of the file.

    """
    import numpy as np

    items = list(map(np.asarray, array)) if isinstance(array, (list, tuple)) else np.asarray(array)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, items)


def image_paths(path: Path, count: int) -> list[Path]:
    """Return the files of so many images: the path itself for one, else with a number after its stem."""
    return [path] if count == 1 else [path.with_stem(f"{path.stem}-{number}") for number in range(count)]


def free_path(path: Path, count: int) -> Path:
    """Return the path, or the first with a number after its stem, for which no file of so many images is there yet."""
    candidates = itertools.chain([path], (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(1)))
    return next(
        candidate for candidate in candidates if not any(file.exists() for file in image_paths(candidate, count))
    )


def make_grid(images: Sequence[Any]) -> Any:
    """Return one image of all, in rows of equal length as near to a square as can be; it has the first one's settings."""
    from PIL import Image

    columns = ceil(sqrt(len(images)))
    rows = ceil(len(images) / columns)
    width, height = images[0].size
    sheet = Image.new(images[0].mode, (columns * width, rows * height))
    for number, image in enumerate(images):
        sheet.paste(image, (number % columns * width, number // columns * height))
    sheet.info = dict(images[0].info)
    return sheet
