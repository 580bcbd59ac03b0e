"""The plugin keeps every promise that neuronkit's kit checks."""

from pathlib import Path

from acme_langid.tokenizer import ByteTokenizer
from acme_langid.train import train
from neuronkit.testing import PluginConformance


class TestByteConv(PluginConformance):
    key = "byte-conv.text-classification"
    shapes = {"batch_size": 2, "sequence_length": 24}
    result = {"label": str, "score": float}

    def checkpoint(self, path: Path) -> Path:
        train(steps=0).save(path)
        ByteTokenizer().save(path)
        return path

    def raw(self):
        return {"text": "Où est la bibliothèque, et quand ouvre-t-elle ?"}

    def bad_raw(self):
        return [{"text": ""}, {"text": []}, {"text": ["a text", 7]}, {"text": "a text", "top_k": 0}]
