"""What does not fit, or is not supported, is said before anything runs."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig
from transformers.generation import LogitsProcessor, LogitsProcessorList

import neuronkit
from neuronkit import NeuronModelForCausalLM
from neuronkit.errors import InputError, OptionError
from tests.generation.checkpoints import tiny_decoder
from tests.generation.prompts import alone, new_tokens, padded, texts


def message(model, *arguments, **options) -> str:
    """Return the text of the error that `generate` raises."""
    with pytest.raises(InputError) as caught:
        model.generate(*arguments, **options)
    return str(caught.value)


def first_name(options: object) -> str | None:
    """Return what a test with these options is called."""
    return next(iter(options)) if isinstance(options, dict) else None


def test_exactly_full(model, reference):
    """The last slot may be used, by a prompt or by a new token."""
    (prompt,) = texts(25)
    expected = alone(reference, [prompt], max_new_tokens=15, do_sample=False)
    assert model.generate(prompt[None], max_new_tokens=15, do_sample=False)[0, 25:].tolist() == expected[0]
    (prompt,) = texts(39)
    expected = alone(reference, [prompt], max_new_tokens=1, do_sample=False)
    assert model.generate(prompt[None], max_new_tokens=1, do_sample=False)[0, 39:].tolist() == expected[0]


def test_prompts_that_fill_a_bucket(compiled, reference):
    model = compiled("gpt2", static=True, buckets=(8, 40))
    prompts = texts(8, 8, 9, 39)
    for prompt in prompts:
        expected = alone(reference, [prompt], max_new_tokens=1, do_sample=False)
        assert model.generate(prompt[None], max_new_tokens=1, do_sample=False)[0, len(prompt) :].tolist() == expected[0]


def test_beyond_the_cache(model):
    assert message(model, texts(25)[0][None], max_new_tokens=16) == (
        "Prompt 0 has 25 tokens; with 16 new ones it needs 41 slots, and the cache has 40.\n"
        "Try: max_new_tokens=15, a shorter prompt, or compile with a larger sequence_length."
    )
    for length in (40, 60):
        assert message(model, texts(length)[0][None], max_new_tokens=1) == (
            f"Prompt 0 has {length} tokens and the cache has 40 slots: there is no room for a new token.\n"
            "Try: a shorter prompt, or compile with a larger sequence_length."
        )


def test_one_prompt_of_many_beyond(model):
    """Nothing runs, not even the prompts before it."""
    ids = torch.stack(texts(30, 30, 30, 30, 30))
    mask = torch.ones_like(ids)
    mask[:4, :20] = 0
    assert "Prompt 4 has 30 tokens; with 12 new ones" in message(model, ids, mask, max_new_tokens=12)


def test_default_length_ends_with_the_cache(model):
    """A length that nobody asked for is no error."""
    (prompt,) = texts(35)
    result = model.generate(prompt[None], do_sample=False, eos_token_id=None)
    assert 35 < result.shape[1] <= 40


def test_max_length_within_the_prompt(model):
    assert "max_length=5 leaves no room for a new one.\nTry: max_new_tokens." in message(
        model, texts(6)[0][None], max_length=5
    )


def test_prompts_that_are_none(model):
    assert message(model, torch.zeros(0, 4, dtype=torch.int64)) == "input_ids has no prompts: its shape is (0, 4)."
    assert message(model, torch.zeros(2, 0, dtype=torch.int64)).startswith("Prompt 0 has no tokens.")
    ids = torch.ones(2, 3, dtype=torch.int64)
    mask = torch.tensor([[1, 1, 1], [0, 0, 0]])
    assert message(model, ids, mask) == "Prompt 1 has no tokens. Try: begin it with the model's bos token."
    assert "attention_mask must have the shape of input_ids, (2, 3) (got (2, 2))" in message(model, ids, mask[:, :2])
    assert "input_ids must be integers of [prompts, tokens]" in message(model, torch.ones(1, 3))
    assert message(model, torch.tensor([[3, 96]])) == "Prompt 0 has the token 96, and the model knows 0 to 95."
    assert message(model, torch.tensor([[3, -1]])) == "Prompt 0 has the token -1, and the model knows 0 to 95."


def test_prompts_that_are_no_ids(model):
    for given in ("hi", model.tokenizer("hi"), [[3, 4], [5]]):
        assert message(model, given) == (
            f"input_ids must be token ids of [prompts, tokens] (got {type(given).__name__}).\n"
            'Try: generate(**tokenizer(texts, padding=True, return_tensors="pt")).'
        )


def test_prompts_and_masks_that_are_no_tensors(model, reference):
    """Lists, as a tokenizer returns them, and arrays."""
    batch = {"input_ids": [[0, 0, 5, 6], [5, 6, 7, 8]], "attention_mask": [[0, 0, 1, 1], [1, 1, 1, 1]]}
    tensors = {name: torch.tensor(rows) for name, rows in batch.items()}
    expected = reference.generate(**tensors, max_new_tokens=4, do_sample=False).tolist()
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    for given in (batch, arrays, {**tensors, "attention_mask": batch["attention_mask"]}):
        assert model.generate(**given, max_new_tokens=4, do_sample=False).tolist() == expected
    one = model.tokenizer("hello")
    assert model.generate(**one, max_new_tokens=4).shape == (1, 9)
    assert message(model, batch["input_ids"], [[0, 0, 1, 1], [1]]) == (
        "attention_mask must be 1 for tokens and 0 for padding, of [prompts, tokens] (got list).\n"
        'Try: generate(**tokenizer(texts, padding=True, return_tensors="pt")).'
    )


def test_no_prompt_at_all(model, reference):
    """Generation begins with the bos token."""
    expected = reference.generate(max_new_tokens=5, do_sample=False)
    assert model.generate(max_new_tokens=5, do_sample=False).tolist() == expected.tolist()


def test_options_that_are_none(model):
    prompt = texts(4)[0][None]
    assert message(model, prompt, max_new_token=4) == (
        "generate does not take 'max_new_token'. Did you mean max_new_tokens?"
    )
    assert message(model, prompt, logit_processor=None) == (
        "generate does not take 'logit_processor'. Did you mean logits_processor?"
    )
    assert message(model, prompt, xyz=4) == (
        "generate does not take 'xyz'. A field of GenerationConfig, or logits_processor, prefix_allowed_tokens_fn, "
        "streamer, tokenizer, assistant_model, assistant_tokenizer."
    )


CACHE = "the cache is the model's own, and begins anew with every call.\nTry: the whole conversation as input_ids."
GUIDANCE = "classifier-free guidance runs the model twice a step, which is not supported."


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("past_key_values", CACHE),
        ("cache", CACHE),
        ("cache_position", CACHE),
        (
            "custom_generate",
            "the loop around a compiled model is neuronkit's own.\nTry: logits_processor, stopping_criteria.",
        ),
        ("inputs_embeds", "the model was compiled for tokens.\nTry: input_ids."),
        ("negative_prompt_ids", GUIDANCE),
        ("negative_prompt_attention_mask", GUIDANCE),
        (
            "position_ids",
            "positions are counted from the first token that is no padding.\nTry: attention_mask.",
        ),
        (
            "token_type_ids",
            "the model was compiled without them.\nTry: tokenizer(..., return_token_type_ids=False).",
        ),
    ],
)
def test_inputs_of_transformers_models(model, name, said):
    """Refused by name; None, as transformers' code hands on, asks for nothing."""
    prompt = texts(4)[0][None]
    given = {"max_new_tokens": 3, "do_sample": False}
    assert message(model, prompt, **given, **{name: prompt}) == f"generate does not take {name!r}: {said}"
    assert model.generate(prompt, **given, **{name: None}).tolist() == model.generate(prompt, **given).tolist()


