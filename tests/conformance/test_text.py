"""Every text plugin keeps every promise, with one architecture each."""

from __future__ import annotations

from pathlib import Path

from neuronkit.testing import PluginConformance
from tests.generation.checkpoints import byte_tokenizer, tiny_decoder
from tests.plugins.checkpoints import tiny_bert


class TestQuestionAnswering(PluginConformance):
    key = "bert.question-answering"
    shapes = {"batch_size": 2, "sequence_length": 24}

    def checkpoint(self, path: Path) -> Path:
        return tiny_bert(path)

    def raw(self):
        return {"question": "where is the cat", "context": "the cat is in the house"}


class TestTextGeneration(PluginConformance):
    key = "gpt2.text-generation"
    shapes = {"batch_size": 2, "sequence_length": 24}

    def checkpoint(self, path: Path) -> Path:
        tiny_decoder(path)
        byte_tokenizer(path)
        return path

    def raw(self):
        return {"prompt": "a red cat", "max_new_tokens": 3}
