"""What a generated package has for each task: which template, which model, which example."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import attrs

from neuronkit.errors import OptionError
from neuronkit.tasks import canonical_task
from neuronkit_registry.names import closest

_TEXT = "Two words of text."


@attrs.frozen(kw_only=True)
class Sketch:
    """
    A task.

    Args:
        kind: Folder of the templates: ``encoder``, ``decoder`` or ``diffusion``.
        base: Class of the model that the package begins with; less its library's prefix it ends the name of the package's own.
        raw: Keywords of one call.
        bad_raw: Keywords of calls that must be refused.
        result: The form of the result, as the conformance kit takes it.
        shapes: What a sample is compiled for on the command line.
        test_shapes: What the conformance kit compiles for.
        reads_texts: Whether the call takes one text or several.
    """

    kind: str
    base: str
    raw: Mapping[str, Any]
    bad_raw: tuple[Mapping[str, Any], ...]
    result: str
    shapes: Mapping[str, int] = {"sequence_length": 64}
    test_shapes: Mapping[str, int] = {"batch_size": 2, "sequence_length": 48}
    reads_texts: bool = False

    @property
    def example(self) -> str:
        """The options of ``neuronkit run``."""
        words = []
        for name, value in self.raw.items():
            for item in value if isinstance(value, list) else [value]:
                words.append(
                    f"--{name.replace('_', '-')} {chr(34) + item + chr(34) if isinstance(item, str) else item}"
                )
        return " ".join(words)

    @property
    def flags(self) -> str:
        """The options of ``neuronkit compile``."""
        return " ".join(f"--{name.replace('_', '-')} {size}" for name, size in self.shapes.items())


def _texts(base: str, result: str, text: str = _TEXT) -> Sketch:
    bad: tuple[Mapping[str, Any], ...] = ({"text": " "}, {"text": []}, {"text": ["a text", 7]})
    return Sketch(kind="encoder", base=base, raw={"text": text}, bad_raw=bad, result=result, reads_texts=True)


SKETCHES: Mapping[str, Sketch] = MappingProxyType(
    {
        "feature-extraction": _texts("BertModel", '"array"'),
        "fill-mask": _texts(
            "BertForMaskedLM",
            '[{"score": float, "token": int, "token_str": str, "sequence": str}]',
            "Two words of [MASK].",
        ),
        "multiple-choice": Sketch(
            kind="encoder",
            base="BertForMultipleChoice",
            raw={"text": "It rains.", "choices": ["Take an umbrella.", "Water the garden."]},
            bad_raw=({"text": "It rains.", "choices": []}, {"text": "It rains.", "choices": "Take an umbrella."}),
            result='{"choice": str, "index": int, "score": float, "scores": [float]}',
            shapes={"num_choices": 2, "sequence_length": 64},
            test_shapes={"batch_size": 2, "num_choices": 2, "sequence_length": 48},
        ),
        "question-answering": Sketch(
            kind="encoder",
            base="BertForQuestionAnswering",
            raw={"question": "Where is it?", "context": "It is in the house."},
            bad_raw=({"question": "Where is it?", "context": " "}, {"question": "Where is it?"}),
            result='{"answer": str, "score": float, "start": int, "end": int}',
        ),
        "sentence-similarity": _texts("BertModel", '"array"'),
        "text-classification": _texts("BertForSequenceClassification", '{"label": str, "score": float}'),
        "text-generation": Sketch(
            kind="decoder",
            base="GPT2LMHeadModel",
            raw={"prompt": "Once upon a time", "max_new_tokens": 5},
            bad_raw=({"prompt": ""}, {"prompt": []}, {"prompt": "Once", "max_new_tokens": 0}),
            result='{"generated_text": str}',
        ),
        "text-to-image": Sketch(
            kind="diffusion",
            base="StableDiffusionPipeline",
            raw={"prompt": "a red cat", "steps": 2, "seed": 1},
            bad_raw=({"prompt": ""}, {"prompt": "a red cat", "steps": 0}),
            result='["image"]',
            shapes={},
            test_shapes={"batch_size": 1},
        ),
        "token-classification": _texts(
            "BertForTokenClassification",
            '[{"entity": str, "score": float, "word": str, "start": int, "end": int}]',
        ),
    }
)
"""Every task that has a template."""


def find_sketch(task: str) -> tuple[str, Sketch]:
    """
    Return a task's name and what is written for it.

    Raises:
        OptionError: There is no template for it.
    """
    name = canonical_task(task)
    if name not in SKETCHES:
        near = closest(name, SKETCHES)
        hint = f" Did you mean {near!r}?" if near else ""
        raise OptionError(f"task: there is no template for {task!r}.{hint} There are: {', '.join(SKETCHES)}.")
    return name, SKETCHES[name]
