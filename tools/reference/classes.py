"""The page of the public classes that the built-in plugins bring."""

from __future__ import annotations

from importlib import metadata

import neuronkit
from neuronkit.hooks import API
from neuronkit.models.base import NeuronBaseModel
from neuronkit.models.decoder import NeuronDecoderModel
from neuronkit.models.diffusion import NeuronDiffusionPipeline
from tools.reference.library import class_parts
from tools.reference.text import docstring, page, summary, table

INTRO = """
Each class imports from `neuronkit` under its own name and is loaded when it is asked for. A package adds its own
through the entry-point group `neuronkit.classes.v1`.

All of them have `from_pretrained(checkpoint, export=True, **shapes_and_options)`, `from_pretrained(artifact)`,
`save_pretrained(directory)` and `push_to_hub(directory, repository_id)`.
The text classes are transformers-like modules and have the members of
[`NeuronBaseModel`](library.md#neuronbasemodel); the pipelines are the pipelines of `diffusers`, over compiled
components, and take every argument that those take.
"""


PIPELINES = """
## Members of the pipelines

What a compiled pipeline has beside the pipeline of `diffusers` that it is, or does differently. Shown for SDXL; a
pipeline has those whose subject it has.
"""


def names() -> list[str]:
    """Return the names of the classes that neuronkit's own package declares."""
    entries = metadata.distribution("neuronkit").entry_points
    return sorted(entry.name for entry in entries if entry.group == f"neuronkit.classes.v{API[0]}")


def render() -> str:
    """Return the page."""
    rows = []
    parts = []
    for name in names():
        item = getattr(neuronkit, name)
        task = getattr(item, "task", None)
        rows.append([f"[`{name}`](#{name.lower()})", f"[{task}](../tasks/{task}.md)" if task else "", summary(item)])
        if issubclass(item, NeuronDiffusionPipeline):
            eager = item._eager_class()
            below = f"A `diffusers.{eager.__name__}` over compiled components." if eager else ""
            parts += [f"## {name}", docstring(item), below]
        else:
            base = NeuronDecoderModel if issubclass(item, NeuronDecoderModel) else NeuronBaseModel
            parts += class_parts(item, "##", but=base)
    pipeline = neuronkit.NeuronStableDiffusionXLPipeline
    parts += [PIPELINES, *class_parts(pipeline, "##")[2:]]
    return page("Classes", INTRO, table(["class", "task", "what it is"], rows), *parts)
