"""Fill-mask: the words that fit into the gaps of a text."""

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
class FillMaskOptions(TruncatingOptions):
    """What fill-mask accepts."""

    top_k: int = option(5, stage="call", minimum=1, help="How many fillings to return.")
    targets: tuple[str, ...] | None = option(None, stage="call", help="The only words to choose among; by default all.")


@attrs.frozen
class Gaps:
    """
    What `postprocess` must know of the input.

    Args:
        tokenizer: The checkpoint's.
        ids: The tokens of each text.
        targets: The only tokens to choose among; None is all.
        is_list: Whether a list was given.
    """

    tokenizer: Any
    ids: list[torch.Tensor]
    targets: list[int] | None
    is_list: bool


class NeuronModelForMaskedLM(NeuronEncoderModel):
    """A compiled model that scores every word for every position: `logits` ``[batch, sequence, vocabulary]``."""

    task = "fill-mask"
    auto_model_class_name = "AutoModelForMaskedLM"


class FillMask(EncoderTask):
    """Every encoder that `AutoModelForMaskedLM` loads."""

    model_class = NeuronModelForMaskedLM
    options_class = FillMaskOptions
    axes: ClassVar = {"logits": ("batch", "sequence")}

    @hookimpl
    def preprocess(
        self, inputs: Mapping[str, Any], processors: Processors, options: FillMaskOptions
    ) -> tuple[dict[str, torch.Tensor], Gaps]:
        """
        Tokenize `text`, every one of which has a mask.

        Raises:
            InputError: A name is unknown, a text is missing or no text, has no mask or is longer than the compiled
                length, or there is no target that the tokenizer knows.
        """
        check_names(inputs, ["text"], options)
        tokenizer = processors.tokenizer
        if tokenizer.mask_token_id is None:
            raise InputError("The checkpoint's tokenizer has no mask token, which fill-mask needs.")
        if "text" not in inputs:
            raise InputError(f"Fill-mask needs text=...: a text or a list of texts that hold {tokenizer.mask_token}.")
        texts, is_list = as_texts("text", inputs["text"])
        targets = _target_ids(tokenizer, options.targets) if options.targets is not None else None
        if not texts:
            return {}, Gaps(tokenizer, [], targets, is_list)
        tensors = encode_texts(processors, texts, truncation=options.truncation, is_list=is_list)
        without = (tensors["input_ids"] == tokenizer.mask_token_id).sum(1) == 0
        if without.any():
            which = f" {int(without.nonzero()[0])}" if is_list else ""
            raise InputError(f"text{which} has no {tokenizer.mask_token}, which marks what is to be filled in.")
        ids = [row[mask.bool()] for row, mask in zip(tensors["input_ids"], tensors["attention_mask"], strict=True)]
        return tensors, Gaps(tokenizer, ids, targets, is_list)

    @hookimpl
    def postprocess(self, outputs: Mapping[str, list[torch.Tensor]], context: Gaps, options: FillMaskOptions) -> Any:
        """
        Return ``{"score", "token", "token_str", "sequence"}`` of the best fillings, best first.

        A list for a text with one mask, a list of lists for one with several; for several texts a list of what each of
        them gives, and for a list of one text what that text gives, as transformers' pipeline does.
        """
        results = [
            _fill(context, ids, logits, options.top_k)
            for ids, logits in zip(context.ids, outputs["logits"], strict=True)
        ]
        return results if context.is_list and len(results) != 1 else results[0]


def _fill(context: Gaps, ids: torch.Tensor, logits: torch.Tensor, top_k: int) -> list[Any]:
    tokenizer = context.tokenizer
    places = (ids == tokenizer.mask_token_id).nonzero().squeeze(-1).tolist()
    filled = []
    for place in places:
        found = scores(logits[place].numpy(), "softmax")
        candidates = np.arange(len(found)) if context.targets is None else np.asarray(context.targets)
        ranked = candidates[(-found[candidates]).argsort(kind="stable")[:top_k]]
        fillings = []
        for token in ranked.tolist():
            tokens = ids.clone()
            tokens[place] = token
            tokens = tokens[tokens != tokenizer.pad_token_id] if tokenizer.pad_token_id is not None else tokens
            # The other masks are special tokens, and are to be seen.
            sequence = tokenizer.decode(tokens, skip_special_tokens=len(places) == 1)
            word = tokenizer.decode([token])
            fillings.append({"score": float(found[token]), "token": token, "token_str": word, "sequence": sequence})
        filled.append(fillings)
    return filled[0] if len(places) == 1 else filled


def _target_ids(tokenizer: Any, targets: tuple[str, ...]) -> list[int]:
    """Return the first token of every target, each once."""
    vocabulary = tokenizer.get_vocab()
    found: dict[int, None] = {}
    for target in targets:
        if target in vocabulary:
            found[vocabulary[target]] = None
        elif ids := tokenizer(target, add_special_tokens=False)["input_ids"]:
            found[ids[0]] = None
    if not targets:
        raise InputError("targets: there are none.\nTry: without it, which ranks the whole vocabulary.")
    if not found:
        raise InputError(f"targets: the tokenizer knows none of {', '.join(targets)}.")
    return list(found)


plugin = FillMask()
