"""A hundred random prompts, greedily, in any batch and any schedule: the tokens of each prompt alone."""

from __future__ import annotations

import pytest
import torch

from neuronkit import NeuronModelForCausalLM
from tests.generation.prompts import padded, texts

NEW_TOKENS, TIE = 20, 1e-5


def differences(model, eager, prompts, group: int) -> tuple[int, int]:
    """Return how many texts differ from eager's, and how many of these only where eager's two best logits are a tie."""
    options = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    different = ties = 0
    for start in range(0, len(prompts), group):
        some = prompts[start : start + group]
        batch = padded(some)
        found = model.generate(**batch, **options)[:, batch["input_ids"].shape[1] :]
        for prompt, tokens in zip(some, found, strict=True):
            alone = eager.generate(prompt[None], return_dict_in_generate=True, output_logits=True, **options)
            wanted = alone.sequences[0, len(prompt) :]
            if not torch.equal(tokens, wanted):
                different += 1
                step = int((tokens != wanted).nonzero()[0])
                best = alone.logits[step][0].topk(2).values
                ties += int(best[0] - best[1] < TIE)
    return different, ties


@pytest.mark.parametrize("group", [1, 4, 100], ids=["alone", "in fours", "in a queue"])
def test_tiny(model, reference, group):
    """The longest prompts leave room for the new tokens and no more."""
    lengths = torch.randint(1, 21, (100,), generator=torch.Generator().manual_seed(5)).tolist()
    assert differences(model, reference, texts(*lengths, seed=6), group) == (0, 0)


@pytest.mark.heavy
def test_full_size(tmp_path):
    """124 million random weights in native code."""
    from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config()).save_pretrained(tmp_path / "gpt2")
    eager = AutoModelForCausalLM.from_pretrained(tmp_path / "gpt2").eval()
    model = NeuronModelForCausalLM.from_pretrained(tmp_path / "gpt2", export=True, batch_size=4, sequence_length=256)
    lengths = torch.randint(1, 100, (100,), generator=torch.Generator().manual_seed(7)).tolist()
    prompts = texts(*lengths, seed=8, vocabulary=50000)
    for group in (1, 4, 100):
        different, ties = differences(model, eager, prompts, group)
        print(f"groups of {group}: {different} of 100 texts differ, {ties} of them at a tie")
        assert different == ties
