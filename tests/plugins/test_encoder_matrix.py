"""Every architecture with every task: rows equal to eager, whatever the batch, the length, the padding, the buckets."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import torch

import neuronkit
from neuronkit.plugins import get_registry
from neuronkit.testing.recording import offer_recording_backend
from tests.plugins.encoder_table import RESULTS, TABLE, render
from tests.plugins.encoders import AUTO_CLASSES, CONFIGS, PAIRS, eager_model, example, mapping_of, tiny_encoder
from tests.versions import at_least

NEIGHBOURS = ("convbert", "mobilebert")
"""Architectures in which a token sees its neighbours past the mask, in eager mode too."""
LAST = ("roformer", "multiple-choice")
"""A head that reads the last position, which in eager mode may be padding."""
DEBERTA_V3 = {"conv_kernel_size": 0, "type_vocab_size": 0}
"""What DeBERTa-v3 leaves out of version 2: the convolution and the token types."""
ATOL = 1e-4


@pytest.fixture(scope="module")
def backend():
    """The backend that runs modules as they are."""
    with offer_recording_backend() as backend:
        yield backend


@pytest.fixture(scope="module")
def compiled(backend, tmp_path_factory):
    """A function from architecture, task and mode to a loaded model and the eager one, made once."""
    made = {}

    def make(architecture, task, *, static, **config):
        key = architecture, task, *config
        if key not in made:
            path = tiny_encoder(tmp_path_factory.mktemp("encoder"), architecture, task, **config)
            made.clear()
            made[key] = path, eager_model(path, task)
        path, eager = made[key]
        shapes = {"sequence_length": [8, 24], "batch_size": [1, 2]} if static else {"sequence_length": 64}
        shapes |= {"num_choices": 3} if task == "multiple-choice" else {}
        output = path.parent / f"{path.name}-{static}"
        neuronkit.compile(
            path, output, task=task, backend="recording", cache=False, static=static, force=True, **shapes
        )
        return neuronkit.load(output), eager

    return make


def difference(outputs, expected, rows=slice(None)):
    """Return the largest difference of any output."""
    assert list(outputs) == list(expected)
    return max((outputs[name][rows] - expected[name][rows]).abs().max().item() for name in expected)


@pytest.mark.parametrize("static", [False, True], ids=["dynamic", "static"])
@pytest.mark.parametrize(("architecture", "task"), PAIRS)
@torch.no_grad()
def test_equal_to_eager(compiled, architecture, task, static):
    """A row and several, with and without a mask, padded on either side; alone as well as among others."""
    model, eager = compiled(architecture, task, static=static)
    compare(model, eager, architecture, task)
    if architecture in NEIGHBOURS or (architecture, task) == LAST:
        return
    inputs = example(architecture, task, 3, 21, padding="right", seed=1)
    together = model(**inputs)
    for row in range(3):
        length = int(inputs["attention_mask"][row].flatten(0, -2).sum(-1).max()) if task == "multiple-choice" else None
        length = length or int(inputs["attention_mask"][row].sum())
        alone = eager(**{name: tensor[row : row + 1, ..., :length] for name, tensor in inputs.items()})
        for name, tensor in alone.items():
            own = together[name][row : row + 1]
            own = own[:, : tensor.shape[1]] if own.shape != tensor.shape else own
            assert (own - tensor).abs().max() < ATOL


@pytest.mark.parametrize("static", [False, True], ids=["dynamic", "static"])
@pytest.mark.parametrize("task", ["text-classification", "token-classification"])
@torch.no_grad()
def test_deberta_v3(compiled, task, static):
    """Nothing clears the masked positions, which attend to all alike: to those of the call, and not to the bucket's."""
    compare(*compiled("deberta-v2", task, static=static, **DEBERTA_V3), "deberta-v2", task)


def compare(model, eager, architecture, task):
    """Run rows of several lengths through both, with and without a mask, padded on either side."""
    for rows, length, side in ((1, 5, None), (3, 13, None), (1, 24, "right"), (3, 13, "right"), (3, 21, "left")):
        inputs = example(architecture, task, rows, length, padding=side, seed=length)
        unmasked = {"input_ids": inputs["input_ids"]}
        for given in [inputs, unmasked] if side else [inputs]:  # in some, padding counts without a mask too
            outputs = model(**given)
            if architecture == "modernbert":  # whose eager head cannot do without a mask
                given.setdefault("attention_mask", torch.ones_like(given["input_ids"]))
            expected = eager(**given)
            if task != "sentence-similarity":
                assert type(outputs) is type(expected)
            assert difference(outputs, expected) < ATOL


@pytest.mark.parametrize("static", [False, True], ids=["dynamic", "static"])
@pytest.mark.parametrize("architecture", NEIGHBOURS)
@torch.no_grad()
def test_padding_of_the_pipeline_is_not_seen_by_neighbours(compiled, architecture, static):
    """Texts that a pipeline pads together are embedded as alone, where eager batches of them would not be."""
    model, eager = compiled(architecture, "sentence-similarity", static=static)
    texts = ["the cat sleeps", "snow", "a big bird sings far far under the old red stone"]
    together = neuronkit.pipeline(model)(text=texts)
    for text, embedding in zip(texts, together, strict=True):
        expected = eager(**model.tokenizer(text, return_tensors="pt"))["sentence_embedding"][0]
        assert (torch.from_numpy(embedding) - expected).abs().max() < ATOL


REAL = {
    architecture: sorted(AUTO_CLASSES)[number % len(AUTO_CLASSES)]
    for number, architecture in enumerate(sorted(CONFIGS))
}
REAL |= {"esm": "fill-mask", "deberta": "text-classification"}


@pytest.mark.parametrize(("architecture", "task"), REAL.items())
@torch.no_grad()
def test_exported_with_dynamic_axes(tmp_path, architecture, task):
    """Every architecture exports with dynamic batch and sequence, the lengths 1 and 2 included."""
    if architecture == "deberta" and not at_least("torch", "2.10"):
        pytest.skip("torch 2.9 exports DeBERTa's attention span with fixed axes only")
    path = tiny_encoder(tmp_path / "checkpoint", architecture, task)
    shapes = {"num_choices": 3} if task == "multiple-choice" else {}
    artifact = neuronkit.compile(path, tmp_path / "out", task=task, optlevel=1, sequence_length=32, **shapes)
    assert artifact.manifest.validation.max_abs_diff < ATOL
    model, eager = neuronkit.load(tmp_path / "out"), eager_model(path, task)
    for rows, length, side in ((1, 1, None), (1, 2, None), (3, 13, "left")):
        inputs = example(architecture, task, rows, length, padding=side, seed=length)
        assert difference(model(**inputs), eager(**inputs)) < ATOL


def test_entry_points_are_the_mappings_of_transformers():
    """Each architecture has exactly the tasks that transformers defines for it."""
    declared = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["entry-points"]
    keys = {key for key in declared["neuronkit.models.v1"] if key.split(".")[1] in AUTO_CLASSES}
    assert keys == {
        f"{architecture}.{task}"
        for architecture in CONFIGS
        for task in AUTO_CLASSES
        if architecture in mapping_of(task)
    }
    assert keys == {f"{architecture}.{task}" for architecture, task in PAIRS}
    assert keys <= set(get_registry())


def test_table_is_current():
    """The page shows every pair and what was measured last."""
    results = json.loads(RESULTS.read_text())
    assert {(architecture, task) for architecture, tasks in results.items() for task in tasks} == set(PAIRS)
    assert TABLE.read_text() == render(results)
    assert all(found["status"] == "equal" for tasks in results.values() for found in tasks.values())