def test_inputs_and_input_ids(model):
    prompt = texts(4)[0][None]
    given = {"max_new_tokens": 3, "do_sample": False}
    expected = model.generate(prompt, **given).tolist()
    assert model.generate(inputs=prompt, **given).tolist() == expected
    assert model.generate(prompt, inputs=None, **given).tolist() == expected
    assert message(model, prompt, inputs=prompt) == (
        "generate takes input_ids or inputs, which are the same, and got both."
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"guidance_scale": 2.0},
            "guidance_scale: classifier-free guidance runs the model twice a step, which is not supported.",
        ),
        (
            {"cache_implementation": "quantized"},
            "cache_implementation: the cache was compiled with the model, and is not quantized.\nTry: leave it out.",
        ),
        (
            {"assistant_early_exit": 1},
            "assistant_early_exit: a compiled model runs all of its layers.\n"
            "Try: assistant_model, or prompt_lookup_num_tokens.",
        ),
        ({"num_beams": 0}, "num_beams must be a whole number from 1 on (got 0).\nTry: leave it out."),
        ({"num_beams": 2.0}, "num_beams must be a whole number from 1 on (got 2.0).\nTry: leave it out."),
        (
            {"num_return_sequences": -1},
            "num_return_sequences must be a whole number from 1 on (got -1).\nTry: leave it out.",
        ),
        (
            {"prompt_lookup_num_tokens": 0},
            "prompt_lookup_num_tokens must be a whole number from 1 on (got 0).\nTry: leave it out.",
        ),
        (
            {"generation_config": {"max_new_tokens": 3}},
            "generation_config must be a GenerationConfig (got dict).\nTry: generate(..., **settings).",
        ),
        (
            {"generation_config": "greedy"},
            "generation_config must be a GenerationConfig (got str).\nTry: GenerationConfig(...).",
        ),
        (
            {"logits_processor": lambda ids, scores: scores},
            "logits_processor must be a list (got function).\nTry: logits_processor=[...].",
        ),
        (
            {"stopping_criteria": lambda ids, scores: True},
            "stopping_criteria must be a list (got function).\nTry: stopping_criteria=[...].",
        ),
        (
            {"logits_processor": ["temperature"]},
            "logits_processor must hold functions of the tokens and the scores (got str).",
        ),
        ({"watermarking_config": {"biass": 1.0}}, "watermarking_config has no field 'biass'. Did you mean bias?"),
        (
            {"watermarking_config": 3},
            "watermarking_config must be a WatermarkingConfig (got int).\nTry: WatermarkingConfig(bias=2.5).",
        ),
        (
            {"assistant_tokenizer": object()},
            "assistant_tokenizer is that of assistant_model, which is missing.\nTry: both of them.",
        ),
        (
            {"assistant_model": "gpt2"},
            "assistant_model must be a model that generates (got str).\n"
            "Try: AutoModelForCausalLM.from_pretrained(...).",
        ),
    ],
    ids=first_name,
)
def test_options_that_cannot_be_served(model, options, said):
    assert message(model, texts(4)[0][None], **options) == said


