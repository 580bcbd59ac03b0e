"""Artifacts as their users meet them: files, pipelines, lower precisions."""

from __future__ import annotations

import json
import pickle
import shutil

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    SynthIDTextWatermarkingConfig,
    WatermarkingConfig,
)

import neuronkit
from neuronkit import NeuronModelForCausalLM
from neuronkit.errors import InputError, OptionError, SourceError
from neuronkit_plugins.text.causal_lm.quantization import Int8Linear, with_int8_weights
from tests.generation.prompts import alone, new_tokens, padded, texts
from tests.versions import at_least

PROMPTS = texts(5, 9, 2, 7, seed=1)
GREEDY = {"max_new_tokens": 12, "do_sample": False}


def test_save_and_reload(model, tmp_path):
    """The generation config travels, and a changed one is the caller's."""
    model.save_pretrained(tmp_path / "saved")
    again = NeuronModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert again.can_generate()
    assert again.generation_config.eos_token_id == model.generation_config.eos_token_id == 2
    assert torch.equal(again.generate(**padded(PROMPTS), **GREEDY), model.generate(**padded(PROMPTS), **GREEDY))
    assert again.get_input_static_shapes() == model.get_input_static_shapes()
    again.generation_config.max_new_tokens = 3
    assert again.generate(PROMPTS[0][None]).shape == (1, 8)


def test_pickled(model, tmp_path):
    """A copy has what was changed of its original, and a cache of its own."""
    model.save_pretrained(tmp_path / "saved")
    loaded = NeuronModelForCausalLM.from_pretrained(tmp_path / "saved")
    loaded.generation_config.repetition_penalty = 1.7
    started = loaded.generate_iter(PROMPTS[0][None], **GREEDY)
    tokens = [next(started).token_id]
    again = pickle.loads(pickle.dumps(loaded))
    expected = again.generate(PROMPTS[0][None], **GREEDY)[0, 5:].tolist()
    assert again.generation_config.repetition_penalty == 1.7
    assert [*tokens, *(new.token_id for new in started)] == expected


def test_save_a_changed_generation_config(model, reference, tmp_path):
    """Beside the graphs and in the manifest; also into the artifact itself."""
    model.save_pretrained(tmp_path / "saved")
    changed = NeuronModelForCausalLM.from_pretrained(tmp_path / "saved")
    changed.generation_config.repetition_penalty = 1.7
    changed.save_pretrained(tmp_path / "changed")
    changed.generation_config.max_new_tokens = 6
    changed.save_pretrained(tmp_path / "saved")
    for name, count in (("saved", 6), ("changed", None)):
        again = NeuronModelForCausalLM.from_pretrained(tmp_path / name)
        assert again.generation_config.repetition_penalty == 1.7
        assert again.generation_config.max_new_tokens == count
    expected = alone(reference, PROMPTS, repetition_penalty=1.7, **GREEDY)
    assert new_tokens(again.generate(**padded(PROMPTS), **GREEDY), 9, expected) == expected
    assert model.generation_config.repetition_penalty is None


@pytest.mark.parametrize(
    "options",
    [
        {"sequence_bias": {(5,): 40.0, (5, 6): 60.0}},
        {"eos_token_id": torch.tensor([80, 42, 39])},
        {"watermarking_config": WatermarkingConfig(bias=9.0)},
        {
            "watermarking_config": SynthIDTextWatermarkingConfig(keys=[654, 400], ngram_len=3),
            "do_sample": True,
            "eos_token_id": None,
        },
    ],
    ids=["bias", "tensor", "watermark", "SynthID"],
)
def test_save_what_json_has_no_word_for(model, tmp_path, options):
    """It does the same when it is read again, and is saved as it is."""
    model.save_pretrained(tmp_path / "first")
    changed = NeuronModelForCausalLM.from_pretrained(tmp_path / "first")
    prompt = PROMPTS[0][None]
    for name, value in options.items():
        setattr(changed.generation_config, name, value)
    expected = changed.generate(prompt, max_new_tokens=8, seed=1).tolist()
    assert expected != model.generate(prompt, max_new_tokens=8, seed=1).tolist()
    for name in ("second", "third"):
        changed.save_pretrained(tmp_path / name)
        changed = NeuronModelForCausalLM.from_pretrained(tmp_path / name)
        assert changed.generate(prompt, max_new_tokens=8, seed=1).tolist() == expected


