"""Searches run in transformers' own code over our cache: what they are given, and what they give back."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.generation import StoppingCriteria, StoppingCriteriaList

from neuronkit.errors import InputError
from neuronkit.generation.bridge import CACHE
from tests.generation.checkpoints import byte_tokenizer, tiny_decoder
from tests.generation.prompts import texts

PROMPT = texts(6, seed=2)[0][None]
MASK = torch.ones_like(PROMPT)


@pytest.fixture
def checker(compiled):
    """GPT-2 that returns the logits of every position."""
    return compiled("gpt2", all_logits=True, backend="recording", cache=False)


@pytest.mark.parametrize("search", [{"num_beams": 2}, {"num_beams": 3}, {"prompt_lookup_num_tokens": 3}], ids=str)
@pytest.mark.parametrize("name", ["eos_token_id", "bad_words_ids", "top_k"])
def test_none_turns_off_what_the_checkpoint_asks_for(checker, reference, monkeypatch, search, name):
    """As it does where one token is chosen after the other."""
    given = {"max_new_tokens": 12, "do_sample": name == "top_k", "pad_token_id": 0, "eos_token_id": None, **search}
    torch.manual_seed(0)
    free = reference.generate(PROMPT, attention_mask=MASK, **given, **({} if name in given else {name: None}))
    first, *rest = free[0, 6:].tolist()
    asked = {"eos_token_id": rest[2], "bad_words_ids": [[first], rest[:1]], "top_k": 1}[name]
    monkeypatch.setattr(reference.generation_config, name, asked)
    monkeypatch.setattr(checker.generation_config, name, asked)
    found = []
    for value in (None, asked):
        for model in (reference, checker):
            torch.manual_seed(0)
            found.append(model.generate(PROMPT, attention_mask=MASK, **{**given, name: value}).tolist())
    assert found[0] == found[1] == free.tolist()
    assert found[2] == found[3] != found[0]


def test_sampling_with_a_draft_model(checker, reference, tmp_path):
    """The drafts are those that it makes for transformers' own model, after a refused one too."""
    draft = AutoModelForCausalLM.from_pretrained(tiny_decoder(tmp_path / "draft", "gpt2", seed=5, n_layer=1)).eval()
    given = {"max_new_tokens": 12, "do_sample": True, "top_k": 10, "attention_mask": MASK}
    for seed in range(8):
        found = []
        for model in (reference, checker):
            torch.manual_seed(seed)
            found.append(model.generate(PROMPT, assistant_model=copy.deepcopy(draft), **given).tolist())
        assert found[0] == found[1]


@pytest.mark.parametrize("do_sample", [False, True])
def test_a_draft_model_of_another_vocabulary(checker, reference, tmp_path, do_sample):
    """Its drafts go through both tokenizers; without its own, the model takes that of the artifact."""
    draft = AutoModelForCausalLM.from_pretrained(tiny_decoder(tmp_path / "draft", "gpt2", vocab_size=97)).eval()
    other, own = byte_tokenizer(tmp_path / "draft"), checker.tokenizer
    other.add_tokens(["hello"])
    given = {"max_new_tokens": 6, "attention_mask": MASK, "do_sample": do_sample, "assistant_model": draft}
    found = []
    for model in (
        reference,
        reference,
        checker,
    ):  # transformers changes the draft model in the first call with a sample
        torch.manual_seed(0)
        found.append(model.generate(PROMPT, tokenizer=own, assistant_tokenizer=other, **given).tolist())
    assert found[1] == found[2]
    if not do_sample:
        assert checker.generate(PROMPT, assistant_tokenizer=other, **given).tolist() == found[0] == found[1]
        plain = checker.generate(PROMPT, max_new_tokens=6, do_sample=False)
        assert plain.tolist() == found[0]


class Meanwhile(StoppingCriteria):
    """Runs something in another thread between the first step of a search and the second, and stops nothing."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.result: Any = None

    def __call__(self, input_ids: torch.Tensor, scores: object, **kwargs: object) -> torch.Tensor:
        if self.result is None:
            with ThreadPoolExecutor(1) as pool:
                self.result = pool.submit(self.work).result()
        return torch.zeros(len(input_ids), dtype=torch.bool)


@pytest.mark.parametrize("search", [{"num_beams": 2}, {"prompt_lookup_num_tokens": 2}], ids=str)
def test_seed_of_a_search(checker, model, reference, search):
    """It has its own random numbers, and another thread and the program go on with theirs."""
    given = {"max_new_tokens": 8, "do_sample": True, "eos_token_id": None, "pad_token_id": 0}
    torch.manual_seed(5)
    expected = reference.generate(PROMPT, attention_mask=MASK, **given, **search).tolist()
    torch.manual_seed(3)
    unseeded = reference.generate(PROMPT, attention_mask=MASK, **given).tolist()
    after = torch.get_rng_state()
    for work, result in (
        (lambda: model.generate(PROMPT, **given).tolist(), unseeded),
        (lambda: [*PROMPT[0].tolist(), *(new.token_id for new in model.generate_iter(PROMPT, **given))], unseeded[0]),
    ):
        meanwhile = Meanwhile(work)
        torch.manual_seed(3)
        found = checker.generate(PROMPT, stopping_criteria=StoppingCriteriaList([meanwhile]), seed=5, **given, **search)
        assert found.tolist() == expected
        assert meanwhile.result == result
        assert torch.equal(torch.get_rng_state(), after)


def test_seed_of_a_search_that_fails(checker):
    """The program's random numbers are its own again."""

    def fail() -> None:
        raise KeyError("mine")

    given = {"max_new_tokens": 8, "do_sample": True, "num_beams": 2, "seed": 5}
    before = torch.get_rng_state()
    with pytest.raises(KeyError, match="mine"):
        checker.generate(PROMPT, stopping_criteria=StoppingCriteriaList([Meanwhile(fail)]), **given)
    assert torch.equal(torch.get_rng_state(), before)


