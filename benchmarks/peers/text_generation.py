"""
A side of `benchmarks.decode`. Arguments: side, checkpoint, work directory, precision (``fp32``, ``bf16`` or ``int8``).

Functions: ``prepare`` (export or compile for some rows, then load), ``prompts`` (set batch, length and new tokens),
``generate`` and, of neuronkit alone, ``loop``, ``step``, ``traffic``, ``queue``, ``waves``;
``stream`` and ``product`` measure the memory.
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


def prepare_eager(rows: int) -> dict[str, Any]:
    from transformers import AutoModelForCausalLM

    begin = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    state["model"] = model if precision == "fp32" else model.to(torch.bfloat16)
    return {"load_s": time.perf_counter() - begin}


def prepare_neuronkit(rows: int) -> dict[str, Any]:
    import transformers.models.gpt2.modeling_gpt2  # noqa: F401  # imports do not count

    import neuronkit
    from neuronkit import NeuronModelForCausalLM

    options: dict[str, Any] = {
        "fp32": {},
        "bf16": {"auto_cast": "matmul", "auto_cast_type": "bf16"},
        "int8": {"weights": "int8"},
    }[precision]
    state["rows"] = rows
    output = Path(work) / f"neuronkit-{precision}"
    begin = time.perf_counter()
    neuronkit.compile(
        checkpoint, output, task="text-generation", batch_size=rows, sequence_length=1024, force=True, **options
    )
    compiled = time.perf_counter()
    before = resident()["now"]
    loading = time.perf_counter()
    state["model"] = NeuronModelForCausalLM.from_pretrained(output)
    loaded = time.perf_counter()
    return {
        "export_s": compiled - begin,
        "load_s": loaded - loading,
        "load_bytes": _after_a_token() - before,
        "cache_bytes": sum(tensor.nbytes for tensor in state["model"].session.state.values()),
        "weight_bytes": sum(file.stat().st_size for file in output.rglob("*.safetensors")),
    }


def prepare_openvino(rows: int) -> dict[str, Any]:
    from optimum.intel import OVModelForCausalLM

    output = Path(work) / f"openvino-{precision}"
    config = {"INFERENCE_PRECISION_HINT": "f32" if precision == "fp32" else "bf16"}
    if precision != "int8":
        config["KV_CACHE_PRECISION"] = "f32" if precision == "fp32" else "bf16"
    begin = time.perf_counter()
    OVModelForCausalLM.from_pretrained(
        checkpoint, export=True, ov_config=config, load_in_8bit=precision == "int8", compile=False
    ).save_pretrained(output)
    exported = time.perf_counter()
    before = resident()["now"]
    loading = time.perf_counter()
    state["model"] = OVModelForCausalLM.from_pretrained(output, ov_config=config)
    loaded = time.perf_counter()
    return {"export_s": exported - begin, "load_s": loaded - loading, "load_bytes": _after_a_token() - before}


@torch.inference_mode()
def _after_a_token() -> int:
    """Return the resident memory once a token was generated: mapped weights come into memory when they are first read."""
    state["model"].generate(input_ids=torch.tensor([[7, 8]]), max_new_tokens=2, do_sample=False, pad_token_id=0)
    return resident()["now"]


def prompts(batch: int, length: int, new_tokens: int, *, sample: bool = False) -> None:
    generator = torch.Generator().manual_seed(0)
    state["ids"] = torch.randint(5, 1000, (batch, length), generator=generator)
    state["options"] = {"max_new_tokens": new_tokens, "do_sample": sample, "pad_token_id": 0, "eos_token_id": None}
    if sample:
        state["options"] |= {"top_k": 50, "top_p": 0.9}


@torch.inference_mode()
def generate(count: int) -> list[float]:
    ids = state["ids"]
    return timed(
        lambda: state["model"].generate(input_ids=ids, attention_mask=torch.ones_like(ids), **state["options"]), count
    )


@torch.inference_mode()
def tokens() -> list[list[int]]:
    ids = state["ids"]
    found = state["model"].generate(input_ids=ids, attention_mask=torch.ones_like(ids), **state["options"])
    return found[:, ids.shape[1] :].tolist()


@torch.inference_mode()
def loop(count: int) -> list[float]:
    """Time what `generate` spends outside of its graph, a step."""
    (loaded,) = state["model"].session.graphs.values()
    run, spent = loaded.run, [0.0]

    def measured(*arguments: Any) -> Any:
        begin = time.perf_counter()
        found = run(*arguments)
        spent[0] += time.perf_counter() - begin
        return found

    loaded.run = measured
    found = []
    for _ in range(count):
        spent[0] = 0.0
        (whole,) = generate(1)
        found.append((whole - spent[0]) / state["options"]["max_new_tokens"])
    loaded.run = run
    return found


def step(count: int, position: int) -> list[float]:
    """Time the decode graph at one position."""
    (loaded,) = state["model"].session.graphs.values()
    batch = len(state["ids"])
    inputs = {
        "input_ids": state["ids"][:, :1].contiguous(),
        "cache_ids": torch.full((batch, 1), position),
        "last": torch.zeros(batch, dtype=torch.int64),
        "cache_range": torch.arange(position + 1),
    }
    bucket = loaded.table.choose({"batch": batch, "sequence": 1, "cache": position + 1})
    tensors = [inputs[input.name] for input in loaded.inputs]
    return timed(lambda: loaded.run(bucket, tensors), count)


def traffic(position: int) -> int:
    """Return the bytes that one step has to read: matrices, and the keys and values in use. Embeddings are looked up."""
    from transformers import GPT2LMHeadModel
    from transformers.pytorch_utils import Conv1D

    model = GPT2LMHeadModel.from_pretrained(checkpoint)
    matrices = [layer.weight for layer in model.modules() if isinstance(layer, (Conv1D, torch.nn.Linear))]
    size = {"fp32": 4, "bf16": 2, "int8": 1}[precision]
    kept = [tensor[: len(state["ids"]), :, : position + 1] for tensor in state["model"].session.state.values()]
    return sum(matrix.numel() for matrix in matrices) * size + sum(t.numel() * t.element_size() for t in kept)


def stream(count: int) -> list[float]:
    """Time adding up half a gigabyte."""
    return timed(lambda: _half_a_gigabyte().sum(), count)


def product(count: int) -> list[float]:
    """Time multiplying half a gigabyte by a vector, which reads in several places at once and so is faster."""
    vector = torch.ones(2**14)
    return timed(lambda: torch.mv(_half_a_gigabyte(), vector), count)


def _half_a_gigabyte() -> torch.Tensor:
    if "buffer" not in state:
        state["buffer"] = torch.ones(2**13, 2**14)
    buffer: torch.Tensor = state["buffer"]
    return buffer


class _Mixed:
    """
    Prompts of 5 to 120 tokens, each with its own end after 10 to 100 new ones.

    Args:
        prompts: How many.
    """

    def __init__(self, prompts: int) -> None:
        generator = torch.Generator().manual_seed(1)
        lengths = torch.randint(5, 121, (prompts,), generator=generator)
        self._new = torch.randint(10, 101, (prompts,), generator=generator)
        self._texts = [torch.randint(1000, 2000, (int(length),), generator=generator) for length in lengths]
        for number, text in enumerate(self._texts):
            text[0] = 1 + number  # tells which prompt it is; 0 pads
        self.tokens = int(self._new.sum())

    def generate(self, first: int, last: int, *, padded: bool) -> None:
        """
        Generate for some of them in one call.

        Args:
            first: The first one's number.
            last: The number after the last one's.
            padded: Whether a criterion sees the prompt with its padding; it does in a call of no more prompts than rows.
        """
        from transformers.generation import StoppingCriteria, StoppingCriteriaList

        texts, new = self._texts[first:last], self._new
        widths = {1 + first + number: text.shape[0] for number, text in enumerate(texts)}
        if padded:
            widths = dict.fromkeys(widths, max(widths.values()))

        class Own(StoppingCriteria):
            def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
                numbers = input_ids[:, 0].tolist()
                return torch.tensor([input_ids.shape[1] - widths[number] >= new[number - 1] for number in numbers])

        pad = torch.nn.utils.rnn.pad_sequence
        found = state["model"].generate(
            input_ids=pad(texts, batch_first=True),
            attention_mask=pad([torch.ones_like(text) for text in texts], batch_first=True),
            stopping_criteria=StoppingCriteriaList([Own()]),
            max_new_tokens=100,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=-1,
        )
        made = int((found[:, max(map(len, texts)) :] != -1).sum())
        if made != (wanted := int(new[first:last].sum())):
            raise RuntimeError(f"{made} tokens were generated, and {wanted} asked for")


def queue(count: int, prompts: int) -> list[float]:
    """Time all prompts in one call, rows refilled; seconds per token."""
    mixed = _Mixed(prompts)
    return [t / mixed.tokens for t in timed(lambda: mixed.generate(0, prompts, padded=False), count)]


def waves(count: int, prompts: int) -> list[float]:
    """Time the prompts in batches that wait for their longest; seconds per token."""
    mixed, rows = _Mixed(prompts), state["rows"]

    def run() -> None:
        for first in range(0, prompts, rows):
            mixed.generate(first, min(first + rows, prompts), padded=True)

    return [t / mixed.tokens for t in timed(run, count)]


serve(
    {
        "prepare": {"eager": prepare_eager, "neuronkit": prepare_neuronkit, "openvino": prepare_openvino}[side],
        "prompts": prompts,
        "generate": generate,
        "tokens": tokens,
        "loop": loop,
        "step": step,
        "traffic": traffic,
        "stream": stream,
        "product": product,
        "queue": queue,
        "waves": waves,
        "resident": resident,
    }
)
