"""The sketches for tasks of encoders, which need nothing but the core: the model is BERT."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from neuronkit.scaffold.sketch import Sketch

_TEMPLATES = files("neuronkit.scaffold") / "templates" / "encoder"
_TEXT = "Two words of text."


def _texts(suffix: str, result: str, text: str = _TEXT) -> Sketch:
    """Return a sketch for a task that takes one text or several."""
    bad: tuple[Mapping[str, Any], ...] = ({"text": " "}, {"text": []}, {"text": ["a text", 7]})
    return Sketch(
        templates=_TEMPLATES,
        base=f"Bert{suffix}",
        suffix=suffix,
        raw={"text": text},
        bad_raw=bad,
        result=result,
        modules=("model", "sample", "texts"),
    )


feature_extraction = _texts("Model", '"array"')
fill_mask = _texts(
    "ForMaskedLM",
    '[{"score": float, "token": int, "token_str": str, "sequence": str}]',
    "Two words of [MASK].",
)
multiple_choice = Sketch(
    templates=_TEMPLATES,
    base="BertForMultipleChoice",
    suffix="ForMultipleChoice",
    raw={"text": "It rains.", "choices": ["Take an umbrella.", "Water the garden."]},
    bad_raw=({"text": "It rains.", "choices": []}, {"text": "It rains.", "choices": "Take an umbrella."}),
    result='{"choice": str, "index": int, "score": float, "scores": [float]}',
    shapes={"num_choices": 2, "sequence_length": 64},
    test_shapes={"batch_size": 2, "num_choices": 2, "sequence_length": 48},
)
question_answering = Sketch(
    templates=_TEMPLATES,
    base="BertForQuestionAnswering",
    suffix="ForQuestionAnswering",
    raw={"question": "Where is it?", "context": "It is in the house."},
    bad_raw=({"question": "Where is it?", "context": " "}, {"question": "Where is it?"}),
    result='{"answer": str, "score": float, "start": int, "end": int}',
)
sentence_similarity = _texts("Model", '"array"')
text_classification = _texts("ForSequenceClassification", '{"label": str, "score": float}')
token_classification = _texts(
    "ForTokenClassification",
    '[{"entity": str, "score": float, "word": str, "start": int, "end": int}]',
)
