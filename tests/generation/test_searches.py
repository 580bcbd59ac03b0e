"""Searches run in transformers' own code over our cache: what they are given, and what they give back."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.generation.checkpoints import tiny_decoder
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
