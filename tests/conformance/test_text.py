"""Every text plugin keeps every promise: one architecture in full, the others as far as no checkpoint is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neuronkit.testing import PluginConformance
from tests.conformance.keys import keys_of_object
from tests.generation.checkpoints import byte_tokenizer, tiny_decoder
from tests.plugins.checkpoints import tiny_sentence_transformer
from tests.plugins.encoders import tiny_encoder


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
    key = keys_of_object("bert.feature-extraction")


class TestFillMask(Encoder):
    task = "fill-mask"
    key = keys_of_object("bert.fill-mask")

    def raw(self):
        return {"text": "the cat is in the [MASK]"}

    def bad_raw(self):
        return [{"text": "nothing to fill"}]


class TestMultipleChoice(Encoder):
    task = "multiple-choice"
    key = keys_of_object("bert.multiple-choice")
    shapes = {"batch_size": 2, "sequence_length": 24, "num_choices": 3}

    def raw(self):
        return {"text": "where is the cat", "choices": ["in the house", "under the river"]}


class TestQuestionAnswering(Encoder):
    task = "question-answering"
    key = keys_of_object("bert.question-answering")

    def raw(self):
        return {"question": "where is the cat", "context": "the cat is in the house"}

    def bad_raw(self):
        return [{"question": "", "context": "the cat"}, {"question": "where"}]


class TestSentenceSimilarity(Encoder):
    key = keys_of_object("bert.sentence-similarity")

    def checkpoint(self, path):
        return tiny_sentence_transformer(path)


class TestTextClassification(Encoder):
    task = "text-classification"
    key = keys_of_object("bert.text-classification")

    def bad_raw(self):
        return [{"text": "the cat", "top_k": 0}]


class TestTextGeneration(PluginConformance):
    key = keys_of_object("gpt2.text-generation")
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
    key = keys_of_object("bert.token-classification")
