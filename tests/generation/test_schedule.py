"""More prompts than rows, streams, and a call's life in the cache."""

from __future__ import annotations

import pytest
import torch

from neuronkit.errors import InputError
from neuronkit.generation.loop import NewToken
from tests.generation.prompts import alone, new_tokens, padded, texts

MANY = texts(4, 11, 1, 20, 7, 3, 9, 15, 2, 6, 12, seed=3)
GREEDY = {"max_new_tokens": 15, "do_sample": False, "eos_token_id": [80, 42, 77, 13]}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("static", [False, True], ids=["dynamic", "static"])
def test_more_prompts_than_rows(compiled, reference, side, static):
    """Eleven prompts over four rows: results in the order given, each as if it were alone."""
    model = compiled("gpt2", static=True, buckets=(8, 40)) if static else compiled()
    expected = alone(reference, MANY, **GREEDY)
    assert len({len(tokens) for tokens in expected}) > 2
    assert new_tokens(model.generate(**padded(MANY, side), **GREEDY), 20, expected) == expected


def test_a_row_is_refilled_at_once(model):
    """The fifth prompt begins while others of the first four go on."""
    found = list(model.generate_iter(**padded(MANY), **GREEDY))
    begins = next(number for number, new in enumerate(found) if new.index == 4)
    ends = [number for number, new in enumerate(found) if new.is_last and new.index < 4]
    assert min(ends) < begins < max(ends)
    assert sorted(new.index for new in found if new.is_last) == list(range(len(MANY)))


def test_processors_in_a_queue(model, reference):
    given = {**GREEDY, "repetition_penalty": 1.4, "no_repeat_ngram_size": 2}
    expected = alone(reference, MANY, **given)
    assert new_tokens(model.generate(**padded(MANY), **given), 20, expected) == expected


def test_sampling_in_a_queue(model):
    """Repeatable, and within the options."""
    given = {"max_new_tokens": 10, "do_sample": True, "top_k": 4, "seed": 2}
    first = model.generate(**padded(MANY), **given)
    assert first.shape == (11, 30)
    assert torch.equal(model.generate(**padded(MANY), **given), first)


def test_scores_of_a_queue(model, reference):
    """A blank stands where a text had ended."""
    given = {"max_new_tokens": 6, "do_sample": False, "return_dict_in_generate": True, "output_logits": True}
    found = model.generate(**padded(MANY), **given)
    assert [step.shape for step in found.logits] == [(11, 96)] * 6
    single = reference.generate(MANY[7][None], **given)
    torch.testing.assert_close(found.logits[5][7], single.logits[5][0], atol=1e-4, rtol=1e-4)


def test_iterator(model, reference):
    expected = alone(reference, MANY[:2], **GREEDY)
    tokens: dict[int, list[int]] = {0: [], 1: []}
    for new in model.generate_iter(**padded(MANY[:2]), **GREEDY):
        assert isinstance(new, NewToken)
        tokens[new.index].append(new.token_id)
        assert new.is_last == (len(tokens[new.index]) == len(expected[new.index]))
    assert [tokens[0], tokens[1]] == expected


def test_an_iterator_that_is_left(model, reference):
    """What it left in the cache does not matter to the next call."""
    steps = model.generate_iter(**padded(MANY), **GREEDY)
    for _ in range(7):
        next(steps)
    expected = alone(reference, MANY[3:4], **GREEDY)
    assert model.generate(MANY[3][None], **GREEDY)[0, 20:].tolist() == expected[0]


def test_an_iterator_whose_cache_another_call_took(model):
    """It says so; going on would give tokens of neither text."""
    steps = model.generate_iter(MANY[0][None], **GREEDY)
    next(steps)
    model.generate(MANY[3][None], **GREEDY)
    with pytest.raises(InputError) as caught:
        next(steps)
    assert str(caught.value) == (
        "Another call has used the model's cache since the last token of this text; a model has one.\n"
        "Try: finish one call before the next, or give all prompts to one call, which divides them over the rows."
    )
    with pytest.raises(StopIteration):
        next(steps)


def test_forward_takes_the_cache_too(model):
    """What it writes is seen by nobody else."""
    steps = model.generate_iter(MANY[0][None], **GREEDY)
    next(steps)
    model(MANY[3][None])
    with pytest.raises(InputError, match="Another call has used the model's cache"):
        next(steps)


def test_calls_from_several_threads(model, reference):
    """One waits for the other; each has the result that it has alone."""
    from concurrent.futures import ThreadPoolExecutor

    expected = alone(reference, MANY, **GREEDY)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda text: model.generate(text[None], **GREEDY), MANY))
    found = [result[0, text.shape[0] :].tolist() for text, result in zip(MANY, results, strict=True)]
    assert found == expected


class Notes:
    """A streamer that notes what it is given."""

    def __init__(self) -> None:
        self.values: list[list] = []
        self.ended = False

    def put(self, value: torch.Tensor) -> None:
        self.values.append(value.tolist())

    def end(self) -> None:
        self.ended = True


