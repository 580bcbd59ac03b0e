"""Multiple choice: which of several texts goes on from a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import numpy as np
import torch

from neuronkit.errors import InputError
from neuronkit.hooks import hookimpl
from neuronkit.options import option
from neuronkit.processors import Processors
from neuronkit_plugins.text.batching import encode_texts
from neuronkit_plugins.text.encoder_graph import TruncatingOptions
from neuronkit_plugins.text.encoder_model import NeuronEncoderModel
from neuronkit_plugins.text.encoder_task import EncoderTask
from neuronkit_plugins.text.labels import scores
from neuronkit_plugins.text.raw_input import as_texts, check_names


@attrs.frozen(kw_only=True)
class MultipleChoiceOptions(TruncatingOptions):
    """What multiple choice accepts."""

    choices: Any = option(
        None, stage="call", help="The texts to choose from: a list for a text, a list of lists for a list of texts."
    )


@attrs.frozen
class Choices:
    """
    What `postprocess` must know of the input.

    Args:
        texts: The choices of each text.
        is_list: Whether a list was given.
    """

    texts: list[list[str]]
    is_list: bool


class NeuronModelForMultipleChoice(NeuronEncoderModel):
    """A compiled model that scores choices: ``[batch, num_choices, sequence]`` to `logits` ``[batch, num_choices]``."""

    task = "multiple-choice"
    auto_model_class_name = "AutoModelForMultipleChoice"


class MultipleChoice(EncoderTask):
    """Every encoder that `AutoModelForMultipleChoice` loads."""

    model_class = NeuronModelForMultipleChoice
    options_class = MultipleChoiceOptions
    axes: ClassVar = {"logits": ("batch", "num_choices")}
    leading = ("batch", "num_choices")

    @hookimpl
    def preprocess(
        self, inputs: Mapping[str, Any], processors: Processors, options: MultipleChoiceOptions
    ) -> tuple[dict[str, torch.Tensor], Choices]:
        """
        Tokenize `text` with each of its `choices` behind it.

        Raises:
            InputError: A name is unknown, a text is missing or no text, there are too many choices or not equally many,
                or a text is longer than the compiled length.
        """
        check_names(inputs, ["text"], options)
        if "text" not in inputs or options.choices is None:
            raise InputError("Multiple choice needs text=... and choices=[...].")
        texts, is_list = as_texts("text", inputs["text"])
        choices = read_choices(options.choices, len(texts), is_list=is_list, most=processors.limits["num_choices"])
        if not texts:
            return {}, Choices([], is_list)
        count = len(choices[0])
        first = [text for text in texts for _ in range(count)]
        second = [choice for own in choices for choice in own]
        rows = encode_texts(processors, first, second, truncation=options.truncation, name="choice")
        tensors = {name: tensor.reshape(len(texts), count, -1) for name, tensor in rows.items()}
        return tensors, Choices(choices, is_list)

    @hookimpl
    def postprocess(self, outputs: Mapping[str, list[torch.Tensor]], context: Choices) -> Any:
        """Return ``{"choice", "index", "score", "scores"}`` of the best choice of a text, a list for a list."""
        results = []
        for own, logits in zip(context.texts, outputs["logits"], strict=True):
            found = scores(logits.numpy(), "softmax")
            best = int(np.argmax(found))
            results.append(
                {
                    "choice": own[best],
                    "index": best,
                    "score": float(found[best]),
                    "scores": [float(one) for one in found],
                }
            )
        return results if context.is_list else results[0]


def read_choices(given: Any, texts: int, *, is_list: bool, most: int) -> list[list[str]]:
    """
    Return the choices of every text.

    Args:
        given: A list of texts, or for one text also texts separated by commas; for a list of texts one such list each.
        texts: How many texts there are.
        is_list: Whether they were given as a list.
        most: How many choices the graph takes.

    Raises:
        InputError: They are no texts, too many, not equally many, or one list for several texts.
    """
    if isinstance(given, str):
        given = [choice.strip() for choice in given.split(",")]
    per_text = list(given) if is_list else [given]
    if is_list and any(isinstance(own, str) for own in per_text):
        raise InputError(
            "choices: a list of texts needs a list of choices for each of them (got one list for all).\n"
            'Try: choices=[["a", "b"], ["a", "b"]] for two texts.'
        )
    if len(per_text) != texts:
        raise InputError(f"There are {texts} texts and {len(per_text)} lists of choices: give one list for each text.")
    choices = [as_texts("choices", own)[0] for own in per_text]
    counts = sorted({len(own) for own in choices})
    if len(counts) > 1:
        raise InputError(f"choices: every text needs as many (got {' and '.join(map(str, counts))}).")
    if counts and not 1 <= counts[0] <= most:
        raise InputError(f"choices: the model was compiled for 1 to {most} (got {counts[0]}).")
    return choices


plugin = MultipleChoice()