class Wider(LogitsProcessor):
    """Scores for more tokens than there are, the last the best."""

    def __call__(self, input_ids, scores):
        return torch.cat([scores, scores.new_full((scores.shape[0], 5), 1e4)], dim=1)


@pytest.mark.parametrize("do_sample", [False, True])
def test_a_processor_that_changes_the_shape(model, do_sample):
    said = message(model, texts(4)[0][None], logits_processor=LogitsProcessorList([Wider()]), do_sample=do_sample)
    assert said == "logits_processor must return scores of the shape that it is given, (1, 96) (got (1, 101))."


def test_a_graph_is_given_no_token_that_it_has_not(model):
    """Whoever asks for it: compiled code would end the process."""
    (graph,) = model.session.graphs
    one = torch.zeros(1, 1, dtype=torch.int64)
    given = {"input_ids": one, "cache_ids": one, "last": one[0], "cache_range": one[0]}
    assert model.session.forward(graph, given)["logits"].shape == (1, 96)
    for name, wrong, most in (("input_ids", 96, 95), ("input_ids", -1, 95), ("cache_ids", 41, 40)):
        with pytest.raises(InputError, match=f"{name} holds {wrong}, and must hold numbers from 0 to {most}."):
            model.session.forward(graph, {**given, name: one + wrong})