def test_seed_of_several_groups(checker):
    """Prompts that do not fit together draw one after the other."""
    prompts = torch.cat([PROMPT, PROMPT, PROMPT])
    given = {"max_new_tokens": 8, "do_sample": True, "num_beams": 4, "eos_token_id": None}
    torch.manual_seed(5)
    expected = checker.generate(prompts, **given)
    assert len(set(map(tuple, expected.tolist()))) > 1
    before = torch.get_rng_state()
    assert torch.equal(checker.generate(prompts, seed=5, **given), expected)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("eos", [2, [2, *range(40, 70)], None], ids=["one", "many", "none"])
@pytest.mark.parametrize("beams", [2, 4])
def test_padding_after_several_groups(model, reference, beams, eos):
    """What follows an end is the same within a group and beside a longer one: transformers' beams take the pad token 0 for none."""
    prompts = torch.stack(texts(5, 5, 5, 5, seed=3))
    given = {"max_new_tokens": 12, "do_sample": False, "num_beams": beams, "eos_token_id": eos, "pad_token_id": 0}
    expected = reference.generate(prompts, attention_mask=torch.ones_like(prompts), **given)
    assert model.generate(prompts, **given).tolist() == expected.tolist()


def test_searches_in_several_threads(checker):
    """One waits for the other, and has lost nothing to the one that waited for it."""
    given = {"max_new_tokens": 2, "do_sample": False, "num_beams": 2}
    expected = checker.generate(PROMPT, **given).tolist()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: checker.generate(PROMPT, **given).tolist(), range(40))) == [expected] * 40


def test_seeds_of_searches_in_several_threads(checker, model):
    """Two models take turns with torch's one generator."""
    given = {"max_new_tokens": 8, "do_sample": True, "num_beams": 2, "eos_token_id": None}
    calls = [(seed % 2, seed) for seed in range(6)]
    generates = (checker.generate, model.generate)
    expected = [generates[which](PROMPT, seed=seed, **given).tolist() for which, seed in calls]
    before = torch.get_rng_state()
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda call: generates[call[0]](PROMPT, seed=call[1], **given).tolist(), calls))
    assert found == expected
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("search", [{"num_beams": 2}, {"prompt_lookup_num_tokens": 2}, {}], ids=str)
def test_no_cache_in_the_result(checker, reference, search):
    """It is the model's own, and of no use to anyone else."""
    given = {"max_new_tokens": 5, "do_sample": False, "return_dict_in_generate": True, "output_scores": True, **search}
    ours, theirs = (model.generate(PROMPT, attention_mask=MASK, **given) for model in (checker, reference))
    assert type(ours) is type(theirs)
    assert set(ours) == set(theirs) - {CACHE}
    assert getattr(ours, CACHE) is None
    for name in ("sequences", "scores"):
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("search", [{"num_beams": 2}, {"prompt_lookup_num_tokens": 2}], ids=str)
@pytest.mark.parametrize(
    "options", [{"prefill_chunk_size": 4}, {"eos_token_id": []}, {"length_penalty": None}], ids=str
)
def test_what_a_search_of_transformers_stumbles_over(checker, reference, search, options):
    """The rows take a prompt as it is; no ends are no ends."""
    given = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    expected = checker.generate(
        PROMPT, **given, **search, **({"eos_token_id": None} if "eos_token_id" in options else {})
    )
    assert checker.generate(PROMPT, **given, **search, **options).tolist() == expected.tolist()
    if "prefill_chunk_size" in options and "num_beams" in search:
        assert (
            reference.generate(PROMPT, attention_mask=MASK, **given, **search, **options).tolist() == expected.tolist()
        )


class Notes:
    """A streamer that notes what it is given."""

    def __init__(self) -> None:
        self.values: list[torch.Tensor] = []
        self.ends = 0

    def put(self, value: torch.Tensor) -> None:
        self.values.append(value)

    def end(self) -> None:
        self.ends += 1


@pytest.mark.parametrize(
    ("prompts", "options", "said"),
    [
        (1, {"num_beams": 2}, "streamer: beams are chosen at the end.\nTry: num_beams=1."),
        (1, {"num_beams": 2, "do_sample": True}, "streamer: beams are chosen at the end.\nTry: num_beams=1."),
        (
            3,
            {"prompt_lookup_num_tokens": 2},
            "streamer: 3 prompts whose tokens are drafted run one after the other.\nTry: one prompt a call.",
        ),
    ],
    ids=str,
)
def test_streams_of_searches(checker, prompts, options, said):
    """Refused before anything is put; drafted tokens of one prompt are streamed."""
    notes = Notes()
    with pytest.raises(InputError) as caught:
        checker.generate(PROMPT.repeat(prompts, 1), max_new_tokens=4, streamer=notes, **options)
    assert (str(caught.value), notes.values, notes.ends) == (said, [], 0)
    if prompts > 1:
        found = checker.generate(PROMPT, max_new_tokens=4, streamer=notes, **options)
        assert (torch.cat(notes.values, dim=1).tolist(), notes.ends) == (found.tolist(), 1)
