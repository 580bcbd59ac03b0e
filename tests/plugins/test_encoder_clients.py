"""Clients that users have already: transformers' pipelines, sentence-transformers, data loaders."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassFieldValidationError
from torch.utils.data import DataLoader

import neuronkit
from neuronkit.errors import FixedGraphError, InputError, OptionError
from neuronkit.testing.recording import offer_recording_backend
from tests.plugins.checkpoints import WORDS, tiny_sentence_transformer
from tests.plugins.encoders import eager_model, tiny_encoder

TEXTS = ["The moon runs over the mountain.", "Snow", "a big bird sings far far under the old red stone"]
SAVED = ("prompts", "default_prompt_name", "similarity_fn_name")
"""What a sentence transformer says of itself beside its modules."""


@pytest.fixture(scope="module")
def backend():
    """The backend that runs modules as they are."""
    with offer_recording_backend() as backend:
        yield backend


@pytest.fixture(scope="module")
def load(backend, tmp_path_factory):
    """A function from a task and a checkpoint's settings to the compiled model, the eager one and the tokenizer."""
    made = {}

    def make(task, architecture="bert", compile_options=(), **config):
        key = (task, architecture, tuple(compile_options), repr(config))
        if key not in made:
            from transformers import AutoTokenizer

            path = tiny_encoder(tmp_path_factory.mktemp("client"), architecture, task, **config)
            options = {"backend": "recording", "cache": False, **dict(compile_options)}
            if task == "multiple-choice":
                options["num_choices"] = 4
            neuronkit.compile(path, path / "out", task=task, **options)
            made[key] = neuronkit.load(path / "out"), eager_model(path, task), AutoTokenizer.from_pretrained(path)
        return made[key]

    return make