def test_streamer(model, reference):
    ours, theirs = Notes(), Notes()
    model.generate(MANY[0][None], **GREEDY, streamer=ours)
    reference.generate(MANY[0][None], **GREEDY, streamer=theirs)
    assert ours.values == theirs.values
    assert ours.ended


def test_text_streamer(model):
    from transformers import TextIteratorStreamer

    streamer = TextIteratorStreamer(model.tokenizer, skip_prompt=True, skip_special_tokens=True)
    result = model.generate(MANY[0][None], max_new_tokens=6, do_sample=False, streamer=streamer)
    assert "".join(streamer) == model.tokenizer.decode(result[0, 4:], skip_special_tokens=True)


def test_streamer_of_too_many(model):
    with pytest.raises(InputError) as caught:
        model.generate(**padded(MANY), **GREEDY, streamer=Notes())
    assert str(caught.value) == "streamer: 11 prompts are more than the 4 that run at once. Try: generate_iter."


def test_iterators_take_no_streamer(model):
    with pytest.raises(InputError) as caught:
        model.generate_iter(MANY[0][None], **GREEDY, streamer=Notes())
    assert str(caught.value) == (
        "streamer: generate_iter yields the tokens itself. Try: generate, which takes a streamer."
    )


def test_selector(model, reference):
    """The documented lower level."""
    from transformers import GenerationConfig

    from neuronkit.generation.selection import TokenSelector

    batch = padded(MANY[:3])
    config = GenerationConfig(max_new_tokens=8, do_sample=False, eos_token_id=2, pad_token_id=0)
    selector = TokenSelector.create(batch["input_ids"], config, model, 40)
    result = model.generate_tokens(batch["input_ids"], selector, 3, attention_mask=batch["attention_mask"])
    expected = alone(reference, MANY[:3], max_new_tokens=8, do_sample=False)
    assert new_tokens(result, 11, expected) == expected
    selector = TokenSelector.create(batch["input_ids"], GenerationConfig(max_new_tokens=30), model, 100)
    with pytest.raises(
        InputError, match="Prompt 1 has 11 tokens; with 30 new ones it needs 41 slots, and the cache has 40"
    ):
        model.generate_tokens(batch["input_ids"], selector, 3, attention_mask=batch["attention_mask"])
    with pytest.raises(InputError, match="batch_size is 2, and input_ids has 3 prompts"):
        model.generate_tokens(batch["input_ids"], selector, 2)
    with pytest.raises(InputError, match="generate_tokens does not take 'cache'"):
        model.generate_tokens(batch["input_ids"], selector, 3, cache=None)
    with pytest.raises(InputError, match="chooses greedily or samples; the generation config asks for beam_search"):
        TokenSelector.create(batch["input_ids"], GenerationConfig(num_beams=2), model, 40)


def test_forward(model, reference):
    """A prompt, then a token at a time, at the positions that the caller says."""
    ids = torch.stack(texts(9, 9, seed=4))
    wanted = reference(ids).logits
    found = model(input_ids=ids[:, :6], cache_ids=torch.arange(6))
    torch.testing.assert_close(found.logits[:, 0], wanted[:, 5], atol=1e-4, rtol=1e-4)
    for position in range(6, 9):
        found = model.forward(ids[:, position : position + 1], torch.tensor([position]))
        torch.testing.assert_close(found.logits[:, 0], wanted[:, position], atol=1e-4, rtol=1e-4)


def test_forward_of_padded_rows(model, reference):
    """start_ids says where each row's text begins."""
    short, long = texts(4, 7, seed=5)
    batch = padded([short, long])["input_ids"]
    (logits,) = model.forward(batch, torch.arange(7), torch.tensor([3, 0]), return_dict=False)
    for row, prompt in enumerate((short, long)):
        torch.testing.assert_close(logits[row, 0], reference(prompt[None]).logits[0, -1], atol=1e-4, rtol=1e-4)


def test_forward_beyond(model):
    ids = torch.ones(1, 2, dtype=torch.int64)
    with pytest.raises(InputError, match=r"a position for each of 2 tokens, below 40 \(got \(2,\), up to 40\)"):
        model.forward(ids, torch.tensor([39, 40]))
    with pytest.raises(InputError, match="input_ids has 5 rows, and the model was compiled for 4"):
        model.forward(ids.repeat(5, 1), torch.tensor([0, 1]))
    assert refusal(model, ids, torch.tensor([3])) == (
        "cache_ids must be a position for each of 2 tokens, below 40 (got (1,), up to 3)."
    )
    starts = torch.tensor([2])
    assert model.forward(ids, torch.tensor([40, 41]), starts).logits.shape == (1, 1, 96)
    assert (
        refusal(model, ids.repeat(2, 1), None, starts) == "start_ids must be a position for each of 2 rows (got (1,))."
    )