def test_generation_config_of_the_checkpoint(checkpoint_of, tmp_path):
    """What it asks for is done without being said again."""
    shutil.copytree(checkpoint_of(), tmp_path / "source")
    settings = {"do_sample": True, "top_k": 3, "max_new_tokens": 4, "eos_token_id": [2, 5], "pad_token_id": 0}
    (tmp_path / "source" / "generation_config.json").write_text(json.dumps(settings))
    model = NeuronModelForCausalLM.from_pretrained(
        tmp_path / "source", export=True, batch_size=4, sequence_length=40, optlevel=1
    )
    model.save_pretrained(tmp_path / "saved")
    again = NeuronModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert again.generation_config.do_sample
    assert again.generation_config.eos_token_id == [2, 5]
    assert again.generate(PROMPTS[0][None]).shape[1] <= 9


def test_generation_settings_in_the_model_configuration(checkpoint_of, tmp_path):
    """What an older checkpoint's config.json says is done, and is saved with the artifact."""
    source = tmp_path / "source"
    shutil.copytree(checkpoint_of(), source)
    (source / "generation_config.json").unlink()
    settings = {"no_repeat_ngram_size": 1, "max_length": 12, "min_length": 9, "suppress_tokens": [81]}
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, **settings}))
    reference = AutoModelForCausalLM.from_pretrained(source).eval()
    model = NeuronModelForCausalLM.from_pretrained(source, export=True, batch_size=4, sequence_length=40, optlevel=1)
    model.save_pretrained(tmp_path / "saved")
    again = NeuronModelForCausalLM.from_pretrained(tmp_path / "saved")
    expected = reference.generate(PROMPTS[0][None]).tolist()
    for found in (model, again):
        assert {name: getattr(found.generation_config, name) for name in settings} == settings
        assert found.generation_config == reference.generation_config
        assert found.generate(PROMPTS[0][None]).tolist() == expected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not valid JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("[]", "holds a list, and not settings by name."),
    ],
)
def test_generation_config_that_cannot_be_read(checkpoint_of, model, tmp_path, content, said):
    """Refused before anything is compiled; in an artifact, where it was let through, when it is needed."""
    advice = (
        "Try: download the checkpoint again, or remove its generation_config.json, and compile it: without that file the "
        "settings are those of its config.json."
    )
    shutil.copytree(checkpoint_of(), tmp_path / "source")
    model.save_pretrained(tmp_path / "saved")
    loaded = NeuronModelForCausalLM.from_pretrained(tmp_path / "saved")
    for name, work in (
        ("source", lambda: neuronkit.compile(tmp_path / "source", tmp_path / "output", sequence_length=40, optlevel=1)),
        ("saved", lambda: loaded.generate(PROMPTS[0][None])),
    ):
        file = tmp_path / name / "generation_config.json"
        file.write_text(content)
        with pytest.raises(SourceError) as error:
            work()
        assert str(error.value) == f"{file} {said}\n{advice}"


@pytest.mark.parametrize("options", [{}, {"do_sample": True, "seed": 1}, {"num_beams": 2}], ids=str)
def test_modes_of_torch_around_a_call(model, options):
    """Autocast lowers nothing of what was compiled; a model that was loaded in inference mode can be called outside."""
    given = {**padded(PROMPTS), "max_new_tokens": 6, **options}
    expected = model.generate(**given).tolist()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.generate(**given).tolist() == expected
    with torch.inference_mode():
        loaded = NeuronModelForCausalLM.from_pretrained(model.model_save_dir)
        assert loaded.generate(**given).tolist() == expected
    assert loaded.generate(**given).tolist() == expected


def test_two_sessions(compiled, reference, tmp_path):
    """Each has a cache of its own."""
    compiled().save_pretrained(tmp_path / "saved")
    first, second = (NeuronModelForCausalLM.from_pretrained(tmp_path / "saved") for _ in range(2))
    steps = first.generate_iter(PROMPTS[0][None], **GREEDY)
    tokens = [next(steps).token_id]
    second.generate(PROMPTS[1][None], **GREEDY)
    tokens += [new.token_id for new in steps]
    assert tokens == alone(reference, PROMPTS[:1], **GREEDY)[0]


def test_transformers_pipeline(model, reference):
    from transformers import pipeline

    tokenizer = model.tokenizer
    ours = pipeline("text-generation", model=model, tokenizer=tokenizer)
    theirs = pipeline("text-generation", model=reference, tokenizer=tokenizer)
    for given in ("ABCDE", ["hello", "a longer prompt"]):
        assert ours(given, **GREEDY) == theirs(given, **GREEDY)
    assert ours("ABC", return_full_text=False, **GREEDY) == theirs("ABC", return_full_text=False, **GREEDY)


