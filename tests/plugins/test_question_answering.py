"""Question answering: windows, spans and errors, against the tokenizer and a brute force."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
import torch

from neuronkit.errors import InputError, SourceError
from neuronkit.processors import Processors
from neuronkit_plugins.text.question_answering import QuestionAnsweringOptions, plugin
from tests.plugins.checkpoints import WORDS, tiny_bert
from tests.plugins.harness import EagerPipeline

QUESTION = "Where does the Rhine flow?"
SHORT = "The Rhine  flows through the Alps, and into the sea."


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny BERT with a question-answering head."""
    return tiny_bert(tmp_path_factory.mktemp("question-answering"))


@pytest.fixture(scope="module")
def pipe(checkpoint):
    """The plugin around the eager model, compiled for 64 tokens."""
    return EagerPipeline(plugin, checkpoint)


def long_context(words=150, seed=0):
    """Return a context of several windows with uneven white space."""
    generator = random.Random(seed)
    return "".join(generator.choice(WORDS).title() + generator.choice([" ", "  ", ", ", ".\n"]) for _ in range(words))


def brute_force(pipe, question, context, *, limit=64, stride=None, longest=15, top_k=1, with_null=False):
    """Run each of the tokenizer's windows alone, and search every pair of tokens."""
    tokenizer = pipe.processors.tokenizer
    room = limit - len(tokenizer.tokenize(question)) - 3
    stride = min(128, room // 2) if stride is None else stride
    encoded = tokenizer(
        question,
        context,
        truncation="only_second",
        max_length=limit,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    found, nulls = {}, []
    for row in range(len(encoded["input_ids"])):
        tensors = {name: torch.tensor([encoded[name][row]]) for name in tokenizer.model_input_names}
        outputs = pipe.shell(**tensors)
        start, end = outputs["start_logits"][0].tolist(), outputs["end_logits"][0].tolist()
        nulls.append(start[0] + end[0])
        places = [place for place, sequence in enumerate(encoded.sequence_ids(row)) if sequence == 1]
        for first in places:
            for last in places:
                if first <= last < first + longest:
                    key = (encoded["offset_mapping"][row][first][0], encoded["offset_mapping"][row][last][1])
                    found[key] = max(start[first] + end[last], found.get(key, -math.inf))
    if with_null:
        found[0, 0] = min(nulls)
    highest = max(found.values())
    total = math.fsum(math.exp(logit - highest) for logit in found.values())
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:top_k]
    return [
        {"answer": context[start:end], "score": math.exp(logit - highest) / total, "start": start, "end": end}
        for (start, end), logit in ranked
    ]


def same(answers, expected):
    """Compare answers, the scores up to rounding."""
    assert [{**answer, "score": 0} for answer in answers] == [{**answer, "score": 0} for answer in expected]
    for answer, other in zip(answers, expected, strict=True):
        assert answer["score"] == pytest.approx(other["score"], rel=1e-3)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("stride", [None, 0, 7])
@pytest.mark.parametrize("with_null", [False, True])
def test_long_context_equals_brute_force(pipe, seed, stride, with_null):
    """Answers of a context of many windows, most of them padded together, are those of windows run alone."""
    context = long_context(seed=seed)
    answers = pipe(question=QUESTION, context=context, top_k=5, doc_stride=stride, handle_impossible_answer=with_null)
    same(answers, brute_force(pipe, QUESTION, context, stride=stride, top_k=5, with_null=with_null))
    assert all(answer["answer"] == context[answer["start"] : answer["end"]] for answer in answers)


def test_one_answer_is_a_mapping(pipe):
    """A question and `top_k` 1 give one answer, whose text is cut out of the original context."""
    answer = pipe(question=QUESTION, context=SHORT)
    assert list(answer) == ["answer", "score", "start", "end"]
    assert answer["answer"] == SHORT[answer["start"] : answer["end"]] != ""
    assert 0 < answer["score"] <= 1
    same([answer], brute_force(pipe, QUESTION, SHORT))


def test_scores_fall_and_add_up(pipe):
    """All the answers of a short context are distinct, ordered, and add up to one."""
    answers = pipe(question=QUESTION, context=SHORT, top_k=10_000, max_answer_length=3)
    scores = [answer["score"] for answer in answers]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1.0)
    assert len({(answer["start"], answer["end"]) for answer in answers}) == len(answers)
    assert max(len(pipe.processors.tokenizer.tokenize(answer["answer"])) for answer in answers) == 3


def test_impossible_answer_is_empty(pipe):
    """With `handle_impossible_answer` the empty answer is one of all."""
    answers = pipe(question=QUESTION, context=SHORT, top_k=10_000, handle_impossible_answer=True)
    (empty,) = [answer for answer in answers if answer["answer"] == ""]
    assert (empty["start"], empty["end"]) == (0, 0)
    assert sum(answer["score"] for answer in answers) == pytest.approx(1.0)