def same(found, expected):
    """Compare results: equal shapes, keys and strings, numbers within 1e-4."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name in expected:
            same(found[name], expected[name])
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    elif isinstance(expected, (float, np.floating)):
        assert found == pytest.approx(float(expected), abs=1e-4)
    else:
        assert found == expected


PROBLEMS = {
    "single": {},
    "numbers": {"id2label": {0: 1, 1: 2, 2: 3}, "label2id": {1: 0, 2: 1, 3: 2}},
    "multi-label": {"problem_type": "multi_label_classification"},
    "regression": {"problem_type": "regression", "num_labels": 1},
    "one-label": {"num_labels": 1},
}


def numbers_may_be_labels() -> bool:
    """Whether this transformers takes such a configuration at all."""
    import transformers

    try:
        transformers.BertConfig(**PROBLEMS["numbers"])
    except StrictDataclassFieldValidationError:
        return False
    return True


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("architecture", ["bert", "convbert", "roberta"])
def test_text_classification(load, architecture, problem):
    """Ours and transformers' pipeline around ours give what transformers' gives around the eager model."""
    import transformers

    if problem == "numbers" and not numbers_may_be_labels():
        pytest.skip("labels are texts in this version of transformers")
    config = PROBLEMS[problem]
    if "num_labels" in config:
        config = {**config, "id2label": {0: "LABEL_0"}, "label2id": {"LABEL_0": 0}}
        config.pop("num_labels")
    model, eager, tokenizer = load("text-classification", architecture, **config)
    reference = transformers.pipeline("text-classification", model=eager, tokenizer=tokenizer)
    around = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer)
    ours = neuronkit.pipeline(model)
    same(around(TEXTS), reference(TEXTS))
    if problem == "numbers":
        assert {type(one["label"]) for one in ours(text=TEXTS[0], top_k=None)} == {int}
    batch = 1 if architecture == "convbert" else 2  # whose eager batches depend on their padding
    same(around(TEXTS, top_k=None, batch_size=batch), reference(TEXTS, top_k=None))
    same(ours(text=TEXTS), reference(TEXTS))
    same(ours(text=TEXTS[0]), reference(TEXTS[0])[0])
    same(ours(text=TEXTS, top_k=None), reference(TEXTS, top_k=None))
    same(ours(text=TEXTS, top_k=2), reference(TEXTS, top_k=2))
    same(ours(text=TEXTS[0], function_to_apply="none"), reference(TEXTS[0], function_to_apply="none", top_k=1)[0])
    pair = {"text": TEXTS[0], "text_pair": TEXTS[2]}
    same(ours(**pair), reference(pair))
    assert ours(text=[]) == []


def test_zero_shot_classification(load):
    """A classifier serves the zero-shot pipeline as well."""
    import transformers

    labels = {"id2label": {0: "entailment", 1: "contradiction"}, "label2id": {"entailment": 0, "contradiction": 1}}
    model, eager, tokenizer = load("text-classification", **labels)
    results = [
        transformers.pipeline("zero-shot-classification", model=one, tokenizer=tokenizer)(
            TEXTS[0], candidate_labels=["moon", "sea"]
        )
        for one in (model, eager)
    ]
    same(*results)


@pytest.mark.parametrize("architecture", ["bert", "mobilebert", "xlm"])
def test_fill_mask(load, architecture):
    """One mask, several, targets, and several texts at once."""
    import transformers

    model, eager, tokenizer = load("fill-mask", architecture)
    reference = transformers.pipeline("fill-mask", model=eager, tokenizer=tokenizer)
    around = transformers.pipeline("fill-mask", model=model, tokenizer=tokenizer)
    ours = neuronkit.pipeline(model)
    texts = ["the [MASK] runs", "a big bird [MASK] far under the old red stone"]
    for text in (*texts, texts, "the [MASK] runs over [MASK]", texts[:1]):
        same(around(text), reference(text))
        same(ours(text=text), reference(text))
    targets = ["cat", "dog", "river"]
    same(ours(text=texts[0], targets=targets, top_k=3), reference(texts[0], targets=targets, top_k=3))
    with pytest.raises(InputError, match=r"text 1 has no \[MASK\]"):
        ours(text=[texts[0], "snow"])
    with pytest.raises(InputError) as error:
        ours(text=texts[0], targets=[])
    assert str(error.value) == "targets: there are none.\nTry: without it, which ranks the whole vocabulary."


@pytest.mark.parametrize("strategy", ["none", "simple", "first", "average", "max"])
@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
def test_token_classification(load, architecture, strategy):
    """Every strategy, on texts of words and of pieces of words."""
    import transformers

    model, eager, tokenizer = load("token-classification", architecture)
    options = {"aggregation_strategy": strategy}
    reference = transformers.pipeline("token-classification", model=eager, tokenizer=tokenizer, **options)
    around = transformers.pipeline("token-classification", model=model, tokenizer=tokenizer, **options)
    texts = [*TEXTS, "Mississippi flows, slowly, to Louisiana: the unknown ☃ sea", "zebra xylophones"]
    expected = reference(texts)
    assert any(expected)
    same(around(texts), expected)
    ours = neuronkit.pipeline(model)
    same(ours(text=texts, **options), expected)
    same(ours(text=texts[3], **options), expected[3])
    same(ours(text=texts[3], ignore_labels=[], **options), reference(texts[3], ignore_labels=[]))


def test_token_classification_of_long_text(load):
    """With a stride a text of any length is read in windows; without, it is cut where transformers cuts it."""
    import transformers

    model, eager, tokenizer = load("token-classification")
    text = " ".join(WORDS * 2)
    options = {"aggregation_strategy": "simple", "stride": 8}
    reference = transformers.pipeline("token-classification", model=eager, tokenizer=tokenizer, **options)
    ours = neuronkit.pipeline(model)
    same(ours(text=text, **options), reference(text))
    cut = transformers.pipeline("token-classification", model=eager, tokenizer=tokenizer)
    same(ours(text=text), cut(text))
    with pytest.raises(InputError, match="stride puts entities of several windows together"):
        ours(text=text, stride=8)
    largest = options | {"stride": 61}
    reference = transformers.pipeline("token-classification", model=eager, tokenizer=tokenizer, **largest)
    same(ours(text=text, **largest), reference(text))
    for stride in (62, 64):
        with pytest.raises(InputError) as error:
            ours(text=text, **options | {"stride": stride})
        assert str(error.value) == (
            f"stride must be smaller than the room that a window has for its text (got {stride}, and there is room for 62 "
            "of 64 tokens)."
        )


def test_feature_extraction(load):
    """The arrays of transformers' pipeline."""
    import transformers

    model, eager, tokenizer = load("feature-extraction")
    reference = transformers.pipeline("feature-extraction", model=eager, tokenizer=tokenizer)
    around = transformers.pipeline("feature-extraction", model=model, tokenizer=tokenizer)
    for found, ours, text in zip(around(TEXTS), neuronkit.pipeline(model)(text=TEXTS), TEXTS, strict=True):
        np.testing.assert_allclose(found, reference(text), atol=1e-4)
        np.testing.assert_allclose(ours, reference(text)[0], atol=1e-4)


