"""Text classification: the labels of a text or of a pair of texts, or one number for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import torch

from neuronkit.errors import InputError
from neuronkit.hooks import hookimpl
from neuronkit.options import option
from neuronkit.processors import Processors
from neuronkit_plugins.text.batching import encode_texts
from neuronkit_plugins.text.encoder_graph import TruncatingOptions
from neuronkit_plugins.text.encoder_model import NeuronEncoderModel
from neuronkit_plugins.text.encoder_task import EncoderTask
from neuronkit_plugins.text.labels import FUNCTIONS, label_of, scores, scoring
from neuronkit_plugins.text.raw_input import as_texts, check_names


@attrs.frozen(kw_only=True)
class TextClassificationOptions(TruncatingOptions):
    """What text classification accepts."""

    top_k: int | None = option(1, stage="call", minimum=1, help="How many labels to return; none gives all of them.")
    function_to_apply: str = option(
        "default", stage="call", choices=("default", *FUNCTIONS), help="What makes scores of logits."
    )


@attrs.frozen
class Classified:
    """
    What `postprocess` must know of the input.

    Args:
        config: The checkpoint's configuration.
        is_list: Whether a list was given.
    """

    config: Mapping[str, Any]
    is_list: bool


class NeuronModelForSequenceClassification(NeuronEncoderModel):
    """A compiled model that labels texts: `logits` ``[batch, labels]``."""

    task = "text-classification"
    auto_model_class_name = "AutoModelForSequenceClassification"


class TextClassification(EncoderTask):
    """Every encoder that `AutoModelForSequenceClassification` loads."""

    model_class = NeuronModelForSequenceClassification
    options_class = TextClassificationOptions
    axes: ClassVar = {"logits": ("batch",)}

    @hookimpl
    def preprocess(
        self, inputs: Mapping[str, Any], processors: Processors, options: TextClassificationOptions
    ) -> tuple[dict[str, torch.Tensor], Classified]:
        """
        Tokenize `text`, with `text_pair` behind it if there is one.

        Raises:
            InputError: A name is unknown, a text is missing or no text, texts do not pair up, or one is longer than the
                compiled length.
        """
        texts, pairs, is_list = read_texts(inputs, options)
        context = Classified(processors.config, is_list)
        if not texts:
            return {}, context
        return encode_texts(processors, texts, pairs, truncation=options.truncation, is_list=is_list), context

    @hookimpl
    def postprocess(
        self, outputs: Mapping[str, list[torch.Tensor]], context: Classified, options: TextClassificationOptions
    ) -> Any:
        """
        Return ``{"label", "score"}`` for a text, the highest score's; a list of them, highest first, for another
        `top_k` than 1; for a list of texts a list of what each of them gives.
        """
        results: list[Any] = []
        for logits in outputs["logits"]:
            function = options.function_to_apply
            if function == "default":
                function = scoring(context.config, len(logits))
            found = scores(logits.numpy(), function)
            ranked = [
                {"label": label_of(context.config, int(index)), "score": float(found[index])}
                for index in (-found).argsort(kind="stable")[: options.top_k]
            ]
            results.append(ranked[0] if options.top_k == 1 else ranked)
        return results if context.is_list else results[0]


def read_texts(inputs: Mapping[str, Any], options: Any) -> tuple[list[str], list[str] | None, bool]:
    """
    Return texts, what is paired with them, and whether a list was given.

    Raises:
        InputError: A name is unknown, a text is missing or no text, or texts do not pair up.
    """
    check_names(inputs, ["text", "text_pair"], options)
    if "text" not in inputs:
        raise InputError("The call needs text=...: a text or a list of texts.")
    texts, is_list = as_texts("text", inputs["text"])
    if inputs.get("text_pair") is None:
        return texts, None, is_list
    pairs, pairs_are_list = as_texts("text_pair", inputs["text_pair"])
    if pairs_are_list is not is_list or len(pairs) != len(texts):
        raise InputError(
            f"There are {len(texts)} texts and {len(pairs)} in text_pair: give one for each, both in lists."
        )
    return texts, pairs, is_list


plugin = TextClassification()
