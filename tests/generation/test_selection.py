"""The choice of tokens: processors, criteria, sampling and ends are transformers' own."""

from __future__ import annotations

import itertools

import pytest
import torch
from transformers import AutoTokenizer, GenerationConfig, SynthIDTextWatermarkingConfig
from transformers.generation import (
    EosTokenCriteria,
    LogitsProcessor,
    LogitsProcessorList,
    MaxLengthCriteria,
    StoppingCriteria,
    StoppingCriteriaList,
)

from neuronkit.errors import InputError
from tests.generation.prompts import alone, new_tokens, padded, texts
from tests.versions import at_least

PROMPTS = texts(5, 9, 2, 7, seed=1)
MANY = texts(5, 9, 2, 7, 5, 3, seed=1)
"""More than there are rows."""


class Favour(LogitsProcessor):
    """Favours a token that depends on how long the text is."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores = scores.clone()
        scores[:, 10 + input_ids.shape[1] % 7] += 30
        return scores


class Watch(LogitsProcessor):
    """Notes the texts that it sees."""

    def __init__(self, seen: list[torch.Tensor]) -> None:
        self.seen = seen

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.seen.append(input_ids.clone())
        return scores


class After(StoppingCriteria):
    """Stops when a text holds so many odd tokens."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: object) -> torch.Tensor:
        return (input_ids % 2).sum(dim=1) >= 8


class ByRow(LogitsProcessor):
    """Favours tokens that depend on the row, and in the first row tokens that end the text."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores = scores.clone()
        for row in range(len(scores)):
            scores[row, 20 + 5 * row : 23 + 5 * row] += 40
        return scores


class Third(StoppingCriteria):
    """Stops at the third step, which it counts itself."""

    def __init__(self) -> None:
        self.steps = 0

    def __call__(self, input_ids: torch.Tensor, scores: object, **kwargs: object) -> torch.Tensor:
        self.steps += 1
        return torch.full((len(input_ids),), self.steps >= 3)


class Seen(StoppingCriteria):
    """Notes what it is given as scores."""

    def __init__(self) -> None:
        self.scores: list[tuple[torch.Tensor, ...] | None] = []

    def __call__(
        self, input_ids: torch.Tensor, scores: tuple[torch.Tensor, ...] | None, **kwargs: object
    ) -> torch.Tensor:
        self.scores.append(scores)
        return torch.zeros(len(input_ids), dtype=torch.bool)


class Doubles(LogitsProcessor):
    """Returns another dtype than it is given."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores.double()


EVEN = torch.stack(texts(6, 6, 6, 6, seed=2))


@pytest.mark.parametrize("do_sample", [False, True])
@pytest.mark.parametrize("made", [ByRow, Third, "both"])
def test_rows_go_through_processors_together(model, reference, made, do_sample):
    """Ended ones too, so that processors and criteria may tell rows apart and count steps."""

    def given() -> dict:
        processors = [ByRow()] if made in (ByRow, "both") else []
        criteria = [Third()] if made in (Third, "both") else []
        return {
            "max_new_tokens": 9,
            "do_sample": do_sample,
            "eos_token_id": 20,
            "logits_processor": LogitsProcessorList(processors),
            "stopping_criteria": StoppingCriteriaList(criteria),
        }

    for batch in ({"input_ids": EVEN, "attention_mask": torch.ones_like(EVEN)}, padded(PROMPTS)):
        torch.manual_seed(0)
        expected = reference.generate(**batch, **given())
        torch.manual_seed(0)
        assert model.generate(**batch, **given()).tolist() == expected.tolist()


@pytest.mark.parametrize("options", [{"do_sample": False}, {"do_sample": True}, {"num_beams": 2}], ids=str)
@pytest.mark.parametrize("length", [4, 9, 30])
def test_a_criterion_takes_the_place_of_the_length(model, reference, options, length):
    """That of the call or the checkpoint, as in transformers; a token is always made."""
    ends = {"eos_token_id": None, "pad_token_id": 0}
    given = {**options, **ends}
    if "num_beams" in options:  # transformers makes room for its own length only
        given["max_length"] = max(length, 7)
    criteria = StoppingCriteriaList([MaxLengthCriteria(length)])
    torch.manual_seed(0)
    expected = reference.generate(EVEN, attention_mask=torch.ones_like(EVEN), stopping_criteria=criteria, **given)
    assert expected.shape == (4, max(length, 7))
    for other in ({}, {"max_new_tokens": 3}):
        torch.manual_seed(0)
        found = model.generate(EVEN, stopping_criteria=criteria, **{**options, **ends, **other})
        assert found.tolist() == expected.tolist()


