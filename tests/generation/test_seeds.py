"""A call's own random numbers: those of torch's seed, and no matter to anybody else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from neuronkit.errors import InputError
from tests.generation.prompts import padded, texts

PROMPTS = texts(5, 9, 2, 7, seed=1)
EVEN = torch.stack(texts(6, 6, 6, 6, seed=2))


def test_seed(model):
    """A call's own seed leaves the program's random numbers alone."""
    batch = padded(PROMPTS)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = model.generate(**batch, do_sample=True, max_new_tokens=8, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    list(model.generate_iter(**batch, do_sample=True, max_new_tokens=8, seed=6))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(5)
    assert torch.equal(model.generate(**batch, do_sample=True, max_new_tokens=8), first)
    assert not torch.equal(model.generate(**batch, do_sample=True, max_new_tokens=8, seed=7), first)


def test_seeds_of_several_threads(model):
    """Each call has the tokens that it has alone, whoever waits for whom."""
    batch = padded(PROMPTS)
    given = {"do_sample": True, "max_new_tokens": 8}
    seeds = range(6)
    expected = [model.generate(**batch, **given, seed=seed) for seed in seeds]
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda seed: model.generate(**batch, **given, seed=seed), seeds))
    assert torch.equal(torch.stack(found), torch.stack(expected))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("seed", [0, -1, -(2**63), 2**64 - 1])
def test_any_seed_of_torch(model, seed):
    torch.manual_seed(seed)
    expected = model.generate(EVEN, do_sample=True, max_new_tokens=4)
    assert torch.equal(model.generate(EVEN, do_sample=True, max_new_tokens=4, seed=seed), expected)


@pytest.mark.parametrize("seed", [2**64, -(2**63) - 1, 10**30, 1.5, "x"])
def test_seeds_that_are_none(model, seed):
    for generate in (model.generate, model.generate_iter):
        with pytest.raises(InputError) as caught:
            generate(EVEN, do_sample=True, max_new_tokens=4, seed=seed)
        assert str(caught.value) == f"seed must be a whole number from -2**63 to 2**64 - 1 (got {seed!r})."


def test_seed_of_token_healing(model, reference):
    """The tokens that are chosen anew are drawn with it too, where the checkpoint samples."""
    batch = model.tokenizer("abc<", return_tensors="pt")
    given = {"max_new_tokens": 4, "token_healing": True, "tokenizer": model.tokenizer}
    with pytest.MonkeyPatch.context() as patch:
        for generates in (model, reference):
            patch.setattr(generates.generation_config, "do_sample", True)
        for seed in range(4):
            torch.manual_seed(seed)
            expected = reference.generate(**batch, **given)
            before = torch.get_rng_state()
            assert model.generate(**batch, **given, seed=seed).tolist() == expected.tolist()
            iterated = model.generate_iter(**batch, **given, seed=seed)
            assert [new.token_id for new in iterated] == expected[0, batch["input_ids"].shape[1] :].tolist()
            assert torch.equal(torch.get_rng_state(), before)
