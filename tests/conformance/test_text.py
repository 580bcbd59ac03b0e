"""Every text plugin keeps every promise: one architecture in full, the others as far as no checkpoint is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from neuronkit.testing import PluginConformance
from tests.conformance.keys import builtin_keys
from tests.generation.checkpoints import byte_tokenizer, tiny_decoder
from tests.plugins.checkpoints import tiny_sentence_transformer
from tests.plugins.encoders import tiny_encoder

pytestmark = pytest.mark.xdist_group("text conformance")  # one process imports and keeps what they share


class Encoder(PluginConformance):
    """A BERT of one layer with the task's head."""

    task = ""
    shapes = {"batch_size": 2, "sequence_length": 24}

    def checkpoint(self, path: Path) -> Path:
        return tiny_encoder(path, "bert", self.task)

    def raw(self) -> dict[str, Any]:
        return {"text": "the cat is in the house"}


class TestFeatureExtraction(Encoder):
    task = "feature-extraction"
    key = builtin_keys("bert.feature-extraction")


class TestFillMask(Encoder):
    task = "fill-mask"
    key = builtin_keys("bert.fill-mask")

    def raw(self):
        return {"text": "the cat is in the [MASK]"}

    def bad_raw(self):
        return [{"text": "nothing to fill"}]


class TestMultipleChoice(Encoder):
    task = "multiple-choice"
    key = builtin_keys("bert.multiple-choice")
    shapes = {"batch_size": 2, "sequence_length": 24, "num_choices": 3}

    def raw(self):
        return {"text": "where is the cat", "choices": ["in the house", "under the river"]}


class TestQuestionAnswering(Encoder):
    task = "question-answering"
    key = builtin_keys("bert.question-answering")

    def raw(self):
        return {"question": "where is the cat", "context": "the cat is in the house"}

    def bad_raw(self):
        return [{"question": "", "context": "the cat"}, {"question": "where"}]


class TestSentenceSimilarity(Encoder):
    key = builtin_keys("bert.sentence-similarity")

    def checkpoint(self, path):
        return tiny_sentence_transformer(path)


class TestTextClassification(Encoder):
    task = "text-classification"
    key = builtin_keys("bert.text-classification")

    def bad_raw(self):
        return [{"text": "the cat", "top_k": 0}]


class TestTextGeneration(PluginConformance):
    key = builtin_keys("gpt2.text-generation")
    shapes = {"batch_size": 2, "sequence_length": 24}

    def checkpoint(self, path):
        byte_tokenizer(tiny_decoder(path))
        return path

    def raw(self):
        return {"prompt": "a red cat", "max_new_tokens": 3}

    def bad_raw(self):
        return [{"prompt": ""}, {"prompt": 3}]


class TestTokenClassification(Encoder):
    task = "token-classification"
    key = builtin_keys("bert.token-classification")
