"""Multiple choice: which of several texts goes on from a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
import torch

from neuronkit.errors import InputError
from neuronkit.export import ExportConfig
from neuronkit.export.source import Source
from neuronkit.hooks import hookimpl
from neuronkit.options import option
from neuronkit.processors import Processors
from neuronkit_plugins.text.batching import check_fits, run_texts, tensors_of, tokenize
from neuronkit_plugins.text.encoder import as_texts, check_names, load_model
from neuronkit_plugins.text.encoder_graph import EncoderOptions, attention_flags, encoder_config, longest_sequence
from neuronkit_plugins.text.encoder_model import NeuronEncoderModel
from neuronkit_plugins.text.labels import scores


@attrs.frozen(kw_only=True)
class MultipleChoiceOptions(EncoderOptions):
    """What multiple choice accepts."""

    choices: Any = option(
        None, stage="call", help="The texts to choose from: a list for a text, a list of lists for a list of texts."
    )
    truncation: bool = option(False, stage="call", help="Cut texts that are longer than the compiled length.")


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


class MultipleChoice:
    """Every encoder that `AutoModelForMultipleChoice` loads."""

    @hookimpl
    def options(self) -> type:
        """Return the class of the options."""
        return MultipleChoiceOptions

    @hookimpl
    def default_shapes(self, source: Source) -> dict[str, list[int]]:
        """Return the default ``sequence_length``."""
        return longest_sequence(source)

    @hookimpl
    def export_config(
        self, source: Source, shapes: Mapping[str, list[int]], options: MultipleChoiceOptions
    ) -> ExportConfig:
        """Declare one graph: the logits of every choice; how many there are must be given."""
        model = load_model(source, "AutoModelForMultipleChoice", **attention_flags(options))
        axes = {"logits": ("batch", "num_choices")}
        return encoder_config(source, model, axes, options, shapes=shapes, leading=("batch", "num_choices"))

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
        limit = processors.limits["sequence"]
        count = len(choices[0])
        first = [text for text in texts for _ in range(count)]
        second = [choice for own in choices for choice in own]
        cut: dict[str, Any] = {"truncation": True, "max_length": limit} if options.truncation else {}
        tensors = tensors_of(tokenize(processors.tokenizer, first, second, **cut))
        tensors = {name: tensor.reshape(len(texts), count, -1) for name, tensor in tensors.items()}
        check_fits({"attention_mask": tensors["attention_mask"].flatten(0, 1)}, limit, "choice", is_list=True)
        return tensors, Choices(choices, is_list)

    @hookimpl
    def call(self, shell: Any, tensors: Mapping[str, torch.Tensor], options: MultipleChoiceOptions) -> Any:
        """Run the texts in batches of similar length."""
        return run_texts(shell, tensors, options.batch_size, ["logits"])

    @hookimpl
    def shell(self, session: Any) -> NeuronModelForMultipleChoice:
        """Return the public class around a session."""
        return NeuronModelForMultipleChoice(session)

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