@pytest.mark.parametrize(
    "given", [(torch.tensor([-2, -1]),), (None, torch.tensor([0, 2])), (torch.tensor([3, 4]), torch.tensor([0, 7]))]
)
def test_forward_before_a_text(model, given):
    """Logits after padding alone would mean nothing."""
    row = 0 if len(given) == 1 else 1
    assert refusal(model, torch.ones(2, 2, dtype=torch.int64), *given) == (
        f"The last token of row {row} stands before the start of its text: its logits would mean nothing.\n"
        "Try: cache_ids from 0 on, and start_ids of at most the last of them."
    )


def test_forward_of_what_is_no_tokens(model):
    said = "input_ids must be integers of [batch, sequence], with a row and a token at least (got {})."
    for shape in ((3,), (0, 3), (1, 0)):
        assert refusal(model, torch.ones(shape, dtype=torch.int64)) == said.format(f"torch.int64 of {shape}")
    assert refusal(model, torch.ones(1, 2)) == said.format("torch.float32 of (1, 2)")
    assert refusal(model, "hi") == said.format("str")
    assert refusal(model, torch.tensor([[3, 96]])) == "input_ids has the token 96, and the model knows 0 to 95."
    assert refusal(model, torch.tensor([[-1, 9]])) == "input_ids has the token -1, and the model knows 0 to 95."


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("options", [{}, {"all_logits": True, "backend": "recording", "cache": False}])
def test_forward_of_a_tokenizers_batch(compiled, reference, options, side):
    """The mask says which tokens count, on whichever side the padding is."""
    prompts = texts(4, 7, 1, seed=5)
    batch = padded(prompts, side)
    model = compiled(**options)
    for mask in (batch["attention_mask"], batch["attention_mask"].bool(), batch["attention_mask"].float()):
        logits = model(**{**batch, "attention_mask": mask}).logits
        for row, prompt in enumerate(prompts):
            wanted = reference(prompt[None]).logits[0]
            found = logits[row, batch["attention_mask"][row].bool()] if options else logits[row, 0]
            torch.testing.assert_close(found, wanted if options else wanted[-1], atol=1e-4, rtol=1e-4)
    for row, prompt in enumerate(prompts):  # what was kept is gone on with from each row's own place
        follow = torch.full((len(prompts), 1), 7)
        found = model(follow, cache_ids=torch.tensor([[len(text)] for text in prompts])).logits
        wanted = reference(torch.cat([prompt, follow[0]])[None]).logits[0, -1]
        torch.testing.assert_close(found[row, -1], wanted, atol=1e-4, rtol=1e-4)


def test_forward_of_more_texts_than_rows(model):
    """They take turns."""
    batch = padded(texts(4, 7, 1, 5, 6, seed=5))
    logits = model(**batch).logits
    for row in range(5):
        one = model(**{name: values[row : row + 1] for name, values in batch.items()}).logits
        torch.testing.assert_close(logits[row], one[0], atol=1e-5, rtol=1e-5)


def test_forward_of_arguments_that_ask_for_nothing(model):
    """Callers of eager models say what they do not want."""
    ids = torch.ones(1, 2, dtype=torch.int64)
    unwanted = {"labels": None, "use_cache": False, "output_hidden_states": False, "position_ids": None}
    assert torch.equal(model(ids, **unwanted, return_dict=None).logits, model(ids).logits)


def test_forward_of_masks_that_fit_nothing(model):
    ids = torch.ones(2, 2, dtype=torch.int64)
    said = (
        "attention_mask must be 1 for tokens and 0 for padding, of the shape of input_ids, (2, 2) (got torch.{} of {})."
    )
    assert refusal(model, ids, attention_mask=torch.ones(2, 3)) == said.format("float32", (2, 3))
    assert refusal(model, ids, attention_mask=torch.full((2, 2), -1.0)) == said.format("float32", (2, 2))
    assert refusal(model, ids, attention_mask=torch.tensor([[1, 1], [0, 0]])) == (
        "Row 1 of attention_mask has padding alone, and no token."
    )
    assert refusal(model, ids, torch.arange(2), attention_mask=torch.ones(2, 2)) == (
        "attention_mask is of new texts, and says where they start.\nTry: without cache_ids and start_ids."
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        (
            "labels",
            "A compiled model computes no loss.\nTry: all_logits=True when compiling, and a loss of its logits.",
        ),
        ("position_ids", "Try: cache_ids, where the tokens stand."),
        ("past_key_values", "The cache is the model's own.\nTry: cache_ids, which go on with it; or generate."),
        ("inputs_embeds", "Try: generate, which takes what transformers takes."),
    ],
)
def test_forward_does_not_take(model, name, hint):
    assert refusal(model, torch.ones(1, 2, dtype=torch.int64), **{name: True}) == (
        f"forward does not take {name!r}: input_ids, cache_ids, start_ids, return_dict, attention_mask.\n{hint}"
    )


def refusal(model, *arguments, **options) -> str:
    """Return the text of the error that a call raises."""
    with pytest.raises(InputError) as caught:
        model(*arguments, **options)
    return str(caught.value)
