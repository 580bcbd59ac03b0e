"""What ``neuronkit new-plugin`` begins packages with that build on these plugins: on their decoder, on their pipelines."""

from __future__ import annotations

from importlib.resources import files

from neuronkit.scaffold import Sketch

_TEMPLATES = files("neuronkit_plugins.sketches")

text_generation = Sketch(
    templates=_TEMPLATES / "decoder",
    base="GPT2LMHeadModel",
    suffix="LMHeadModel",
    raw={"prompt": "Once upon a time", "max_new_tokens": 5},
    bad_raw=({"prompt": ""}, {"prompt": []}, {"prompt": "Once", "max_new_tokens": 0}),
    result='{"generated_text": str}',
)
text_to_image = Sketch(
    templates=_TEMPLATES / "diffusion",
    base="StableDiffusionPipeline",
    suffix="Pipeline",
    raw={"prompt": "a red cat", "steps": 2, "seed": 1},
    bad_raw=({"prompt": ""}, {"prompt": "a red cat", "steps": 0}),
    result='["image"]',
    shapes={},
    test_shapes={"batch_size": 1},
    is_pipeline=True,
    extra="diffusion",
)