def test_multiple_choice(load):
    """Fewer choices than compiled for, several texts, and the errors."""
    model, eager, tokenizer = load("multiple-choice")
    ours = neuronkit.pipeline(model)
    choices = ["sleeps", "runs over the mountain", "sings"]
    with torch.no_grad():
        encoded = tokenizer([TEXTS[1]] * 3, choices, padding=True, return_tensors="pt")
        expected = eager(**{name: tensor.unsqueeze(0) for name, tensor in encoded.items()}).logits.softmax(-1)[0]
    found = ours(text=TEXTS[1], choices=choices)
    assert found["scores"] == pytest.approx(expected.tolist(), abs=1e-4)
    assert found["choice"] == choices[found["index"]] == choices[int(expected.argmax())]
    assert found["score"] == max(found["scores"])
    many = ours(text=TEXTS, choices=[choices] * 3)
    same(many[1], found)
    same(ours(text=TEXTS[1], choices="sleeps, runs over the mountain, sings"), found)
    with pytest.raises(InputError, match=r"choices: the model was compiled for 1 to 4 \(got 5\)"):
        ours(text="snow", choices=["a"] * 5)
    with pytest.raises(InputError, match=r"every text needs as many \(got 2 and 3\)"):
        ours(text=["snow", "rain"], choices=[choices, choices[:2]])
    for texts, shared in ((["snow", "rain"], choices[:2]), (["snow"], choices), (["snow", "rain"], "sleeps, sings")):
        with pytest.raises(InputError) as error:
            ours(text=texts, choices=shared)
        assert str(error.value) == (
            "choices: a list of texts needs a list of choices for each of them (got one list for all).\n"
            'Try: choices=[["a", "b"], ["a", "b"]] for two texts.'
        )
    with pytest.raises(neuronkit.OptionError, match="num_choices: required"):
        neuronkit.compile(
            model.model_save_dir.parent, "unused", task="multiple-choice", backend="recording", cache=False
        )


def test_data_loader(load):
    """A loop over a DataLoader with a collator of transformers' own."""
    from transformers import DataCollatorWithPadding

    model, eager, tokenizer = load("text-classification")
    rows = [tokenizer(text) for text in TEXTS * 3]
    loader = DataLoader(rows, batch_size=4, collate_fn=DataCollatorWithPadding(tokenizer))
    with torch.no_grad():
        for batch in loader:
            assert (model(**batch).logits - eager(**batch).logits).abs().max() < 1e-4


def test_trainer(load, tmp_path):
    """Predicts, evaluates with a loss of the caller's, takes what accelerate prepared; what it would save is refused."""
    from accelerate import Accelerator
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    model, eager, tokenizer = load("text-classification")
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[], disable_tqdm=True)
    rows = [tokenizer(text) for text in TEXTS]
    trainers = [Trainer(one, arguments, DataCollatorWithPadding(tokenizer)) for one in (model, eager)]
    found, expected = (trainer.predict(rows).predictions for trainer in trainers)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    labelled = [{**row, "labels": number} for number, row in enumerate(rows)]

    def accuracy(predicted):
        return {"accuracy": float((predicted.predictions.argmax(-1) == predicted.label_ids).mean())}

    def loss(outputs, labels, num_items_in_batch=None):
        return torch.nn.functional.cross_entropy(outputs.logits, labels)

    functions = {"compute_loss_func": loss, "compute_metrics": accuracy}
    found, expected_metrics = (
        Trainer(one, arguments, DataCollatorWithPadding(tokenizer), **functions).evaluate(labelled)
        for one in (model, eager)
    )
    for name in ("eval_loss", "eval_accuracy"):
        assert found[name] == pytest.approx(expected_metrics[name], abs=1e-4)
    encoded = tokenizer(TEXTS, padding=True, return_tensors="pt")
    prepared = Accelerator(cpu=True).prepare(model)
    np.testing.assert_allclose(prepared(**encoded).logits, expected, atol=1e-4)
    with pytest.raises(FixedGraphError, match=r"its state_dict would be empty"):
        trainers[0].save_model(str(tmp_path / "saved"))


def test_what_callers_ask_an_eager_model(load):
    """Its place, its device and its dtype are told; what a compiled model has not is said to be missing, as Python asks."""
    model, eager, _ = load("text-classification")
    assert model.name_or_path == str(model.model_save_dir)
    first, wanted = next(model.parameters()), next(eager.parameters())
    assert (first.device, first.dtype, first.numel(), first.requires_grad) == (wanted.device, wanted.dtype, 0, False)
    model.tie_weights()
    for name in ("resize_token_embeddings", "get_input_embeddings", "num_parameters", "gradient_checkpointing_enable"):
        assert hasattr(eager, name)
        assert not hasattr(model, name)
        with pytest.raises(AttributeError) as error:
            getattr(model, name)
        assert str(error.value) == (
            f"NeuronModelForSequenceClassification has no {name}: it is compiled, and has no layers or weights to return or to "
            "change.\nTry: the eager model of the checkpoint, and compile what comes out if it was changed."
        )
    with pytest.raises(AttributeError, match="'NeuronModelForSequenceClassification' object has no attribute 'logit'"):
        _ = model.logit


