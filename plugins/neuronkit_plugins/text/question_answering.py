"""Question answering: the span of a context that answers a question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from neuronkit.errors import InputError
from neuronkit.hooks import hookimpl
from neuronkit.options import option
from neuronkit.processors import Processors
from neuronkit_plugins.text.answer_spans import best_spans, trimmed
from neuronkit_plugins.text.batching import tensors_of
from neuronkit_plugins.text.encoder_graph import ENCODER_INPUTS, EncoderOptions
from neuronkit_plugins.text.encoder_model import NeuronEncoderModel
from neuronkit_plugins.text.encoder_task import EncoderTask
from neuronkit_plugins.text.raw_input import as_texts, check_names

DEFAULT_OVERLAP = 128


@attrs.frozen(kw_only=True)
class QuestionAnsweringOptions(EncoderOptions):
    """What question answering accepts."""

    max_answer_length: int = option(15, stage="call", minimum=1, help="Tokens of the longest answer.")
    top_k: int = option(1, stage="call", minimum=1, help="How many answers to return; more than one gives a list.")
    doc_stride: int | None = option(
        None,
        stage="call",
        minimum=0,
        help="Tokens that two windows of a long context share; by default min(128, half of one).",
    )
    handle_impossible_answer: bool = option(False, stage="call", help="Let the empty answer take part.")


@attrs.frozen
class Windows:
    """
    What `postprocess` must know of the input. Windows of one question stand next to each other.

    Args:
        contexts: One per question.
        bounds: Question ``i`` has the windows ``bounds[i]`` to ``bounds[i + 1]``.
        offsets: The characters of each token in its context, ``[windows, sequence, 2]``.
        allowed: Which tokens belong to the context, ``[windows, sequence]``.
        null_positions: Where the logits of the empty answer stand, ``[windows]``.
        is_list: Whether a list of questions was given.
    """

    contexts: list[str]
    bounds: list[int]
    offsets: NDArray[np.int64]
    allowed: NDArray[np.bool_]
    null_positions: NDArray[np.int64]
    is_list: bool


class NeuronModelForQuestionAnswering(NeuronEncoderModel):
    """
    A compiled model that says where an answer starts and where it ends: `start_logits` and `end_logits`, both
    ``[batch, sequence]``.
    """

    task = "question-answering"
    auto_model_class_name = "AutoModelForQuestionAnswering"

    def forward(  # positional, as the eager model takes them
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        *,
        start_positions: torch.Tensor | None = None,
        end_positions: torch.Tensor | None = None,
        **others: Any,
    ) -> Any:
        """
        Run the model.

        Args:
            input_ids: ``[batch, sequence]``.
            attention_mask: ``[batch, sequence]``, 1 for tokens and 0 for padding.
            token_type_ids: ``[batch, sequence]``, 0 for the question and 1 for the context.
            start_positions: Ignored: a compiled model computes no loss.
            end_positions: Ignored, as `start_positions`.
            **others: As for every encoder.
        """
        return super().forward(input_ids, attention_mask, token_type_ids, **others)


class QuestionAnswering(EncoderTask):
    """Every encoder that `AutoModelForQuestionAnswering` loads, with a fast tokenizer."""

    model_class = NeuronModelForQuestionAnswering
    options_class = QuestionAnsweringOptions
    axes: ClassVar = {"start_logits": ("batch", "sequence"), "end_logits": ("batch", "sequence")}
    results = ("start_logits", "end_logits")

    @hookimpl
    def preprocess(
        self, inputs: Mapping[str, Any], processors: Processors, options: QuestionAnsweringOptions
    ) -> tuple[dict[str, torch.Tensor], Windows]:
        """
        Tokenize questions with their contexts, in overlapping windows where a context is too long for one.

        Raises:
            InputError: A name is unknown or missing, a text is empty, or a question or `doc_stride` leaves no room for
                the context.
        """
        questions, contexts, is_list = read_inputs(inputs, options)
        if not questions:
            return {}, Windows([], [0], *_describe([], 0, None), is_list=is_list)
        tokenizer = processors.tokenizer
        if not tokenizer.is_fast:
            raise InputError(
                f"{type(tokenizer).__name__} cannot say where in the text a token stands, as answering needs.\n"
                f"Try: a checkpoint with a tokenizer.json (a fast tokenizer)."
            )
        limit = processors.limits["sequence"]
        encodings: list[Any] = []
        bounds = [0]
        for index, (question, context) in enumerate(zip(questions, contexts, strict=True)):
            which = f" {index}" if is_list else ""
            encodings += _windows(tokenizer, question, context, limit, options.doc_stride, which)
            bounds.append(len(encodings))
        windows = [item["inputs"] for item in encodings]
        padded = tokenizer.pad(windows, padding="longest", padding_side="right", return_tensors="pt")
        offsets, allowed, null_positions = _describe(encodings, padded["input_ids"].shape[1], tokenizer)
        for index, context in enumerate(contexts):
            rows = slice(bounds[index], bounds[index + 1])
            offsets[rows] = trimmed(offsets[rows], context)
            if not (allowed[rows] & (offsets[rows, :, 1] > offsets[rows, :, 0])).any():
                raise InputError(f"context{f' {index}' if is_list else ''} has no text that the tokenizer knows.")
        return tensors_of(padded), Windows(contexts, bounds, offsets, allowed, null_positions, is_list)

    @hookimpl
    def postprocess(self, outputs: Any, context: Windows, options: QuestionAnsweringOptions) -> Any:
        """
        Return ``{"answer", "score", "start", "end"}``, or a list of them for ``top_k > 1``; for a list of questions, a
        list of what each of them gives.

        ``answer`` is always ``context[start:end]``.
        """
        results: list[Any] = []
        for index, text in enumerate(context.contexts):
            rows = slice(context.bounds[index], context.bounds[index + 1])
            spans = best_spans(
                stacked(outputs["start_logits"][rows], context.offsets.shape[1]),
                stacked(outputs["end_logits"][rows], context.offsets.shape[1]),
                context.offsets[rows],
                context.allowed[rows],
                max_answer_length=options.max_answer_length,
                top_k=options.top_k,
                null_positions=context.null_positions[rows] if options.handle_impossible_answer else None,
            )
            answers = [
                {"answer": text[span.start : span.end], "score": span.score, "start": span.start, "end": span.end}
                for span in spans
            ]
            results.append(answers if options.top_k > 1 else answers[0])
        return results if context.is_list else results[0]


def read_inputs(inputs: Mapping[str, Any], options: Any = None) -> tuple[list[str], list[str], bool]:
    """
    Return questions and contexts, one for one, and whether a list of questions was given.

    Args:
        inputs: What a call gave beside its options.
        options: The call's options, for the suggestion of a name.

    Raises:
        InputError: A name is unknown or missing, a text is empty or no text, or questions and contexts
            do not pair up.
    """
    check_names(inputs, ["question", "context"], options)
    missing = [name for name in ("question", "context") if inputs.get(name) is None]
    if missing:
        gone = "both are missing" if len(missing) > 1 else f"{missing[0]} is missing"
        raise InputError(f"Question answering needs question=... and context=...; {gone}.")
    questions, is_list = as_texts("question", inputs["question"])
    contexts, many_contexts = as_texts("context", inputs["context"])
    if not is_list and many_contexts:
        questions = questions * len(contexts)
    elif is_list and not many_contexts:
        contexts = contexts * len(questions)
    if len(questions) != len(contexts):
        raise InputError(
            f"There are {len(questions)} questions and {len(contexts)} contexts: give one context, or one a question."
        )
    is_list = is_list or many_contexts
    for name, texts in (("question", questions), ("context", contexts)):
        for index, text in enumerate(texts):
            if not text.strip():
                raise InputError(f"{name}{f' {index}' if is_list else ''} is empty.")
    return questions, contexts, is_list


def stacked(logits: list[torch.Tensor], length: int) -> NDArray[np.float32]:
    """Return the logits of windows ``[windows, length]``; behind the end of a window they are zero, never chosen."""
    found = np.zeros((len(logits), length), dtype=np.float32)
    for row, own in zip(found, logits, strict=True):
        row[: len(own)] = own.numpy()
    return found


def _windows(tokenizer: Any, question: str, context: str, limit: int, doc_stride: int | None, which: str) -> list[Any]:
    """
    Return the tokenizer's own windows over one context: the model's `inputs` of each and its `encoding`.

    Args:
        tokenizer: A fast one.
        question: Stands at the beginning of every window.
        context: Is cut.
        limit: Tokens of the longest window.
        doc_stride: Tokens that two windows share; None takes the default.
        which: Names the question in errors: empty, or its number.
    """
    question_length = len(tokenizer(question, add_special_tokens=False)["input_ids"])
    room = limit - question_length - tokenizer.num_special_tokens_to_add(pair=True)
    if room < 1:
        raise InputError(
            f"question{which} has {question_length} tokens, which leaves no room for the context: the model was "
            f"compiled for {limit}.\nTry: a shorter question, or compile with a larger sequence_length."
        )
    overlap = min(DEFAULT_OVERLAP, room // 2) if doc_stride is None else doc_stride
    if overlap >= room:
        raise InputError(
            f"doc_stride must be smaller than the room that question{which} leaves for its context (got {overlap}, and "
            f"there is room for {room} of {limit} tokens)."
        )
    names = [name for name in tokenizer.model_input_names if name in ENCODER_INPUTS]
    encoded = tokenizer(
        question,
        context,
        truncation="only_second",
        max_length=limit,
        stride=overlap,
        return_overflowing_tokens=True,
        padding=False,
    )
    return [
        {"inputs": {name: encoded[name][index] for name in names}, "encoding": encoding}
        for index, encoding in enumerate(encoded.encodings)
    ]


def _describe(
    encodings: list[Any], length: int, tokenizer: Any
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Return offsets ``[windows, length, 2]``, which tokens are context, and the position of each null answer."""
    offsets = np.zeros((len(encodings), length, 2), dtype=np.int64)
    allowed = np.zeros((len(encodings), length), dtype=bool)
    null_positions = np.zeros(len(encodings), dtype=np.int64)
    for row, encoding in enumerate(item["encoding"] for item in encodings):
        size = len(encoding.ids)
        allowed[row, :size] = [sequence == 1 for sequence in encoding.sequence_ids]
        offsets[row, :size] = encoding.offsets
        if tokenizer.cls_token_id in encoding.ids:
            null_positions[row] = encoding.ids.index(tokenizer.cls_token_id)
    offsets[~allowed] = 0  # those of the question point into another text
    return offsets, allowed, null_positions


plugin = QuestionAnswering()
