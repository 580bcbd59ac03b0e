"""Values of a wrong kind are refused by name, before anything runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from neuronkit.errors import InputError
from neuronkit.generation.selection import TokenSelector
from tests.generation.prompts import texts
from tests.generation.test_limits import first_name, message

PROMPT = texts(5, seed=1)[0][None]
TOKEN = "the id of a token"
TOKENS = f"{TOKEN}, or a list of them"
LIST = "a list of ids of tokens"
LEAVE = "leave it out"


@pytest.mark.parametrize(
    ("options", "takes", "instead"),
    [
        ({"eos_token_id": "</s>"}, TOKENS, "tokenizer.convert_tokens_to_ids('</s>')"),
        ({"eos_token_id": ["a"]}, TOKENS, "tokenizer.convert_tokens_to_ids('a')"),
        ({"pad_token_id": "<pad>"}, TOKEN, "tokenizer.convert_tokens_to_ids('<pad>')"),
        ({"pad_token_id": [0]}, TOKEN, LEAVE),
        ({"eos_token_id": 2.5}, TOKENS, LEAVE),
        ({"forced_eos_token_id": "a"}, TOKENS, "tokenizer.convert_tokens_to_ids('a')"),
        ({"suppress_tokens": 5}, LIST, "suppress_tokens=[5]"),
        ({"suppress_tokens": [[5]]}, LIST, LEAVE),
        ({"begin_suppress_tokens": "ab"}, LIST, "tokenizer.convert_tokens_to_ids('ab')"),
        ({"max_new_tokens": "5"}, "a number of tokens", "max_new_tokens=5"),
        ({"max_new_tokens": float("inf")}, "a number of tokens", LEAVE),
        ({"min_length": "x"}, "a number of tokens", LEAVE),
        ({"top_p": "0.5", "do_sample": True}, "a number", "top_p=0.5"),
        ({"num_return_sequences": "2"}, "a number", "num_return_sequences=2"),
        ({"max_time": [5]}, "a number", LEAVE),
        ({"length_penalty": "x", "num_beams": 2}, "a number", LEAVE),
        ({"stop_strings": [5]}, "a text or a list of texts, and none of them empty", LEAVE),
        ({"stop_strings": ["a", ""]}, "a text or a list of texts, and none of them empty", LEAVE),
        ({"exponential_decay_length_penalty": 5}, "the length from which on it counts, and a factor", LEAVE),
    ],
    ids=first_name,
)
def test_kinds_of_values(model, options, takes, instead):
    name, value = next(iter(options.items()))
    assert message(model, PROMPT, **options) == f"{name} must be {takes} (got {value!r}).\nTry: {instead}."


def test_kinds_of_values_in_a_config(model, monkeypatch):
    """The caller's, the model's own, and that of a selector."""
    config = GenerationConfig(eos_token_id="a")
    said = f"eos_token_id must be {TOKENS} (got 'a').\nTry: tokenizer.convert_tokens_to_ids('a')."
    assert message(model, PROMPT, generation_config=config) == said
    with pytest.raises(InputError) as caught:
        TokenSelector.create(PROMPT, config, model, 40)
    assert str(caught.value) == said
    monkeypatch.setattr(model.generation_config, "eos_token_id", "a")
    assert message(model, PROMPT) == said


@pytest.mark.parametrize("kind", [np.int64, torch.tensor, lambda value: torch.tensor([value])])
def test_numbers_of_other_libraries(model, kind):
    given = {"do_sample": False, "eos_token_id": kind(80), "pad_token_id": kind(7)}
    assert model.generate(PROMPT, max_new_tokens=kind(3), **given).shape == (1, 8)
    assert model.generate(PROMPT, max_new_tokens=3, suppress_tokens=np.array([5]), **given).shape == (1, 8)


DRAFTS = "Try: assistant_model, or prompt_lookup_num_tokens."


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"use_mtp": True}, f"use_mtp: the layers that draft are not compiled with the model.\n{DRAFTS}"),
        (
            {"speculation_type": "dflash"},
            f"speculation_type: the drafts need the model's hidden states, and a compiled one returns logits only.\n{DRAFTS}",
        ),
        (
            {"assistant_ensemble_weight": 0.5, "prompt_lookup_num_tokens": 2},
            "assistant_ensemble_weight: a prompt's own tokens have no probabilities to mix in.\n"
            "Try: assistant_model, or without it.",
        ),
        (
            {"low_memory": True, "num_beams": 2},
            "low_memory: transformers has taken it out of its beam search.\nTry: leave it out.",
        ),
        (
            {"exponential_decay_length_penalty": (2, 1.5), "eos_token_id": None},
            "exponential_decay_length_penalty makes the end of a text likelier, and there is no eos_token_id.\n"
            "Try: eos_token_id=..., or without it.",
        ),
        (
            {"exponential_decay_length_penalty": (2, 1.5), "eos_token_id": 96},
            "eos_token_id has the token 96, and the model knows 0 to 95.\nTry: the ids that the model's own tokenizer gives.",
        ),
        (
            {"sequence_bias": 5},
            "generate: `sequence_bias` has to be a non-empty dictionary, or non-empty list of lists but is 5.",
        ),
        (
            {"prefix_allowed_tokens_fn": [5]},
            "prefix_allowed_tokens_fn must be a function of the prompt's number and its tokens (got list).\n"
            "Try: lambda number, tokens: [...].",
        ),
        (
            {"streamer": True},
            "streamer must have the methods put and end (got bool).\nTry: TextStreamer(tokenizer), or generate_iter.",
        ),
        (
            {"tokenizer": "gpt2", "stop_strings": "a"},
            "tokenizer must be the model's tokenizer (got str).\nTry: leave it out, which takes the artifact's.",
        ),
    ],
    ids=first_name,
)
def test_what_transformers_would_find_late(model, options, said):
    if any(name not in vars(GenerationConfig()) for name in ("use_mtp", "speculation_type") if name in options):
        pytest.skip("this release of transformers does not have it")
    assert message(model, PROMPT, **options) == said


@pytest.mark.parametrize(
    ("value", "instead"), [({"max_new_tokens": 3}, "**settings"), (None, "...")], ids=["dict", "None"]
)
def test_what_is_assigned_to_a_model(model, monkeypatch, tmp_path, value, instead):
    monkeypatch.setattr(model, "generation_config", value)
    said = (
        f"The model's generation_config must be a GenerationConfig (got {type(value).__name__}).\n"
        f"Try: model.generation_config = GenerationConfig({instead})."
    )
    assert message(model, PROMPT) == said
    for work in (lambda: model.generate_iter(PROMPT), lambda: model.save_pretrained(tmp_path / "saved")):
        with pytest.raises(InputError) as caught:
            work()
        assert str(caught.value) == said