def test_outputs_of_layers(load):
    """Compiled in, hidden states and attentions are tuples as in eager mode; otherwise asking for them is refused."""
    flags = {"output_hidden_states": True, "output_attentions": True}
    model, _, _ = load(
        "text-classification", compile_options=(*flags.items(), ("static", True), ("sequence_length", 16))
    )
    eager = eager_model(model.model_save_dir.parent, "text-classification", attn_implementation="eager")
    ids = torch.randint(5, 90, (3, 9), generator=torch.Generator().manual_seed(0))
    outputs = model(input_ids=ids)
    with torch.no_grad():
        expected = eager(input_ids=ids, **flags)
    assert list(outputs) == list(expected)
    for name in ("hidden_states", "attentions"):
        assert isinstance(outputs[name], tuple)
        for found, wanted in zip(outputs[name], expected[name], strict=True):
            torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
    assert list(model(input_ids=ids, output_attentions=False)) == ["logits", "hidden_states"]
    assert len(model(input_ids=ids, return_dict=False)) == 3
    plain, _, _ = load("text-classification")
    with pytest.raises(InputError, match=r"compiled without attentions.\nTry: compile with output_attentions=True"):
        plain(input_ids=ids, output_attentions=True)


@pytest.mark.parametrize("task", ["token-classification", "feature-extraction"])
def test_outputs_that_the_configuration_asks_for(backend, tmp_path, task):
    """What the eager model returns of each layer by itself, ours does too, unless the options say otherwise."""
    path = tiny_encoder(tmp_path / "checkpoint", "distilbert", task)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"output_hidden_states": True, "output_attentions": True}))
    eager = eager_model(path, task, attn_implementation="eager")
    ids = torch.randint(5, 90, (3, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = eager(input_ids=ids)
    for name, given, kept in (
        ("as it is", {}, list(expected)),
        ("without", {"output_attentions": False}, [name for name in expected if name != "attentions"]),
    ):
        neuronkit.compile(path, tmp_path / name, task=task, backend="recording", cache=False, **given)
        outputs = neuronkit.load(tmp_path / name)(input_ids=ids)
        assert list(outputs) == kept
        for one in kept:
            torch.testing.assert_close(outputs[one], expected[one], atol=1e-4, rtol=0)


def test_tuples_that_the_configuration_asks_for(load):
    """They do not reach the graph, nor what the compiled model returns."""
    model, eager, _ = load("text-classification", return_dict=False)
    ids = torch.randint(5, 90, (3, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        (expected,) = eager(input_ids=ids)
    torch.testing.assert_close(model(input_ids=ids).logits, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(model(input_ids=ids, return_dict=False), (expected,), atol=1e-4, rtol=0)


@pytest.mark.parametrize("task", ["text-classification", "question-answering", "sentence-similarity"])
def test_a_tokenizer_without_padding(load, backend, tmp_path, task):
    """Its texts are padded with what the graph is padded with: here with what stands in the configuration."""
    padded, _, _ = load(task, "roberta")
    path = shutil.copytree(padded.model_save_dir.parent, tmp_path / "checkpoint", ignore=shutil.ignore_patterns("out"))
    settings = json.loads((path / "tokenizer_config.json").read_text())
    assert settings.pop("pad_token") == "[PAD]"
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    neuronkit.compile(path, tmp_path / "out", task=task, backend="recording", cache=False)
    model = neuronkit.load(tmp_path / "out")
    assert model.tokenizer.pad_token_id == padded.tokenizer.pad_token_id == 1
    for given in (TEXTS[0], TEXTS):
        call = {"text": given}
        if task == "question-answering":
            call = {"question": given, "context": given}
        np.testing.assert_equal(neuronkit.pipeline(model)(**call), neuronkit.pipeline(padded)(**call))


def test_inputs(load):
    """By name; converted where nothing is lost; refused with a reason otherwise."""
    model, eager, _ = load("question-answering", "distilbert")
    ids = torch.randint(5, 90, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = eager(input_ids=ids)
    for extra in (
        {},
        {"token_type_ids": torch.zeros_like(ids)},
        {"start_positions": torch.ones(2), "end_positions": torch.ones(2)},
        {"attention_mask": torch.ones(2, 9, dtype=torch.bool)},
        {"attention_mask": torch.ones(2, 9)},
        {"attention_mask": torch.ones(2, 9, dtype=torch.float16)},
    ):
        outputs = model(input_ids=ids.to(torch.int32), **extra)
        assert list(outputs) == ["start_logits", "end_logits"]
        torch.testing.assert_close(outputs[0], expected.start_logits, atol=1e-4, rtol=0)
        torch.testing.assert_close(outputs.end_logits, expected.end_logits, atol=1e-4, rtol=0)
    for wrong, message in (
        ({"input_ids": ids.float()}, "input_ids must be of dtype int64 (got float32)"),
        (
            {"input_ids": ids, "attention_mask": torch.full((2, 9), 0.5)},
            "attention_mask must be of dtype int64 (got float32)",
        ),
        ({"input_ids": ids[0]}, "input_ids must have 2 dimensions"),
        ({"input_ids": ids[:0]}, "input_ids is empty along 'batch'"),
        ({}, "needs the input 'input_ids'"),
        (
            {"input_ids": ids, "labels": ids},
            "labels are for training: a compiled model computes no loss.\nTry: without them; a Trainer evaluates with "
            "compute_loss_func=f, where f(outputs, labels, num_items_in_batch) returns the loss.",
        ),
        ({"input_ids": ids, "inputs_embeds": ids}, "takes attention_mask, input_ids, and no inputs_embeds"),
        ({"input_ids": ids.repeat(1, 8)}, "input_ids has 72 along 'sequence', and the largest bucket has 64"),
    ):
        with pytest.raises(InputError) as error:
            model(**wrong)
        assert message in str(error.value)
    with pytest.raises(TypeError, match="positional arguments"):  # the eager model takes other things there
        model(ids, torch.ones_like(ids), None, torch.arange(9).expand(2, 9))


@pytest.mark.parametrize(
    ("architecture", "name", "value", "size"),
    [
        ("bert", "input_ids", 152, 152),
        ("bert", "input_ids", -1, 152),
        ("bert", "token_type_ids", 2, 2),
        ("xlm", "token_type_ids", 200, 152),
    ],
)
def test_numbers_that_stand_for_nothing(load, architecture, name, value, size):
    """They never reach the graph: machine code that meets one ends the process."""
    model, _, _ = load("text-classification", architecture)
    assert model.config.vocab_size == 152
    inputs = {"input_ids": torch.full((2, 5), 7), "token_type_ids": torch.zeros(2, 5, dtype=torch.int64)}
    inputs[name][1, 3] = value
    with pytest.raises(InputError) as error:
        model(**inputs)
    assert str(error.value) == f"{name} holds {value}, and must hold numbers from 0 to {size - 1}."


def test_names_of_options_are_suggested(load):
    """What was nearly an option is taken for one."""
    model, _, _ = load("text-classification")
    with pytest.raises(OptionError) as error:
        neuronkit.pipeline(model)(text="snow", topk=2)
    assert str(error.value) == "topk: unknown option. Did you mean top_k?"


def test_an_input_without_a_name(load):
    """The message has the names."""
    model, _, _ = load("text-classification")
    with pytest.raises(InputError) as error:
        neuronkit.pipeline(model)("snow")
    assert str(error.value) == (
        "A pipeline takes its inputs by name.\n"
        "Try: pipe(text=...), pipe(prompt=...) or pipe(question=..., context=...), as the task has it."
    )


def test_sequence_length_beyond_the_positions_is_refused(load):
    """RoBERTa's positions begin behind the padding's id, so that two of 66 are never used."""
    model, _, _ = load("text-classification", "roberta")
    assert model.limits["sequence"] == 64
    path = model.model_save_dir.parent
    with pytest.raises(neuronkit.OptionError, match=r"has positions for 64 tokens \(got 65\)"):
        neuronkit.compile(
            path, path / "longer", task="text-classification", sequence_length=65, backend="recording", cache=False
        )


@pytest.fixture(scope="module")
def sentences(backend, tmp_path_factory):
    """A sentence transformer: ours with fixed buckets, and the original."""
    from sentence_transformers import SentenceTransformer

    path = tiny_sentence_transformer(tmp_path_factory.mktemp("sentences"))
    shapes = {"sequence_length": [8, 16, 64], "batch_size": [1, 4]}
    neuronkit.compile(path, path / "out", backend="recording", cache=False, static=True, **shapes)
    return neuronkit.load(path / "out"), SentenceTransformer(str(path), device="cpu")


@pytest.mark.parametrize("given", ["snow", TEXTS, ["", *TEXTS * 5, " ".join(WORDS)]], ids=["text", "list", "many"])
def test_encode(sentences, given):
    """Order, kinds and options as in sentence-transformers."""
    model, original = sentences
    for options in ({}, {"normalize_embeddings": True}, {"batch_size": 3}, {"prompt": "who is "}, {"truncate_dim": 5}):
        found = model.encode(given, **options)
        assert isinstance(found, np.ndarray)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, original.encode(given, show_progress_bar=False, **options), atol=1e-5)
    tensor = model.encode(given, convert_to_tensor=True)
    torch.testing.assert_close(tensor, original.encode(given, convert_to_tensor=True), atol=1e-5, rtol=0)
    neither = model.encode(sentences=given, convert_to_numpy=False)
    assert isinstance(neither, torch.Tensor if isinstance(given, str) else list)
    tokens = model.encode(given, output_value="token_embeddings")
    expected = original.encode(given, output_value="token_embeddings")
    if isinstance(given, str):
        tokens, expected = [tokens], [expected]
    for one, other in zip(tokens, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_fewer_features(tmp_path):
    """A checkpoint trained for fewer features says so, and callers ask for others, as in sentence-transformers."""
    from sentence_transformers import SentenceTransformer

    path = tiny_sentence_transformer(tmp_path)
    settings = path / "config_sentence_transformers.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "truncate_dim": 7}))
    neuronkit.compile(path, tmp_path / "out", backend="recording", cache=False, sequence_length=64)
    model, original = neuronkit.load(tmp_path / "out"), SentenceTransformer(str(path), device="cpu")
    pipe = neuronkit.pipeline(tmp_path / "out")
    assert model.embedding_dimension == original.get_embedding_dimension() == 7
    for options in ({}, {"truncate_dim": 9}, {"normalize_embeddings": True}):
        np.testing.assert_allclose(model.encode(TEXTS, **options), original.encode(TEXTS, **options), atol=1e-5)
    assert len(model.encode("snow", output_value=None)["sentence_embedding"]) == 7
    np.testing.assert_allclose(pipe(text=TEXTS), original.encode(TEXTS), atol=1e-5)
    np.testing.assert_allclose(pipe(text="snow", truncate_dim=3), original.encode("snow", truncate_dim=3), atol=1e-5)
    model.truncate_dim = original.truncate_dim = 5
    with model.truncate_embeddings(None), original.truncate_embeddings(None):
        np.testing.assert_allclose(model.encode(TEXTS), original.encode(TEXTS), atol=1e-5)
        assert model.embedding_dimension > 7
    np.testing.assert_allclose(model.encode([*TEXTS, "snow"]), original.encode([*TEXTS, "snow"]), atol=1e-5)


def test_evaluators(sentences):
    """Those of sentence-transformers find the same of a compiled model as of the original, as it is and wrapped."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator, TripletEvaluator

    model, original = sentences
    others = ["the bird sings", "a stone", "the old river"]
    for evaluate in (
        EmbeddingSimilarityEvaluator(TEXTS, others, [0.9, 0.5, 0.1], name="pairs"),
        TripletEvaluator(TEXTS, others, others[::-1], name="triplets"),
    ):
        expected = evaluate(original)
        for one in (model, SentenceTransformer(modules=[model])):
            assert evaluate(one) == pytest.approx(expected, abs=1e-4)
    assert {"pairs_spearman_cosine", "triplets_cosine_accuracy"} <= set(model.model_card_data.metrics)


def test_older_names(sentences):
    """What callers of sentence models have asked for over the years."""
    model, original = sentences
    assert model.get_sentence_embedding_dimension() == original.get_embedding_dimension() == 16
    assert model.get_max_seq_length() == model.max_seq_length
    with model.truncate_sentence_embeddings(5):
        assert model.get_sentence_embedding_dimension() == model.encode("snow").shape[0] == 5
    positional = (None, None, 2, False, "sentence_embedding", "float32", True, False, None, True)
    for method in ("encode", "encode_query", "encode_document"):
        found, expected = (getattr(one, method)(TEXTS, *positional) for one in (model, original))
        np.testing.assert_allclose(found, expected, atol=1e-5)
    features = model.preprocess(TEXTS)
    added = model.forward(features)
    assert set(added) == {*features, "token_embeddings", "sentence_embedding"}
    assert torch.equal(added["sentence_embedding"], model(features)["sentence_embedding"])
    assert torch.equal(added["sentence_embedding"], model.forward(**features).sentence_embedding)
    np.testing.assert_array_equal(model.encode("snow", precision=None), model.encode("snow"))


def test_encode_other_values(sentences):
    """Everything at once, nothing at all, and the errors."""
    model, _ = sentences
    both = model.encode(TEXTS, output_value=None, show_progress_bar=True)
    assert set(both[0]) >= {"input_ids", "attention_mask", "token_embeddings", "sentence_embedding"}
    assert len(both[0]["input_ids"]) == len(both[0]["token_embeddings"])
    assert model.encode([]).shape == (0, 16)
    assert model.encode([], convert_to_tensor=True).shape == (0, 16)
    for options, message in (
        ({"precision": "int4"}, r"precision must be one of float32, int8, uint8, binary, ubinary \(got 'int4'\)"),
        (
            {"precision": "int8", "output_value": "token_embeddings"},
            r"only sentence embeddings are quantized \(got 'int8' for 'token_embeddings'\)",
        ),
        ({"output_value": "words"}, "output_value must be"),
        ({"batch_size": 0}, r"batch_size must be a whole number of at least 1 \(got 0\)"),
        ({"batch_size": None}, r"batch_size must be a whole number of at least 1 \(got None\)"),
        ({"prompt_name": "song"}, "there is no prompt 'song'. Prompts: query, document."),
        ({"pool": {}}, "pool: a compiled model runs in the process that it is called in, on all of its cores."),
        ({"chunk_size": 8}, "chunk_size: a compiled model runs in the process that it is called in"),
        ({"device": ["cpu", "cpu"]}, "device: a compiled model runs in the process that it is called in"),
    ):
        with pytest.raises(InputError, match=message):
            model.encode(TEXTS, **options)


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
def test_precision(sentences, precision):
    """Embeddings in fewer bits are those of sentence-transformers; on the edge of two numbers rounding decides."""
    model, original = sentences
    found, expected = (one.encode(TEXTS, precision=precision) for one in (model, original))
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, atol=0 if "binary" in precision else 1)
    tensor = model.encode(TEXTS, precision=precision, convert_to_tensor=True)
    np.testing.assert_array_equal(tensor.numpy(), found)
    assert model.encode([], precision=precision).shape == (0, 16)


@pytest.mark.parametrize(
    "saved",
    [
        {"prompts": {"query": "who lives near ", "song": "sing "}, "default_prompt_name": "song"},
        {"prompts": {"passage": "the "}, "similarity_fn_name": "euclidean"},
        {},
    ],
    ids=["query", "passage", "none"],
)
def test_prompts_and_similarity(backend, tmp_path, saved):
    """Queries and documents have prompts of their own, and embeddings are compared as the checkpoint says."""
    from sentence_transformers import SentenceTransformer, SimilarityFunction

    path = tiny_sentence_transformer(tmp_path / "checkpoint", normalize=False)
    file = path / "config_sentence_transformers.json"
    settings = {name: value for name, value in json.loads(file.read_text()).items() if name not in SAVED}
    file.write_text(json.dumps({**settings, **saved}))
    neuronkit.compile(path, tmp_path / "out", backend="recording", cache=False, sequence_length=64)
    model, original = neuronkit.load(tmp_path / "out"), SentenceTransformer(str(path), device="cpu")
    assert model.prompts == original.prompts
    assert model.default_prompt_name == original.default_prompt_name
    for method, options in (
        ("encode", {}),
        ("encode", {"prompt_name": "query"}),
        ("encode", {"prompt_name": "document"}),
        ("encode_query", {}),
        ("encode_document", {}),
        ("encode_query", {"prompt": "far ", "normalize_embeddings": True}),
        ("encode_document", {"prompt_name": "query", "convert_to_tensor": True}),
    ):
        found, expected = (getattr(one, method)(TEXTS, **options) for one in (model, original))
        torch.testing.assert_close(torch.as_tensor(found), torch.as_tensor(expected), atol=1e-5, rtol=0)
    embeddings = original.encode(TEXTS)
    assert model.similarity_fn_name == original.similarity_fn_name
    for name in (original.similarity_fn_name, "dot", SimilarityFunction.MANHATTAN, None):
        model.similarity_fn_name = original.similarity_fn_name = name
        assert model.similarity_fn_name == original.similarity_fn_name
        for method in ("similarity", "similarity_pairwise"):
            found, expected = (getattr(one, method)(embeddings, embeddings[::-1].copy()) for one in (model, original))
            assert torch.equal(found, expected)
    model.prompts["query"] = original.prompts["query"] = "changed "
    np.testing.assert_allclose(model.encode_query("snow"), original.encode_query("snow"), atol=1e-5)


def test_cross_encoder(backend, tmp_path):
    """What sentence-transformers saves of a cross-encoder is the classifier of pairs that it is, although it lists modules."""
    from sentence_transformers import CrossEncoder

    config = {"id2label": {0: "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    path = tiny_encoder(tmp_path / "plain", "bert", "text-classification", **config)
    original = CrossEncoder(str(path), device="cpu")
    original.save(str(tmp_path / "saved"), create_model_card=False)
    artifact = neuronkit.compile(tmp_path / "saved", tmp_path / "out", backend="recording", cache=False)
    assert artifact.manifest.task == "text-classification"
    found = neuronkit.pipeline(tmp_path / "out")(text=[TEXTS[0]] * 2, text_pair=TEXTS[1:])
    expected = original.predict([(TEXTS[0], text) for text in TEXTS[1:]])
    np.testing.assert_allclose([one["score"] for one in found], expected, atol=1e-5)
    original[0].model = neuronkit.load(tmp_path / "out")
    np.testing.assert_allclose(original.predict([(TEXTS[0], text) for text in TEXTS[1:]]), expected, atol=1e-5)


def test_similarity_without_sentence_transformers(sentences, monkeypatch):
    """What is missing is named, and so is a name that nobody knows."""
    model, _ = sentences
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(InputError, match="precision is computed by sentence-transformers, which is not installed"):
        model.encode(TEXTS, precision="binary")
    with pytest.raises(InputError) as error:
        model.similarity([[1.0]], [[1.0]])
    assert str(error.value) == (
        "similarity is computed by sentence-transformers, which is not installed.\n"
        'Try: pip install "neuronkit[sentence-transformers]"'
    )
    monkeypatch.setattr(model, "similarity_fn_name", "maxsim")
    with pytest.raises(InputError) as error:
        model.similarity([[1.0]], [[1.0]])
    assert str(error.value) == ("similarity_fn_name must be one of cosine, dot, euclidean, manhattan (got 'maxsim').")


def test_short_texts_run_in_small_buckets(backend, sentences):
    """Texts go to the smallest bucket that holds them, and fill up what a larger one has room for."""
    model, _ = sentences
    backend.shapes.clear()
    model.encode(["snow"] * 9 + [" ".join(WORDS[:10])] * 2 + [" ".join(WORDS[:40])])
    assert sorted(backend.shapes) == [(1, 8), (1, 16), (1, 16), (1, 64), (4, 8), (4, 8)]


@pytest.mark.parametrize("task", ["feature-extraction", "sentence-similarity"])
def test_first_module_of_a_sentence_transformer(load, task, tmp_path):
    """A SentenceTransformer over our model embeds as one over the eager model, and survives saving."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules

    model, _, _ = load(task, compile_options=(("sequence_length", 32),))
    path = model.model_save_dir.parent
    first = modules.Transformer(str(path), max_seq_length=32)
    expected = SentenceTransformer(modules=[first, modules.Pooling(16), modules.Normalize()], device="cpu")
    ours = SentenceTransformer(
        modules=[model, modules.Pooling(model.get_word_embedding_dimension()), modules.Normalize()]
    )
    texts = [*TEXTS, " ".join(WORDS)]
    np.testing.assert_allclose(ours.encode(texts), expected.encode(texts), atol=1e-5)
    np.testing.assert_allclose(ours.encode(texts, prompt="who "), expected.encode(texts, prompt="who "), atol=1e-5)
    with pytest.raises(
        InputError, match="processing_kwargs: a compiled model tokenizes as the checkpoint's settings say"
    ):
        model.preprocess(texts, processing_kwargs={"text": {"max_length": 4}})
    with pytest.raises(InputError, match="inputs must be a text or a list of texts \\(it has an item of type tuple\\)"):
        ours.encode([("snow", "rain")], prompt="who ")
    assert ours.max_seq_length == 32
    assert ours.get_embedding_dimension() == 16
    ours.max_seq_length = expected.max_seq_length = 12
    np.testing.assert_allclose(ours.encode(texts), expected.encode(texts), atol=1e-5)
    model.max_seq_length = 32
    ours.save(str(tmp_path / "saved"), create_model_card=False)
    again = SentenceTransformer(str(tmp_path / "saved"), device="cpu", trust_remote_code=True)
    np.testing.assert_allclose(again.encode(texts), ours.encode(texts), atol=1e-6)