@pytest.mark.parametrize(("architecture", "pad"), [("llama", -1), ("gpt2", 96)])
def test_padding_that_no_token_stands_for(tmp_path, architecture, pad):
    """Some checkpoints name -1; a fixed bucket is filled up all the same."""
    path = tiny_decoder(tmp_path / "checkpoint", architecture)
    for file in (path / "config.json", path / "generation_config.json"):  # some transformers do not save such a one
        file.write_text(json.dumps({**json.loads(file.read_text()), "pad_token_id": pad}))
    given = {"batch_size": 2, "sequence_length": 16, "optlevel": 1, "static": True}
    model = NeuronModelForCausalLM.from_pretrained(path, export=True, **given)
    prompt = texts(5)[0][None]
    wanted = AutoModelForCausalLM.from_pretrained(path).generate(prompt, max_new_tokens=6, do_sample=False)
    assert torch.equal(model.generate(prompt, max_new_tokens=6, do_sample=False), wanted)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bad_words_ids", [[5, 96]]),
        ("sequence_bias", {(5, 96): 1.0}),
        ("sequence_bias", [[[96], 200.0]]),
        ("forced_bos_token_id", 96),
        ("forced_eos_token_id", [2, 96]),
    ],
    ids=str,
)
@pytest.mark.parametrize("beams", [1, 2])
def test_tokens_that_the_model_does_not_know(model, reference, name, value, beams):
    """Refused before anything runs; those that it knows are not, nor is a bias that is larger."""
    prompt = texts(4)[0][None]
    assert message(model, prompt, num_beams=beams, **{name: value}) == (
        f"{name} has the token 96, and the model knows 0 to 95.\nTry: the ids that the model's own tokenizer gives."
    )
    known = {
        "bad_words_ids": [[5, 95]],
        "sequence_bias": [[[95], 200.0]],
        "forced_bos_token_id": 95,
        "forced_eos_token_id": [2, 95],
    }
    given = {"max_new_tokens": 4, "do_sample": False, "num_beams": beams, name: known[name]}
    expected = reference.generate(prompt, attention_mask=torch.ones_like(prompt), **given)
    assert model.generate(prompt, **given).tolist() == expected.tolist()


@pytest.mark.parametrize("options", [{"temperature": 1e-45}, {"suppress_tokens": list(range(96))}], ids=first_name)
@pytest.mark.parametrize("search", [{}, {"num_beams": 2}, {"prompt_lookup_num_tokens": 2}], ids=str)
def test_no_token_to_draw(compiled, search, options):
    """Said of the options; a caller's own processor that fails says so itself."""
    checker = compiled("gpt2", all_logits=True, backend="recording", cache=False)
    prompt = texts(4)[0][None]
    assert message(checker, prompt, do_sample=True, max_new_tokens=3, **search, **options) == (
        "do_sample: no token is left to draw, because the options made all scores of a text infinite, or no numbers.\n"
        f"Try: a temperature nearer to 1 (got {options.get('temperature', 1.0)}), or fewer tokens in suppress_tokens, "
        "bad_words_ids and what else excludes some."
    )

    def fail(ids, scores):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        checker.generate(prompt, do_sample=True, max_new_tokens=3, logits_processor=[fail], **search)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"do_sample": True, "temperature": 0.0}, "generate: `temperature` (=0.0) has to be a strictly positive float"),
        ({"do_sample": True, "top_k": -1}, "generate: `top_k` has to be a strictly positive integer, but is -1"),
        ({"repetition_penalty": 0.0}, "generate: `penalty` has to be a strictly positive float, but is 0.0"),
        ({"num_beams": 2, "repetition_penalty": 0.0}, "generate: `penalty` has to be a strictly positive float"),
        (
            {"num_return_sequences": 2},
            "generate: Greedy methods (do_sample != True) without beam search do not support",
        ),
        ({"max_new_tokens": 0}, "generate: `max_new_tokens` must be greater than 0, but is 0."),
    ],
    ids=str,
)
def test_values_that_transformers_refuses(model, options, said):
    """In its words."""
    found = message(model, texts(4)[0][None], **{"do_sample": False, **options})
    assert found.startswith(said)