def test_a_criterion_whose_length_does_not_fit(model):
    with pytest.raises(InputError) as caught:
        model.generate(EVEN, stopping_criteria=[MaxLengthCriteria(41)])
    assert str(caught.value) == (
        "Prompt 0 has 6 tokens; with 35 new ones it needs 41 slots, and the cache has 40.\n"
        "Try: MaxLengthCriteria(40), a shorter prompt, or compile with a larger sequence_length."
    )


@pytest.mark.parametrize("options", [{"do_sample": False}, {"num_beams": 2}], ids=str)
def test_a_criterion_takes_the_place_of_the_ends(model, reference, options):
    given = {"max_new_tokens": 12, "pad_token_id": 0, **options}
    mask = torch.ones_like(EVEN[:1])
    free = reference.generate(EVEN[:1], attention_mask=mask, eos_token_id=None, **given)[0, 6:].tolist()
    given |= {"eos_token_id": free[0], "stopping_criteria": StoppingCriteriaList([EosTokenCriteria(free[-1])])}
    expected = reference.generate(EVEN[:1], attention_mask=mask, **given)
    assert expected.shape[1] > 7
    assert model.generate(EVEN[:1], **given).tolist() == expected.tolist()


@pytest.mark.parametrize("options", [{"do_sample": False}, {"do_sample": True}, {"num_beams": 2}], ids=str)
def test_no_length(model, options):
    """None is the length of no call: as many tokens as where nothing is said, or as the cache holds."""
    for prompts in (EVEN[:1], torch.stack(texts(30))):
        expected = model.generate(prompts, seed=1, **options)
        assert (
            model.generate(prompts, seed=1, max_length=None, max_new_tokens=None, **options).tolist()
            == expected.tolist()
        )


def test_what_criteria_see(model, reference):
    """The scores of every step where they are kept, as in transformers, else None."""
    given = {"max_new_tokens": 3, "do_sample": False, "output_scores": True}
    even = {"input_ids": EVEN, "attention_mask": torch.ones_like(EVEN)}
    for batch, kept in itertools.product((even, padded(PROMPTS)), (True, False)):
        ours, theirs = Seen(), Seen()
        for generates, criterion in ((model, ours), (reference, theirs)):
            generates.generate(
                **batch,
                return_dict_in_generate=kept,
                stopping_criteria=StoppingCriteriaList([criterion]),
                **given,
            )
        torch.testing.assert_close(ours.scores, theirs.scores, atol=1e-4, rtol=1e-4)
    apart = Seen()
    model.generate(
        **padded(MANY), **given, return_dict_in_generate=True, stopping_criteria=StoppingCriteriaList([apart])
    )
    assert [[step.shape for step in steps] for steps in apart.scores[-1:]] == [[(1, 96)] * 3]


def test_processors_of_another_dtype(model, reference):
    given = {"max_new_tokens": 6, "do_sample": False, "logits_processor": LogitsProcessorList([Doubles()])}
    expected = alone(reference, PROMPTS, **given)
    assert new_tokens(model.generate(**padded(PROMPTS), **given), 9, expected) == expected


