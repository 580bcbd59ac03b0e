"""Compiled decoders that no test changes, and eager ones to compare with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from neuronkit import NeuronModelForCausalLM
from neuronkit.testing.recording import offer_recording_backend
from tests.generation.checkpoints import byte_tokenizer, tiny_decoder

ROWS, LENGTH = 4, 40

Maker = Callable[..., Any]


@pytest.fixture(scope="session")
def checkpoint_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function from an architecture to a checkpoint of it, made once."""

    @cache
    def make(architecture: str = "gpt2") -> Path:
        path = tiny_decoder(tmp_path_factory.mktemp("decoder") / architecture, architecture)
        byte_tokenizer(path)
        return path

    return make


@pytest.fixture(scope="package")  # other packages' tests must not find the recording backend
def compiled(checkpoint_of: Callable[..., Path]) -> Iterator[Maker]:
    """A function from an architecture and options to a compiled model, made once; ``backend="recording"`` skips the export."""

    @cache
    def make(architecture: str = "gpt2", **options: Any) -> NeuronModelForCausalLM:
        given = {"batch_size": ROWS, "sequence_length": LENGTH, "optlevel": 1, **options}
        if "buckets" in given:
            given["sequence_length"] = list(given.pop("buckets"))
        return NeuronModelForCausalLM.from_pretrained(checkpoint_of(architecture), export=True, **given)

    with offer_recording_backend():
        yield make


@pytest.fixture(scope="session")
def eager(checkpoint_of: Callable[..., Path]) -> Maker:
    """A function from an architecture to transformers' own model."""
    from transformers import AutoModelForCausalLM

    return cache(lambda architecture="gpt2": AutoModelForCausalLM.from_pretrained(checkpoint_of(architecture)).eval())


@pytest.fixture
def model(compiled: Maker) -> NeuronModelForCausalLM:
    """GPT-2, four rows of forty tokens."""
    return compiled()


@pytest.fixture
def reference(eager: Maker) -> Any:
    """GPT-2 in transformers."""
    return eager()