def test_draft_models_take_no_stop_strings(compiled, reference):
    checker = compiled("gpt2", all_logits=True, backend="recording", cache=False)
    prompt = texts(4)[0][None]
    assert message(checker, prompt, assistant_model=reference, stop_strings=["a"], max_new_tokens=3) == (
        "stop_strings: transformers gives a draft model no tokenizer, which it would need to find them.\n"
        "Try: prompt_lookup_num_tokens in place of assistant_model, or stop_strings=None."
    )
    given = {"max_new_tokens": 3, "stop_strings": ["a"]}
    looked_up = checker.generate(prompt, prompt_lookup_num_tokens=2, **given)
    assert looked_up.tolist() == checker.generate(prompt, **given).tolist()


def test_a_compiled_model_does_not_draft(compiled, model):
    checker = compiled("gpt2", all_logits=True, backend="recording", cache=False)
    assert message(checker, texts(4)[0][None], assistant_model=model, max_new_tokens=3) == (
        "assistant_model: drafts need a cache that transformers makes, and a compiled model has one of its own.\n"
        "Try: the draft model uncompiled, AutoModelForCausalLM.from_pretrained(...)."
    )


@pytest.mark.parametrize("name", ["output_attentions", "output_hidden_states"])
def test_outputs_that_the_graph_does_not_have(model, reference, tmp_path, name):
    """The caller may not ask for them; a checkpoint may, where no result could hold them."""
    prompt = texts(4)[0][None]
    given = {"max_new_tokens": 4, "do_sample": False}
    said = f"{name}: a compiled model returns logits only.\nTry: {name}=False."
    assert message(model, prompt, **{name: True}) == said
    assert message(model, prompt, generation_config=GenerationConfig(**{name: True})) == said
    model.save_pretrained(tmp_path / "saved")
    asking = NeuronModelForCausalLM.from_pretrained(tmp_path / "saved")
    asking.generation_config.update(**{name: True})
    expected = reference.generate(prompt, **given).tolist()
    assert asking.generate(prompt, **given).tolist() == expected
    assert (
        asking.generate(prompt, num_beams=2, **given).tolist()
        == reference.generate(prompt, num_beams=2, **given).tolist()
    )
    assert message(asking, prompt, return_dict_in_generate=True, **given) == said
    kept = asking.generate(prompt, return_dict_in_generate=True, **{name: False}, **given)
    assert kept.sequences.tolist() == expected


def test_beam_search(model, reference):
    """transformers' own search over our cache; prompts that do not fit together run one after the other."""
    prompts = torch.stack(texts(6, 6, 6, seed=6))
    for options in (
        {"num_beams": 2},
        {"num_beams": 4, "num_return_sequences": 2},
        {"num_beams": 3, "length_penalty": 2.0},
    ):
        given = {"max_new_tokens": 8, "do_sample": False, **options}
        expected = reference.generate(prompts, attention_mask=torch.ones_like(prompts), **given)
        assert model.generate(prompts, **given).tolist() == expected.tolist()


def test_beam_search_of_padded_prompts(model, reference):
    prompts = texts(3, 9, 5, seed=7)
    given = {"max_new_tokens": 8, "num_beams": 3, "do_sample": False}
    expected = alone(reference, prompts, **given)
    found = model.generate(**padded(prompts), **given)
    assert new_tokens(found, 9, expected, padding=2) == expected  # transformers' beams take a pad token of 0 for none
    assert model.generate(**padded(prompts), max_new_tokens=8, num_beams=2, do_sample=True, seed=1).shape == (3, 17)