def test_transformers_pipeline_without_a_length(model, reference, tmp_path):
    """Its own default of 256 looks like a caller's; a length of the generation config takes its place."""
    from transformers import pipeline

    ours = pipeline("text-generation", model=model, tokenizer=model.tokenizer)
    if at_least("transformers", "5.24"):  # earlier ones leave the length to the model
        with pytest.raises(InputError) as caught:
            ours("ABCDE")
        assert str(caught.value) == (
            "Prompt 0 has 5 tokens; with 256 new ones it needs 261 slots, and the cache has 40. "
            "transformers' pipeline asks for 256 where no length is given.\n"
            "Try: max_new_tokens=35, a shorter prompt, or compile with a larger sequence_length."
        )
    model.save_pretrained(tmp_path / "saved")
    other = NeuronModelForCausalLM.from_pretrained(tmp_path / "saved")
    other.generation_config.max_new_tokens = 12
    theirs = pipeline("text-generation", model=reference, tokenizer=model.tokenizer)
    found = pipeline("text-generation", model=other, tokenizer=model.tokenizer)("ABCDE", do_sample=False)
    assert found == theirs("ABCDE", **GREEDY)


@pytest.fixture(scope="module")
def pipe(compiled, tmp_path_factory):
    """`neuronkit.pipeline` of GPT-2."""
    path = tmp_path_factory.mktemp("artifact") / "gpt2"
    compiled().save_pretrained(path)
    return neuronkit.pipeline(path)


def test_pipeline(pipe, model, reference):
    tokenizer = model.tokenizer
    (expected,) = alone(reference, [torch.tensor(tokenizer("Hello")["input_ids"])], **GREEDY)
    text = tokenizer.decode(expected, skip_special_tokens=True)
    assert pipe(prompt="Hello", **GREEDY) == {"generated_text": "Hello" + text}
    assert pipe(prompt="Hello", return_full_text=False, **GREEDY) == {"generated_text": text}
    assert "".join(pipe(prompt="Hello", stream=True, **GREEDY)) == text
    many = pipe(prompt=["Hello", "a", "bcd", "efgh", "ijklm"], **GREEDY)
    assert many[0] == {"generated_text": "Hello" + text}
    assert len(many) == 5
    assert pipe(prompt=[]) == []
    pairs = pipe(prompt=["Hello", "a"], do_sample=True, num_return_sequences=2, seed=1, max_new_tokens=3)
    assert [len(answers) for answers in pairs] == [2, 2]


@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 3, "length_penalty": -4.0},
        {"num_beams": 3, "early_stopping": True},
        {"num_beams": 3, "early_stopping": "never"},
        {"eos_token_id": 55},
        {"eos_token_id": [55, 68, 80, 12, 30]},
    ],
    ids=str,
)
def test_pipeline_options_of_generate(pipe, reference, options):
    """As numbers, and as they are typed."""
    given = {"max_new_tokens": 12, "do_sample": False}
    ids = torch.tensor([pipe.shell.tokenizer("Hello")["input_ids"]])
    expected = reference.generate(ids, attention_mask=torch.ones_like(ids), **given, **options)[0]
    text = pipe.shell.tokenizer.decode(expected, skip_special_tokens=True)
    typed = {
        name: ",".join(map(str, value)) if isinstance(value, list) else str(value) for name, value in options.items()
    }
    for spelt in (options, typed):
        assert pipe(prompt="Hello", **given, **spelt) == {"generated_text": text}


def test_pipeline_of_a_stop_string_with_a_comma(pipe):
    """It is one text; a list has several."""
    whole = pipe(prompt="Hello", return_full_text=False, **GREEDY)["generated_text"]
    given = {"prompt": "Hello", "return_full_text": False, **GREEDY}
    assert pipe(stop_strings=f"{whole[0]},{whole[1]}", **given) == {"generated_text": whole}
    assert pipe(stop_strings=[whole[2:4], "\N{SNOWMAN}"], **given) == {"generated_text": whole[:4]}
    assert pipe(stop_strings=whole[2:4], **given) == {"generated_text": whole[:4]}


def test_pipeline_of_padded_prompts(pipe, reference):
    """Prompts are padded with the tokenizer's pad token, which processors see when a batch is sampled."""
    prompts = ["a longer prompt", "a"]
    given = {"max_new_tokens": 8, "do_sample": True, "top_k": 0, "no_repeat_ngram_size": 1}
    path = pipe.shell.model_save_dir
    other, tokenizer = neuronkit.pipeline(path), AutoTokenizer.from_pretrained(path, padding_side="left")
    for pad in ("<pad>", "x"):
        other.shell.tokenizer.pad_token = tokenizer.pad_token = pad
        batch = tokenizer(prompts, padding=True, return_tensors="pt")
        for seed in range(5):
            torch.manual_seed(seed)
            expected = reference.generate(**batch, **given)[:, batch["input_ids"].shape[1] :]
            found = other(prompt=prompts, return_full_text=False, seed=seed, **given)
            assert [one["generated_text"] for one in found] == tokenizer.batch_decode(
                expected, skip_special_tokens=True
            )


