"""Token classification: the entities of a text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import torch

from neuronkit.errors import InputError
from neuronkit.hooks import hookimpl
from neuronkit.options import option
from neuronkit.processors import Processors
from neuronkit_plugins.text.batching import check_fits, tensors_of, tokenize
from neuronkit_plugins.text.encoder_graph import TruncatingOptions
from neuronkit_plugins.text.encoder_model import NeuronEncoderModel
from neuronkit_plugins.text.encoder_task import EncoderTask
from neuronkit_plugins.text.entities import STRATEGIES, Token, find_entities, resolve_overlaps
from neuronkit_plugins.text.labels import label_of, scores
from neuronkit_plugins.text.raw_input import read_text


@attrs.frozen(kw_only=True)
class TokenClassificationOptions(TruncatingOptions):
    """What token classification accepts."""

    aggregation_strategy: str = option(
        "none", stage="call", choices=STRATEGIES, help="How tokens become entities; none leaves them alone."
    )
    ignore_labels: tuple[str, ...] = option(("O",), stage="call", help="Labels to leave out of the result.")
    stride: int | None = option(
        None,
        stage="call",
        minimum=0,
        help="Tokens that two windows of a long text share; without it no text may be longer.",
    )


@attrs.frozen
class Tokenized:
    """
    What `postprocess` must know of the input. Windows of one text stand next to each other.

    Args:
        config: The checkpoint's configuration.
        tokenizer: Its tokenizer.
        texts: The texts.
        owners: The text of each window.
        ids: Tokens of each window.
        special: Which of them belong to no text.
        offsets: Their characters in the text; None where the tokenizer does not know.
        is_list: Whether a list was given.
    """

    config: Mapping[str, Any]
    tokenizer: Any
    texts: list[str]
    owners: list[int]
    ids: list[list[int]]
    special: list[list[int]]
    offsets: list[list[tuple[int, int]]] | None
    is_list: bool


class NeuronModelForTokenClassification(NeuronEncoderModel):
    """A compiled model that labels tokens: `logits` ``[batch, sequence, labels]``."""

    task = "token-classification"
    auto_model_class_name = "AutoModelForTokenClassification"


class TokenClassification(EncoderTask):
    """Every encoder that `AutoModelForTokenClassification` loads."""

    model_class = NeuronModelForTokenClassification
    options_class = TokenClassificationOptions
    axes: ClassVar = {"logits": ("batch", "sequence")}

    @hookimpl
    def preprocess(
        self, inputs: Mapping[str, Any], processors: Processors, options: TokenClassificationOptions
    ) -> tuple[dict[str, torch.Tensor], Tokenized]:
        """
        Tokenize `text`, with `stride` in overlapping windows.

        Raises:
            InputError: A name is unknown, a text is missing or no text or longer than the compiled length, or what the
                options ask for needs a fast tokenizer, or `stride` leaves a window no text of its own.
        """
        texts, is_list = read_text(inputs, options, "Token classification")
        tokenizer = processors.tokenizer
        limit = processors.limits["sequence"]
        self._check(options, tokenizer, limit)
        if not texts:
            return {}, Tokenized(processors.config, tokenizer, [], [], [], [], None, is_list)
        cut: dict[str, Any] = {}
        if options.stride is not None:
            cut = {"truncation": True, "max_length": limit, "stride": options.stride, "return_overflowing_tokens": True}
        elif options.truncation or tokenizer.model_max_length <= limit:  # the latter as transformers does
            cut = {"truncation": True, "max_length": min(limit, tokenizer.model_max_length)}
        encoded = tokenize(
            tokenizer, texts, return_special_tokens_mask=True, return_offsets_mapping=tokenizer.is_fast, **cut
        )
        tensors = tensors_of(encoded)
        check_fits(tensors, limit, "text", is_list=is_list)
        lengths = tensors["attention_mask"].sum(1).tolist()
        offsets = None
        if tokenizer.is_fast:
            offsets = [own[:size] for own, size in zip(encoded["offset_mapping"].tolist(), lengths, strict=True)]
        owners = encoded["overflow_to_sample_mapping"].tolist() if options.stride is not None else range(len(texts))
        return tensors, Tokenized(
            config=processors.config,
            tokenizer=tokenizer,
            texts=texts,
            owners=list(owners),
            ids=[own[:size] for own, size in zip(tensors["input_ids"].tolist(), lengths, strict=True)],
            special=[own[:size] for own, size in zip(encoded["special_tokens_mask"].tolist(), lengths, strict=True)],
            offsets=offsets,
            is_list=is_list,
        )

    @hookimpl
    def postprocess(
        self, outputs: Mapping[str, list[torch.Tensor]], context: Tokenized, options: TokenClassificationOptions
    ) -> Any:
        """Return the tokens or entities of a text as `find_entities` does; for a list of texts a list of these."""
        found: list[list[dict[str, Any]]] = [[] for _ in context.texts]
        for window, (owner, logits) in enumerate(zip(context.owners, outputs["logits"], strict=True)):
            entities = find_entities(
                self._tokens(context, window, logits),
                options.aggregation_strategy,
                lambda index: str(label_of(context.config, index)),
                context.tokenizer.convert_tokens_to_string,
            )
            name = "entity" if options.aggregation_strategy == "none" else "entity_group"
            found[owner] += [entity for entity in entities if entity[name] not in options.ignore_labels]
        windows = Counter(context.owners)
        for owner, entities in enumerate(found):
            if windows[owner] > 1:
                found[owner] = resolve_overlaps(entities)
        return found if context.is_list else found[0]

    def _check(self, options: TokenClassificationOptions, tokenizer: Any, limit: int) -> None:
        if not tokenizer.is_fast and (options.stride is not None or options.aggregation_strategy not in STRATEGIES[:2]):
            raise InputError(
                f"{type(tokenizer).__name__} cannot say where in the text a token stands, as stride and the strategies "
                f"{', '.join(STRATEGIES[2:])} need.\nTry: aggregation_strategy='simple'."
            )
        if options.stride is not None and options.aggregation_strategy == "none":
            raise InputError("stride puts entities of several windows together, so it needs an aggregation_strategy.")
        room = limit - tokenizer.num_special_tokens_to_add(pair=False)
        if options.stride is not None and options.stride >= room:
            raise InputError(
                f"stride must be smaller than the room that a window has for its text (got {options.stride}, and there is "
                f"room for {room} of {limit} tokens)."
            )

    def _tokens(self, context: Tokenized, window: int, logits: torch.Tensor) -> list[Token]:
        tokenizer, text = context.tokenizer, context.texts[context.owners[window]]
        likelihoods = scores(logits.numpy(), "softmax")
        # Tokenizers of whole words mark what continues one; for others a blank before a token tells.
        backend = getattr(tokenizer, "_tokenizer", None)
        marked = bool(backend and getattr(backend.model, "continuing_subword_prefix", None))
        tokens = []
        for index, (id, special) in enumerate(zip(context.ids[window], context.special[window], strict=True)):
            if special:
                continue
            word = tokenizer.convert_ids_to_tokens(id)
            start = end = None
            continues = False
            if context.offsets is not None:
                start, end = context.offsets[window][index]
                written = text[start:end]
                continues = (
                    len(word) != len(written) if marked else start > 0 and " " not in text[start - 1 : start + 1]
                )
                if id == tokenizer.unk_token_id:
                    word, continues = written, False
            tokens.append(Token(word, likelihoods[index], start, end, index, continues))
        return tokens


plugin = TokenClassification()
