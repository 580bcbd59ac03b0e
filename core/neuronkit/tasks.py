"""Task names: their aliases, and which task a checkpoint was made for."""

from __future__ import annotations

from importlib.util import find_spec

from neuronkit.errors import UnknownTaskError
from neuronkit.export.source import MODULES_FILE, SENTENCE_SETTINGS_FILE, Source, optional_settings
from neuronkit.plugins import get_registry

SENTENCES = "sentence-similarity"
"""The task of checkpoints with a ``modules.json``, but for cross-encoders."""

ALIASES = {
    "latent-consistency": "text-to-image",
    "ner": "token-classification",
    "sentence-transformers": SENTENCES,
    "sentiment-analysis": "text-classification",
    "sequence-classification": "text-classification",
    "stable-diffusion": "text-to-image",
    "stable-diffusion-xl": "text-to-image",
}
"""Other names of tasks, as transformers and other exporters have them."""

AUTO_MAPPINGS = {
    "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES": "question-answering",
    "MODEL_FOR_MASKED_LM_MAPPING_NAMES": "fill-mask",
    "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES": "text-classification",
    "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES": "token-classification",
    "MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES": "multiple-choice",
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES": "text-generation",
    "MODEL_MAPPING_NAMES": "feature-extraction",
}
"""transformers' registers of model classes, by the task whose head they carry."""

PIPELINE_MAPPINGS = {
    "AUTO_TEXT2IMAGE_PIPELINES_MAPPING": "text-to-image",
    "AUTO_IMAGE2IMAGE_PIPELINES_MAPPING": "image-to-image",
    "AUTO_INPAINT_PIPELINES_MAPPING": "inpainting",
}
"""diffusers' registers of pipeline classes, by their task."""

TASKS = frozenset({*AUTO_MAPPINGS.values(), *PIPELINE_MAPPINGS.values(), *ALIASES.values()})
"""The tasks of neuronkit's own plugins; other packages may offer more."""


def canonical_task(task: str) -> str:
    """Return the task that an alias stands for, or the task itself; in a known name ``_`` is as good as ``-``."""
    dashed = task.replace("_", "-")
    return ALIASES.get(dashed, dashed if dashed in TASKS else task)


def infer_task(source: Source, *, or_only: bool = False) -> str:
    """
    Return the task that a checkpoint was saved for.

    Args:
        source: The checkpoint.
        or_only: Where it does not say, take the only task that plugins offer for its architecture.

    Raises:
        UnknownTaskError: The checkpoint does not say.
    """
    if class_name := source.config.get("_class_name"):
        return _task_of_pipeline(class_name)
    if (source.path / MODULES_FILE).is_file():
        return _task_of_modules(source)
    from transformers.models.auto import modeling_auto

    architectures = source.config.get("architectures") or []
    for mapping, task in AUTO_MAPPINGS.items():
        names = getattr(modeling_auto, mapping).get(source.config.get("model_type"), ())
        names = {names} if isinstance(names, str) else set(names)
        if names.intersection(architectures):
            return task
    offered = sorted({str(info.task) for info in get_registry().values() if info.architecture == source.architecture})
    if or_only and len(offered) == 1:
        return offered[0]
    hint = (
        f"Try: --task with one of {', '.join(offered)}."
        if offered
        else f"No plugin is installed for {source.architecture!r}. Try: neuronkit list-plugins"
    )
    raise UnknownTaskError(
        f"Cannot infer the task of {source.path}: its config.json names the architectures {architectures}.\n{hint}"
    )


def _task_of_modules(source: Source) -> str:
    """Return the task of what sentence-transformers saved: a cross-encoder has its modules listed too."""
    settings = optional_settings(source.path / SENTENCE_SETTINGS_FILE)
    return "text-classification" if settings.get("model_type") == "CrossEncoder" else SENTENCES


def _task_of_pipeline(class_name: str) -> str:
    """Return the task under which diffusers registers a pipeline class; one of none of them draws from text."""
    if find_spec("diffusers") is None:
        return "text-to-image"  # the plugin says what to install
    from diffusers.pipelines import auto_pipeline

    for mapping, task in PIPELINE_MAPPINGS.items():
        if class_name in {kind.__name__ for kind in getattr(auto_pipeline, mapping).values()}:
            return task
    return "text-to-image"
