"""
A side of `benchmarks.encoder`. Arguments: side, checkpoint, work directory, precision (``fp32`` or ``bf16``).

Functions: ``prepare`` (export or compile, then load; returns seconds), ``sizes`` (set batch and sequence), ``run``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers.serving import resident, serve, timed

side, checkpoint, work, precision = sys.argv[1:]
state: dict[str, Any] = {}


def prepare_eager() -> dict[str, Any]:
    from transformers import AutoModelForQuestionAnswering

    begin = time.perf_counter()
    model = AutoModelForQuestionAnswering.from_pretrained(checkpoint).eval()
    loaded = time.perf_counter()

    @torch.inference_mode()
    def run(inputs: dict[str, torch.Tensor]) -> Any:
        return model(**inputs).start_logits

    state["run"] = run
    return {"load_s": loaded - begin}


def prepare_neuronkit() -> dict[str, Any]:
    import transformers.models.bert.modeling_bert  # noqa: F401  # imports do not count

    import neuronkit
    import neuronkit.compilation.journey
    from neuronkit.loading import load_shell

    options: dict[str, Any] = {"auto_cast": "matmul"} if precision == "bf16" else {}
    output = Path(work) / f"neuronkit-{precision}"
    begin = time.perf_counter()
    neuronkit.compile(
        checkpoint, output, task="question-answering", batch_size=8, sequence_length=128, force=True, **options
    )
    compiled = time.perf_counter()
    before = resident()["now"]
    loading = time.perf_counter()
    model = load_shell(output)
    loaded = time.perf_counter()
    state["run"] = lambda inputs: model(**inputs).start_logits
    state["model"] = model
    return {"export_s": compiled - begin, "load_s": loaded - loading, "load_bytes": resident()["now"] - before}


def prepare_onnx() -> dict[str, Any]:
    from optimum.onnxruntime import ORTModelForQuestionAnswering

    output = Path(work) / "onnx"
    begin = time.perf_counter()
    ORTModelForQuestionAnswering.from_pretrained(checkpoint, export=True).save_pretrained(output)
    exported = time.perf_counter()
    before = resident()["now"]
    loading = time.perf_counter()
    model = ORTModelForQuestionAnswering.from_pretrained(output)
    loaded = time.perf_counter()
    state["run"] = lambda inputs: model(**inputs).start_logits
    return {"export_s": exported - begin, "load_s": loaded - loading, "load_bytes": resident()["now"] - before}


def prepare_openvino() -> dict[str, Any]:
    from optimum.intel import OVModelForQuestionAnswering

    output = Path(work) / "openvino"
    config = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32"}
    begin = time.perf_counter()
    OVModelForQuestionAnswering.from_pretrained(
        checkpoint, export=True, ov_config=config, load_in_8bit=False
    ).save_pretrained(output)
    exported = time.perf_counter()
    before = resident()["now"]
    loading = time.perf_counter()
    model = OVModelForQuestionAnswering.from_pretrained(output, ov_config=config)
    model.compile()
    loaded = time.perf_counter()
    state["run"] = lambda inputs: model(**inputs).start_logits
    return {"export_s": exported - begin, "load_s": loaded - loading, "load_bytes": resident()["now"] - before}


def sizes(batch: int, sequence: int) -> None:
    generator = torch.Generator().manual_seed(0)
    state["inputs"] = {
        "input_ids": torch.randint(5, 100, (batch, sequence), generator=generator),
        "attention_mask": torch.ones(batch, sequence, dtype=torch.int64),
        "token_type_ids": torch.zeros(batch, sequence, dtype=torch.int64),
    }


def run(count: int) -> list[float]:
    return timed(lambda: state["run"](state["inputs"]), count)


def logits() -> list[float]:
    return state["run"](state["inputs"]).float().flatten()[:64].tolist()


def raw(count: int) -> list[float]:
    """Time the compiled graph alone."""
    loaded = next(iter(state["model"].session.graphs.values()))
    tensors = [state["inputs"][input.name] for input in loaded.graph.inputs]
    runner = loaded.runner(loaded.buckets[0])
    return timed(lambda: runner(tensors), count)


serve(
    {
        "prepare": {
            "eager": prepare_eager,
            "neuronkit": prepare_neuronkit,
            "onnx": prepare_onnx,
            "openvino": prepare_openvino,
        }[side],
        "sizes": sizes,
        "run": run,
        "raw": raw,
        "logits": logits,
        "resident": resident,
    }
)
