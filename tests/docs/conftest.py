"""Checkpoints under the names that the pages use, and compiling without a compiler."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def _bert(path: Path, model_class: str, **config: Any) -> None:
    import torch
    import transformers

    from tests.plugins.checkpoints import tiny_tokenizer

    tokenizer = tiny_tokenizer(max_length=512)
    settings = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        initializer_range=0.5,
        **config,
    )
    torch.manual_seed(0)
    getattr(transformers, model_class)(settings).save_pretrained(path)
    tokenizer.save_pretrained(path)


def _sentence_transformer(path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules

    _bert(path.parent / "backbone", "BertModel")
    transformer = modules.Transformer(str(path.parent / "backbone"))
    pooling = modules.Pooling(transformer.get_embedding_dimension(), pooling_mode="mean")
    SentenceTransformer(modules=[transformer, pooling], device="cpu").save(str(path), create_model_card=False)


def _decoder(path: Path) -> None:
    from tests.generation.checkpoints import byte_tokenizer, tiny_decoder

    tiny_decoder(path, n_positions=256)
    byte_tokenizer(path)


def _stable_diffusion(path: Path) -> None:
    from tests.image.checkpoints import tiny_stable_diffusion

    tiny_stable_diffusion(path)


def _controlnet(path: Path) -> None:
    from tests.image.checkpoints import tiny_controlnet

    tiny_controlnet().save_pretrained(path)


def _amused(path: Path) -> None:
    from tests.image.checkpoints import tiny_amused

    tiny_amused(path)


LABELS = {"id2label": {0: "NEGATIVE", 1: "POSITIVE"}}
ENTITIES = {"id2label": dict(enumerate(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]))}
MAKERS: dict[str, Callable[[Path], None]] = {
    "amused/amused-256": _amused,
    "deepset/bert-base-cased-squad2": lambda path: _bert(path, "BertForQuestionAnswering"),
    "distilbert/distilbert-base-uncased-finetuned-sst-2-english": lambda path: _bert(
        path, "BertForSequenceClassification", **LABELS
    ),
    "dslim/bert-base-NER": lambda path: _bert(path, "BertForTokenClassification", **ENTITIES),
    "google-bert/bert-base-uncased": lambda path: _bert(path, "BertForPreTraining"),
    "lllyasviel/sd-controlnet-canny": _controlnet,
    "my-team/bert-swag": lambda path: _bert(path, "BertForMultipleChoice"),
    "openai-community/gpt2": _decoder,
    "sentence-transformers/all-MiniLM-L6-v2": _sentence_transformer,
    "stable-diffusion-v1-5/stable-diffusion-v1-5": _stable_diffusion,
}
"""What makes a small random checkpoint in the place of each that the pages name."""


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the directory of the stand-in for a hub id, made once."""
    root = tmp_path_factory.mktemp("hub")

    def make(name: str) -> Path:
        if not (root / name).is_dir():
            MAKERS[name](root / name)
        return root / name

    return make


@pytest.fixture
def workplace(checkpoints: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """Return a directory for a page, with the checkpoints that its text names."""

    def make(text: str) -> Path:
        for name in MAKERS:
            if name in text:
                (tmp_path / name).parent.mkdir(exist_ok=True)
                (tmp_path / name).symlink_to(checkpoints(name), target_is_directory=True)
        return tmp_path

    return make


@pytest.fixture
def exported_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make 1 the default of `optlevel`: graphs are exported and not compiled."""
    from neuronkit.options import CompileOptions

    monkeypatch.setitem(CompileOptions.__init__.__kwdefaults__, "optlevel", 1)


@pytest.fixture
def not_compiled(exported_only: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """
    Let the cpu backend keep modules instead of compiling them: the pages are tested here, and it is elsewhere.

    All the rest of the journey is as ever: the gate, the artifact, buckets, padding and hooks.
    """
    import torch

    from neuronkit.backends.base import CompiledGraph
    from neuronkit.backends.cpu.backend import CpuBackend

    def keep(self: CpuBackend, graph: Any, bucket: Any, module: Any, options: Any, directory: Path) -> CompiledGraph:
        MODULES.append(module)
        (directory / "module.txt").write_text(str(len(MODULES) - 1))
        return CompiledGraph(directory, "module.txt")

    def find(self: CpuBackend, directory: Path, compiled: Any, weights: Any) -> Callable[[Any], Any]:
        module = MODULES[int((directory / compiled.entry).read_text())]
        return torch.no_grad()(lambda tensors: module(*tensors))

    monkeypatch.setattr(CpuBackend, "compile", keep)
    monkeypatch.setattr(CpuBackend, "load", find)
    monkeypatch.setenv("NEURONKIT_CACHE", str(tmp_path / "cache"))


MODULES: list[Any] = []
"""What `not_compiled` keeps, as long as the process lives."""