def test_pipeline_of_a_config_that_asks_for_a_dict(pipe, model, tmp_path):
    model.save_pretrained(tmp_path / "saved")
    other = neuronkit.pipeline(tmp_path / "saved")
    other.shell.generation_config.return_dict_in_generate = True
    assert other(prompt="Hello", **GREEDY) == pipe(prompt="Hello", **GREEDY)
    assert list(other(prompt="Hello", stream=True, **GREEDY)) == list(pipe(prompt="Hello", stream=True, **GREEDY))


def test_pipeline_streams_one_answer(pipe, model, tmp_path):
    """The error names the number of answers, whether the call or the checkpoint asks for it."""
    model.save_pretrained(tmp_path / "saved")
    other = neuronkit.pipeline(tmp_path / "saved")
    other.shell.generation_config.update(num_return_sequences=2, do_sample=True)
    given = {"stream": True, "do_sample": True, "max_new_tokens": 3, "seed": 1}
    for asked, options in ((pipe, {"num_return_sequences": 2}), (other, {})):
        with pytest.raises(InputError) as caught:
            asked(prompt="a", **given, **options)
        assert str(caught.value) == (
            "stream: one answer at a time, and num_return_sequences is 2.\n"
            "Try: num_return_sequences=1 (--num-return-sequences 1), or without stream (--stream)."
        )
    assert list(other(prompt="a", num_return_sequences=1, **given)) == list(pipe(prompt="a", **given))


def test_pipeline_refuses(pipe):
    with pytest.raises(InputError, match=r"Text generation needs prompt=\.\.\."):
        pipe(max_new_tokens=3)
    with pytest.raises(OptionError) as caught:
        pipe(prompt="a", max_new_token=3)
    assert str(caught.value) == "max_new_token: unknown option. Did you mean max_new_tokens?"
    with pytest.raises(InputError) as refused:
        pipe(prompt="a", text="b")
    assert str(refused.value) == "prompt and text are the same, and both were given.\nTry: a list of texts as prompt."
    assert pipe(prompt=None, text="b", **GREEDY) == pipe(prompt="b", **GREEDY)
    with pytest.raises(InputError, match=r"seed must be a whole number from -2\*\*63 to 2\*\*64 - 1 \(got 1000"):
        pipe(prompt="a", do_sample=True, seed=10**30)
    with pytest.raises(OptionError, match="early_stopping: must be true or false"):
        pipe(prompt="a", early_stopping="soon")
    with pytest.raises(InputError, match=r"prompt has no tokens \(got ''\)"):
        pipe(prompt="")
    with pytest.raises(InputError) as refused:
        pipe(prompt=["a", "b"], stream=True)
    assert str(refused.value) == (
        "stream: one prompt at a time.\nTry: a call for each prompt, or without stream (--stream)."
    )
    with pytest.raises(InputError) as refused:
        pipe(prompt="a", stream=True, num_beams=2)
    assert str(refused.value) == (
        "stream: tokens as they are chosen, and with num_beams=2 they are known at the end only.\n"
        "Try: num_beams=1 (--num-beams 1), or without stream (--stream)."
    )
    with pytest.raises(OptionError, match="max_new_tokens"):
        pipe(prompt="a", max_new_tokens=0)


def test_int8_linear():
    """One scale an output channel, an error of half a step at most; the product rounds nothing else."""
    torch.manual_seed(0)
    weight, bias = torch.randn(24, 32), torch.randn(24)
    layer = Int8Linear(weight, bias)
    assert layer.weight.dtype == torch.int8
    restored = layer.weight.float() * layer.scale[:, None]
    assert ((restored - weight).abs() <= layer.scale[:, None] * 0.501).all()
    hidden = torch.randn(2, 3, 32)
    torch.testing.assert_close(layer(hidden), hidden @ restored.T + bias, atol=1e-5, rtol=1e-5)


