"""
A side of `benchmarks.embedding`. Arguments: side, checkpoint, work directory.

Functions: ``prepare``, ``encode`` (seconds for all texts, `count` times), ``first`` (the first embeddings).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.serving import resident, serve, timed
from benchmarks.sentences import texts

side, checkpoint, work = sys.argv[1:]
state: dict[str, Any] = {}
TEXTS = texts()


def prepare_sentence_transformers(backend: str = "torch") -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(checkpoint, device="cpu", backend=backend)
    state["encode"] = lambda items: model.encode(items, batch_size=32, show_progress_bar=False)


def prepare_neuronkit(**options: Any) -> None:
    import neuronkit

    output = Path(work) / "neuronkit"
    neuronkit.compile(
        checkpoint, output, task="sentence-similarity", sequence_length=256, batch_size=32, force=True, **options
    )
    model = neuronkit.load(output)
    state["encode"] = lambda items: model.encode(items, batch_size=32)


def prepare_pooled(kind: str) -> None:
    """Pool the outputs of an optimum model by hand, as its documentation shows; batches of similar length."""
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    if kind == "onnx":
        from optimum.onnxruntime import ORTModelForFeatureExtraction

        model = ORTModelForFeatureExtraction.from_pretrained(checkpoint, export=True)
    else:
        from optimum.intel import OVModelForFeatureExtraction

        model = OVModelForFeatureExtraction.from_pretrained(
            checkpoint, export=True, load_in_8bit=False, ov_config={"INFERENCE_PRECISION_HINT": "f32"}
        )

    def encode(items: list[str]) -> np.ndarray:
        order = sorted(range(len(items)), key=lambda index: -len(items[index]))
        found: list[np.ndarray] = [np.empty(0)] * len(items)
        for begin in range(0, len(order), 32):
            rows = order[begin : begin + 32]
            inputs = tokenizer(
                [items[row] for row in rows], padding=True, truncation=True, max_length=256, return_tensors="pt"
            )
            states = model(**inputs).last_hidden_state
            mask = inputs["attention_mask"].unsqueeze(-1).float()
            pooled = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
            for row, embedding in zip(rows, pooled.numpy(), strict=True):
                found[row] = embedding
        return np.stack(found)

    state["encode"] = encode


def prepare() -> dict[str, float]:
    begin = time.perf_counter()
    {
        "sentence-transformers": prepare_sentence_transformers,
        "neuronkit": prepare_neuronkit,
        "onnx": lambda: prepare_pooled("onnx"),
        "openvino": lambda: prepare_pooled("openvino"),
    }[side]()
    return {"prepare_s": time.perf_counter() - begin}


def encode(count: int, texts: int) -> list[float]:
    return timed(lambda: state["encode"](TEXTS[:texts]), count)


def first(texts: int = 8) -> list[list[float]]:
    return np.asarray(state["encode"](TEXTS[:texts])).tolist()


serve({"prepare": prepare, "encode": encode, "first": first, "resident": resident})