def test_lists(pipe):
    """A list of questions gives a list, whether there is one context for all or one for each."""
    other = long_context(seed=3)
    alone = [pipe(question=QUESTION, context=SHORT), pipe(question="Who sleeps?", context=other)]
    together = pipe(question=[QUESTION, "Who sleeps?"], context=[SHORT, other])
    same(together, alone)
    shared = pipe(question=[QUESTION, "Who sleeps?"], context=SHORT, top_k=2)
    assert [len(answers) for answers in shared] == [2, 2]
    assert isinstance(pipe(question=[QUESTION], context=SHORT), list)
    assert pipe(question=[], context=[]) == []


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"question": "", "context": SHORT}, "question is empty."),
        ({"question": QUESTION, "context": " \n"}, "context is empty."),
        ({"question": [QUESTION, " "], "context": SHORT}, "question 1 is empty."),
        ({"question": QUESTION}, "context is missing."),
        ({}, "both are missing."),
        ({"question": QUESTION, "contxt": SHORT}, "contxt: unknown input. Did you mean 'context'?"),
        ({"question": QUESTION, "zzz": SHORT}, "zzz: unknown input. It takes: question, context, batch_size,"),
        ({"question": 3, "context": SHORT}, "question must be a text or a list of texts (got int)."),
        ({"question": [QUESTION, None], "context": SHORT}, "it has an item of type NoneType"),
        ({"question": [QUESTION] * 3, "context": [SHORT] * 2}, "3 questions and 2 contexts"),
        ({"question": "river " * 61, "context": SHORT}, "question has 61 tokens, which leaves no room"),
        ({"question": "who", "context": SHORT, "doc_stride": 60}, "doc_stride must be smaller than the room"),
        ({"question": QUESTION, "context": "\u200b\x00"}, "context has no text that the tokenizer knows."),
    ],
)
def test_wrong_input(pipe, inputs, message):
    """What cannot be answered is refused by an `InputError`, a ValueError, that says which input is wrong."""
    with pytest.raises(InputError) as error:
        pipe(**inputs)
    assert message in str(error.value)
    assert isinstance(error.value, ValueError)


def test_doc_stride_says_the_numbers(pipe):
    """The largest overlap is one token less than the room; the error names both."""
    context = long_context(30)
    assert pipe(question="who", context=context, doc_stride=59)["answer"]
    with pytest.raises(InputError, match=r"got 60, and there is room for 60 of 64 tokens"):
        pipe(question="who", context=context, doc_stride=60)


def test_windows_are_the_tokenizers_own(checkpoint):
    """Windows overlap by the stride, and are padded together only to the longest."""
    processors = Processors(checkpoint, {"batch": 1, "sequence": 32})
    options = QuestionAnsweringOptions(doc_stride=4)
    inputs = {"question": "who", "context": " ".join(WORDS)}
    tensors, context = plugin.preprocess(inputs, processors, options)
    assert set(tensors) == {"input_ids", "attention_mask", "token_type_ids"}
    assert tensors["input_ids"].shape[1] == 32
    ids = [row[mask.bool()].tolist() for row, mask in zip(tensors["input_ids"], tensors["attention_mask"], strict=True)]
    assert all(previous[-5:-1] == following[3:7] for previous, following in pairwise(ids))
    assert len(ids[-1]) < 32
    assert context.allowed.sum() == sum(len(row) - 4 for row in ids)


def test_slow_tokenizer_is_refused(checkpoint):
    """Without offsets there are no answers."""

    class Slow:
        is_fast = False

    processors = Processors(checkpoint, {"batch": 1, "sequence": 32})
    processors.__dict__["tokenizer"] = Slow()
    with pytest.raises(InputError, match="Slow cannot say where in the text a token stands"):
        plugin.preprocess({"question": "a", "context": "b"}, processors, QuestionAnsweringOptions())


def test_checkpoint_without_head_is_refused(tmp_path):
    """Weights that would be random are an error that names them."""
    with pytest.raises(SourceError, match=r"no weights for BertForQuestionAnswering: qa_outputs.bias, qa_outputs"):
        EagerPipeline(plugin, tiny_bert(tmp_path, head="feature-extraction"))


def test_graph(pipe):
    """The graph takes what the class takes, padded by the tokenizer's id, and returns both logits."""
    graph = pipe.shell.graph
    assert [(input.name, input.pad_value, input.default) for input in graph.inputs] == [
        ("input_ids", pipe.processors.tokenizer.pad_token_id, None),
        ("attention_mask", 0, 1),
        ("token_type_ids", 0, 0),
    ]
    assert [output.axes for output in graph.outputs] == [("batch", "sequence")] * 2