def test_int8_weights_leave_the_model_alone(reference):
    before = {name: tensor.dtype for name, tensor in reference.state_dict().items()}
    quantized = with_int8_weights(reference)
    assert any(isinstance(layer, Int8Linear) for layer in quantized.modules())
    assert {name: tensor.dtype for name, tensor in reference.state_dict().items()} == before
    assert quantized.get_input_embeddings().weight is reference.get_input_embeddings().weight


def test_int8_artifact(compiled, reference, tmp_path):
    """It passes its gate, generates, and says so in its manifest; the tokens are those of the quantized model."""
    model = compiled("gpt2", weights="int8")
    quantized = with_int8_weights(reference)
    expected = alone(quantized, PROMPTS, **GREEDY)
    assert new_tokens(model.generate(**padded(PROMPTS), **GREEDY), 9, expected) == expected
    model.save_pretrained(tmp_path / "saved")
    again = NeuronModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert again.session.manifest.plugin_options["weights"] == "int8"
    assert again.generate(PROMPTS[0][None], **GREEDY)[0, 5:].tolist() == expected[0]


def test_bf16(compiled, eager):
    """The whole graph in half precision: logits near eager's, and every text of the length asked for."""
    model, reference = compiled("qwen3", auto_cast="all", auto_cast_type="bf16"), eager("qwen3")
    ids = PROMPTS[1][None]
    logits = model.forward(ids).logits[0, 0]
    wanted = reference(ids).logits[0, -1]
    assert (logits - wanted).abs().max() < 0.05 * wanted.abs().max()
    assert model.generate(**padded(PROMPTS), max_new_tokens=6, eos_token_id=None).shape == (4, 15)


def test_other_weights(checkpoint_of, tmp_path, compiled):
    """A sibling checkpoint in the same graphs."""
    from tests.generation.checkpoints import tiny_decoder

    sibling = tiny_decoder(tmp_path / "sibling", "gpt2", seed=1)
    compiled().save_pretrained(tmp_path / "saved")
    model = NeuronModelForCausalLM.from_pretrained(tmp_path / "saved")
    model.generate(PROMPTS[0][None], **GREEDY)
    model.replace_weights(sibling)
    expected = alone(AutoModelForCausalLM.from_pretrained(sibling), PROMPTS, **GREEDY)
    assert new_tokens(model.generate(**padded(PROMPTS), **GREEDY), 9, expected) == expected


@pytest.mark.compiled
def test_native_code(compiled, eager):
    """What Inductor makes of the graph: the same tokens, row by row and in a queue."""
    model = compiled("mistral", optlevel=2)
    prompts = texts(5, 9, 2, 7, 12, 1, seed=1)
    expected = alone(eager("mistral"), prompts, **GREEDY)
    assert new_tokens(model.generate(**padded(prompts), **GREEDY), 12, expected) == expected
    assert model.generate(prompts[0][None], **GREEDY)[0, 5:].tolist() == expected[0]


@pytest.mark.heavy
@pytest.mark.compiled
def test_native_code_in_bf16(compiled, eager):
    """A step has a graph of its own beside the one for prompts; both read one copy of the weights, stored in bf16."""
    model = compiled("gpt2", optlevel=2, auto_cast="matmul", auto_cast_type="bf16")
    (record,) = model.session.manifest.graphs
    assert [bucket.sizes["sequence"] for bucket in record.buckets] == [1, model.session.limits["sequence"]]
    held = {name: tensor.dtype for name, tensor in model.session.weights("decoder").items()}
    assert {dtype for name, dtype in held.items() if name.endswith("c_fc.weight")} == {torch.bfloat16}
    (prompt,) = texts(9, seed=1)
    options = {"do_sample": False, "return_dict_in_generate": True, "output_logits": True}
    kept = model.generate(prompt[None], max_new_tokens=4, **options)
    wanted = eager("gpt2")(kept.sequences).logits[0, len(prompt) - 1 : -1]
    assert torch.stack(kept.logits)[:, 0].sub(wanted).abs().max() < 5e-2 * wanted.abs().max().clamp(min=1)


@pytest.mark.heavy
@pytest.mark.compiled
def test_native_code_in_int8(compiled, reference):
    """The prompts' graph and the step's read the same bytes, and give the tokens of the quantized model."""
    model = compiled("gpt2", optlevel=2, weights="int8", batch_size=2)
    held = {name: tensor.dtype for name, tensor in model.session.weights("decoder").items()}
    assert {dtype for name, dtype in held.items() if name.endswith("c_fc.weight")} == {torch.int8}
    prompts = texts(9, 4, seed=1)
    expected = alone(with_int8_weights(reference), prompts, **GREEDY)
    assert new_tokens(model.generate(**padded(prompts), **GREEDY), 9, expected) == expected