def test_numbers_of_prompts_in_a_search(compiled, model, reference):
    """A function of the prompt's number sees the call's, although a search runs over some of the prompts."""
    prompts = torch.stack(texts(6, 6, 6, seed=2))
    given = {
        "max_new_tokens": 4,
        "do_sample": False,
        "prefix_allowed_tokens_fn": lambda number, _: list(range(10 + 20 * number, 16 + 20 * number)),
    }
    for beams in (2, 3):
        expected = reference.generate(prompts, attention_mask=torch.ones_like(prompts), num_beams=beams, **given)
        assert model.generate(prompts, num_beams=beams, **given).tolist() == expected.tolist()
    checker = compiled("gpt2", all_logits=True, backend="recording", cache=False)
    expected = reference.generate(prompts, attention_mask=torch.ones_like(prompts), **given)
    assert checker.generate(prompts, prompt_lookup_num_tokens=2, **given).tolist() == expected.tolist()


def test_too_many_beams(model):
    prompt = texts(4)[0][None]
    assert message(model, prompt, num_beams=5) == (
        "num_beams=5 with num_return_sequences=1 needs 5 rows, and the model was compiled for 4.\n"
        "Try: compile with batch_size=5."
    )
    with pytest.raises(InputError, match="generate_iter yields tokens as they are chosen, and beam_search"):
        model.generate_iter(prompt, num_beams=2)


def test_assisted_generation(compiled, model, reference):
    """A draft model proposes tokens; the graph must give every position's logits."""
    prompts = texts(6, 4, seed=8)
    given = {"max_new_tokens": 10, "do_sample": False}
    checker = compiled("gpt2", all_logits=True, backend="recording", cache=False)
    for prompt in prompts:
        found = checker.generate(prompt[None], assistant_model=reference, **given)
        assert found[0, len(prompt) :].tolist() == alone(reference, [prompt], **given)[0]
        looked_up = checker.generate(prompt[None], prompt_lookup_num_tokens=3, **given)
        assert looked_up.tolist() == found.tolist()
    assert message(model, prompts[0][None], assistant_model=reference, **given) == (
        "Assisted generation checks several tokens at once, and the model was compiled to return the logits of the last one.\n"
        "Try: compile with all_logits=True (--all-logits)."
    )


@pytest.mark.parametrize("count", [30, 31, 32, 33, 34])
def test_drafts_at_the_end_of_the_cache(compiled, reference, count):
    """They may be longer than what is left of it."""
    (prompt,) = texts(6, seed=2)
    given = {"max_new_tokens": count, "do_sample": False}
    checker = compiled("gpt2", all_logits=True, backend="recording", cache=False)
    expected = alone(reference, [prompt], **given)[0]
    for drafts in (2, 5, 10):
        found = checker.generate(prompt[None], prompt_lookup_num_tokens=drafts, **given)
        assert found[0, 6:].tolist() == expected


def test_all_logits_serve_as_the_last_do(compiled, reference):
    prompts = texts(3, 9, 5, 1, 6, 4, seed=9)
    given = {"max_new_tokens": 8, "do_sample": False}
    expected = alone(reference, prompts, **given)
    model = compiled("gpt2", all_logits=True, backend="recording", cache=False)
    assert new_tokens(model.generate(**padded(prompts), **given), 9, expected) == expected


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({"batch_size": [1, 4]}, "batch_size: one size, because all graphs share one cache (got [1, 4])"),
        ({"sequence_length": 65}, "sequence_length: the model has 64 positions (got 65)."),
        ({"sequence_length": 1}, "sequence_length: at least 2, for a prompt and a new token."),
        ({"batch_size": 0}, "batch_size"),
    ],
    ids=str,
)
def test_shapes_that_cannot_be(checkpoint_of, tmp_path, shapes, said):
    with pytest.raises(OptionError) as caught:
        neuronkit.compile(checkpoint_of(), tmp_path / "out", task="text-generation", optlevel=1, **shapes)
    assert said in str(caught.value)
    assert not (tmp_path / "out").exists()
