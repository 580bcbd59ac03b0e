"""The shapes that callers may give, and the axis that each feeds."""

BATCH = "batch"
"""The axis whose rows are independent of each other: it may be split over calls, and is padded with copies of row 0."""
IMAGE_AXES = ("height", "width")
"""The axes of an image: their sizes pair up, and are those of the call, for padding would change it everywhere."""
AXES_OF_SHAPES = {
    "batch_size": BATCH,
    "sequence_length": "sequence",
    "num_choices": "num_choices",
    "height": "height",
    "width": "width",
    "num_images_per_prompt": "num_images_per_prompt",
}
"""The axis that each shape feeds; any other shape feeds the axis of its own name."""

SHAPE_NAMES = tuple(AXES_OF_SHAPES)


def axis_of(shape: str) -> str:
    """Return the axis that a shape feeds."""
    return AXES_OF_SHAPES.get(shape, shape)


def shape_of(axis: str) -> str:
    """Return the shape that feeds an axis."""
    return next((shape for shape, fed in AXES_OF_SHAPES.items() if fed == axis), axis)