@pytest.mark.parametrize("lengths", [(6, 6), (3, 6)], ids=str)
def test_numbers_of_prompts_with_several_answers(model, reference, lengths):
    """A function of the prompt's number sees that of the prompt, not of the answer."""
    batch = padded(texts(*lengths, seed=2))
    given = {"max_new_tokens": 5, "do_sample": True, "num_return_sequences": 2}

    def allowed(number, _):
        return list(range(10 + 20 * number, 16 + 20 * number))

    def allowed_by_answer(number, ids):
        return allowed(number // 2, ids)

    theirs = allowed if at_least("transformers", "5.24") else allowed_by_answer  # earlier ones gave the answer's number
    torch.manual_seed(0)
    expected = reference.generate(**batch, **given, prefix_allowed_tokens_fn=theirs).tolist()
    torch.manual_seed(0)
    assert model.generate(**batch, **given, prefix_allowed_tokens_fn=allowed).tolist() == expected
    torch.manual_seed(0)
    found = list(model.generate_iter(**batch, **given, prefix_allowed_tokens_fn=allowed))
    assert [[new.token_id for new in found if new.index == row] for row in range(4)] == [row[6:] for row in expected]


def test_watermarks(model, reference):
    """SynthID remembers rows: it is served where they stay together, and refused elsewhere."""
    watermark = SynthIDTextWatermarkingConfig(keys=[654, 400, 836, 123], ngram_len=3, context_history_size=8)
    given = {"max_new_tokens": 10, "watermarking_config": watermark, "eos_token_id": list(range(3, 20))}
    for do_sample in (False, True):
        torch.manual_seed(0)
        expected = reference.generate(EVEN, attention_mask=torch.ones_like(EVEN), do_sample=do_sample, **given)
        torch.manual_seed(0)
        assert model.generate(EVEN, do_sample=do_sample, **given).tolist() == expected.tolist()
    for batch in (padded(PROMPTS), {"input_ids": EVEN.repeat(2, 1)}):
        with pytest.raises(InputError) as caught:
            model.generate(**batch, do_sample=False, **given)
        assert str(caught.value) == (
            "watermarking_config: SynthID remembers every row, and prompts of several lengths, or more of them than the "
            "model's rows, do not go through it together.\nTry: one prompt a call."
        )


@pytest.mark.parametrize(
    "options",
    [
        {"repetition_penalty": 1.7},
        {"no_repeat_ngram_size": 1},
        {"min_new_tokens": 9, "eos_token_id": list(range(3, 60))},
        {"min_length": 12, "eos_token_id": list(range(3, 60))},
        {"eos_token_id": [55, 68, 80, 12, 30]},
        {"bad_words_ids": [[80], [55, 68]]},
        {"max_length": 16},
        {"max_new_tokens": 3.0},
        {"num_return_sequences": 0},
        {"eos_token_id": torch.tensor(80)},
        {"eos_token_id": torch.tensor([80, 42])},
        {"eos_token_id": []},
        {"forced_eos_token_id": 2, "suppress_tokens": [80, 42]},
    ],
    ids=lambda options: next(iter(options)),
)
def test_greedy(model, reference, options):
    """Each prompt's result is what it gives alone."""
    given = {"max_new_tokens": 12, "do_sample": False, **options}
    if "max_length" in options:
        del given["max_new_tokens"]
    expected = alone(reference, PROMPTS, **given)
    assert new_tokens(model.generate(**padded(PROMPTS), **given), 9, expected) == expected


@pytest.mark.parametrize(
    "options",
    [
        {"logits_processor": LogitsProcessorList([Favour()])},
        {"stopping_criteria": StoppingCriteriaList([After()])},
        {"prefix_allowed_tokens_fn": lambda row, ids: list(range(20, 30 + len(ids)))},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_functions_of_the_caller_see(model, reference, options):
    """What transformers shows them, padding included, in a batch that fits the rows; elsewhere each text alone."""
    given = {"max_new_tokens": 12, "do_sample": False, **options}
    outcomes = []
    for generates in (model, reference):
        seen: list[torch.Tensor] = []
        processors = [*given.get("logits_processor", []), Watch(seen)]
        found = generates.generate(**padded(PROMPTS), **given | {"logits_processor": LogitsProcessorList(processors)})
        outcomes.append((found.tolist(), [ids.tolist() for ids in seen]))
    assert outcomes[0] == outcomes[1]
    expected = alone(reference, MANY, **given)
    assert new_tokens(model.generate(**padded(MANY), **given), 9, expected) == expected


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 0},
        {"top_k": 5},
        {"top_k": 500},
        {"top_k": 0, "top_p": 0.7},
        {"temperature": 0.6, "min_p": 0.05},
        {"typical_p": 0.6},
        {"top_k": 20, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
        {"eos_token_id": list(range(3, 30))},
        {"num_return_sequences": 2, "prompts": 2},
    ],
    ids=str,
)
def test_sampling(model, reference, options):
    """The same batch and the same seed give the same tokens, whatever ends early."""
    options = dict(options)
    batch = padded(PROMPTS[: options.pop("prompts", 4)])
    given = {"max_new_tokens": 12, "do_sample": True, **options}
    torch.manual_seed(11)
    expected = reference.generate(**batch, **given)
    torch.manual_seed(11)
    assert model.generate(**batch, **given).tolist() == expected.tolist()


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_no_repetition(model, reference, side):
    """The penalty leaves padding out where transformers does."""
    batch = padded(PROMPTS, side)
    given = {"max_new_tokens": 3, "do_sample": True, "repetition_penalty": 3.0, "eos_token_id": None}
    kept = {"return_dict_in_generate": True, "output_scores": True, "seed": 0}
    found = model.generate(**batch, **given, **kept)
    del kept["seed"]
    torch.manual_seed(0)
    expected = reference.generate(**batch, **given, **kept)
    rows = range(4) if side == "left" else [1]
    for row in rows:
        torch.testing.assert_close(found.scores[0][row], expected.scores[0][row], atol=1e-4, rtol=1e-4)
    batch = padded(texts(30, 2, seed=5), side)
    ended = model.generate(**batch, do_sample=True, repetition_penalty=3.0, eos_token_id=None)
    assert ended.shape == (2, 50)


@pytest.mark.parametrize("lengths", [(2, 30), (30, 2)], ids=str)
def test_sampling_to_the_end_of_the_cache(model, reference, lengths):
    """Every text of a padded batch is measured without its padding, whichever comes first."""
    batch = padded(texts(*lengths, seed=5))
    torch.manual_seed(0)
    expected = reference.generate(**batch, do_sample=True, max_new_tokens=10)
    torch.manual_seed(0)
    assert model.generate(**batch, do_sample=True, max_new_tokens=10).tolist() == expected.tolist()
    with pytest.raises(InputError) as caught:
        model.generate(**batch, do_sample=True, max_new_tokens=11)
    assert str(caught.value) == (
        f"Prompt {lengths.index(30)} has 30 tokens; with 11 new ones it needs 41 slots, and the cache has 40.\n"
        "Try: max_new_tokens=10, a shorter prompt, or compile with a larger sequence_length."
    )


@pytest.mark.parametrize("do_sample", [False, True])
def test_a_full_cache_ends_only_its_own_text(model, do_sample):
    """Where no length was asked for."""
    batch = padded(texts(30, 2, seed=5))
    found = model.generate(**batch, do_sample=do_sample, top_k=1, eos_token_id=None, pad_token_id=95)
    ends = [row.index(95) if 95 in row else len(row) for row in found[:, 30:].tolist()]
    assert ends == [10, 20]


def test_stop_strings(model, reference):
    """The model's own tokenizer serves where none is given."""
    tokenizer = model.tokenizer
    free = alone(reference, PROMPTS, max_new_tokens=12, do_sample=False)
    stop = [tokenizer.decode(tokens[4:6]) for tokens in free[:2]]
    expected = alone(reference, PROMPTS, max_new_tokens=12, do_sample=False, stop_strings=stop, tokenizer=tokenizer)
    assert len(expected[0]) < 12
    result = model.generate(**padded(PROMPTS), max_new_tokens=12, do_sample=False, stop_strings=stop)
    assert new_tokens(result, 9, expected) == expected


@pytest.mark.parametrize("options", [{"do_sample": False}, {"do_sample": True}, {"num_beams": 2}], ids=str)
def test_token_healing(model, reference, options):
    """The last tokens of the prompts are chosen anew, among those that begin alike: here the special tokens and their bracket."""
    tokenizer = AutoTokenizer.from_pretrained(model.model_save_dir, padding_side="left")
    given = {"max_new_tokens": 4, "token_healing": True, "tokenizer": tokenizer, **options}
    changed = 0
    for unhealed in ("abc<", "k<", ["abc<", "defg<"], ["a longer text", "another<"]):
        batch = tokenizer(unhealed, return_tensors="pt", padding=True)
        torch.manual_seed(0)
        expected = reference.generate(**batch, **given)
        torch.manual_seed(0)
        assert model.generate(**batch, **given).tolist() == expected.tolist()
        width = batch["input_ids"].shape[1]
        changed += int((expected[:, :width] != batch["input_ids"]).sum())
    assert changed or not at_least("transformers", "5.18")  # earlier ones find nothing that begins alike


def test_token_healing_of_another_width(model):
    """Healing strips spaces: then a mask does not tell what is padding."""
    batch = model.tokenizer(["ab  ", "abc<  "], return_tensors="pt", padding=True)
    with pytest.raises(InputError) as caught:
        model.generate(**batch, max_new_tokens=3, token_healing=True)
    assert str(caught.value) == (
        "token_healing: the tokenizer makes (2, 4) tokens of the prompts, and the attention mask is of (2, 6).\n"
        "Try: one prompt a call."
    )


@pytest.mark.parametrize("pad", [7, -1, 500])
def test_tokens_after_the_end_are_padding(model, reference, pad):
    """Whether the model knows it or not: some checkpoints name -1."""
    free = alone(reference, PROMPTS, max_new_tokens=12, do_sample=False)
    eos = free[0][3]
    result = model.generate(**padded(PROMPTS), max_new_tokens=12, do_sample=False, eos_token_id=eos, pad_token_id=pad)
    end = free[0].index(eos)
    assert result[0, 9 : 10 + end].tolist() == free[0][: end + 1]
    assert set(result[0, 10 + end :].tolist()) <= {pad}


@pytest.mark.parametrize("do_sample", [False, True])
def test_padding_that_the_model_does_not_know(model, do_sample):
    """In a batch whose rows are sampled together, and in a queue whose last rows are idle."""
    given = {"max_new_tokens": 15, "do_sample": do_sample, "eos_token_id": [80, 42, 77, 13], "seed": 3}
    for prompts in (PROMPTS, texts(4, 11, 1, 20, 7, 3, 9, seed=3)):
        expected = model.generate(**padded(prompts), **given, pad_token_id=0)
        found = model.generate(**padded(prompts), **given, pad_token_id=-1)
        assert (found == -1).any()
        assert torch.equal(found.where(found != -1, 0), expected)


def test_scores_and_logits(model, reference):
    """As transformers returns them, for a batch without padding."""
    batch = padded(texts(6, 6, 6, seed=2))
    given = {
        "max_new_tokens": 7,
        "do_sample": False,
        "repetition_penalty": 1.5,
        "return_dict_in_generate": True,
        "output_scores": True,
        "output_logits": True,
    }
    ours, theirs = model.generate(**batch, **given), reference.generate(**batch, **given)
    assert torch.equal(ours.sequences, theirs.sequences)
    assert type(ours) is type(theirs)
    for name in ("scores", "logits"):
        assert len(ours[name]) == 7
        torch.testing.assert_close(torch.stack(ours[name]), torch.stack(theirs[name]), atol=1e-4, rtol=1e-4)
    given["eos_token_id"] = list(range(3, 60))
    ours, theirs = model.generate(**batch, **given), reference.generate(**batch, **given)
    assert (ours.sequences == 0).any()
    for name in ("sequences", "scores", "logits"):
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-4, rtol=1e-4)
    plain = model.generate(**batch, max_new_tokens=3, return_dict_in_generate=True)
    assert (plain.scores, plain.logits) == (None, None)


@pytest.mark.parametrize("options", [{"do_sample": False}, {"num_beams": 2}], ids=str)
def test_transition_scores(model, reference, options):
    given = {"max_new_tokens": 5, "return_dict_in_generate": True, "output_scores": True, **options}
    mask, found = torch.ones_like(EVEN[:2]), []
    for generates in (model, reference):
        kept = generates.generate(EVEN[:2], attention_mask=mask, **given)
        beams = kept.get("beam_indices")
        found.append(generates.compute_transition_scores(kept.sequences, kept.scores, beams, normalize_logits=True))
    assert found[0].shape == (2, 5)
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-4)


def test_generation_config(model, reference):
    """A config object serves as keywords do, and keywords win."""
    config = GenerationConfig(max_new_tokens=9, do_sample=False, eos_token_id=2, pad_token_id=0)
    prompt = PROMPTS[0][None]
    assert torch.equal(
        model.generate(prompt, generation_config=config),
        reference.generate(prompt, generation_config=config),
    )
    assert torch.equal(model.generate(prompt, config), reference.generate(prompt, config))
    assert model.generate(prompt, generation_config=config, max_new_tokens=4).shape == (1, 9)
    assert config.max_new_tokens == 9
