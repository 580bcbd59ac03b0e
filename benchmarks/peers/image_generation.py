"""
A side of `benchmarks.diffusion` and `benchmarks.amused`. Arguments: side (``eager``, ``frozen``, ``apart``, ``openvino``),
checkpoint, work directory, precision (``fp32`` or ``bf16``), pixels along an image, optlevel, a ControlNet's directory or "".

Functions: ``build`` (compile or export, unless that was done), ``load``, ``step`` (the UNet on the two rows of guidance),
``noise``, ``images`` (whole pipelines), ``outside`` (what a pipeline takes, and what of it the graphs).
"""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers.serving import resident, serve, timed

side, checkpoint, work, precision = sys.argv[1:5]
pixels, optlevel = map(int, sys.argv[5:7])
controlnet = sys.argv[7]
state: dict[str, Any] = {}
# openvino's weights are the same for all sizes and precisions: it is reshaped and lowered when it is loaded.
built = Path(work) / (
    "openvino" if side == "openvino" else f"{side}-{precision}-{pixels}{'-controlnet' if controlnet else ''}"
)


def build() -> dict[str, Any]:
    """Return how long it took, with the highest memory."""
    figures = built.with_suffix(".json")
    if side == "eager":
        return {}
    if not figures.exists():
        begin = time.perf_counter()
        _export_openvino() if side == "openvino" else _compile()
        seconds = time.perf_counter() - begin
        figures.write_text(json.dumps({"export_s": seconds, "peak_bytes": resident()["peak"]}))
    found: dict[str, Any] = json.loads(figures.read_text())
    return found


def _compile() -> None:
    import neuronkit

    neuronkit.compile(
        checkpoint,
        built,
        task="stable-diffusion-control-net.text-to-image" if controlnet else "text-to-image",
        height=pixels,
        width=pixels,
        optlevel=optlevel,
        inline_weights=side == "frozen",
        auto_cast="matmul" if precision == "bf16" else "none",
        validate=False,  # it is compared here
        **({"controlnet_ids": [controlnet]} if controlnet else {}),
        force=True,
    )


def _export_openvino() -> None:
    from optimum.intel import OVStableDiffusionPipeline

    exported = OVStableDiffusionPipeline.from_pretrained(checkpoint, export=True, compile=False, load_in_8bit=False)
    exported.save_pretrained(built)


def load() -> dict[str, Any]:
    """
    Load twice, and return the seconds of the second load and the memory that the first one added.

    The first reads the files and imports what a load needs, which does not count; a step brings what is mapped into memory.
    """
    before = resident()["now"]
    _keep(_load())
    images(1, steps=1)
    added = resident()["now"] - before
    state.clear()
    gc.collect()
    begin = time.perf_counter()
    pipeline = _load()
    seconds = time.perf_counter() - begin
    _keep(pipeline)
    images(1, steps=1)
    return {"load_s": seconds, "load_bytes": added}


def _keep(pipeline: Any) -> None:
    pipeline.set_progress_bar_config(disable=True)
    state["pipeline"] = pipeline


def _load() -> Any:
    if side == "eager":
        from diffusers import ControlNetModel, DiffusionPipeline, StableDiffusionControlNetPipeline

        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        if not controlnet:
            return DiffusionPipeline.from_pretrained(checkpoint, torch_dtype=dtype)
        beside = ControlNetModel.from_pretrained(controlnet, torch_dtype=dtype)
        return StableDiffusionControlNetPipeline.from_pretrained(checkpoint, controlnet=beside, torch_dtype=dtype)
    if side == "openvino":
        from optimum.intel import OVStableDiffusionPipeline

        config = {"INFERENCE_PRECISION_HINT": "f32" if precision == "fp32" else "bf16"}
        pipeline = OVStableDiffusionPipeline.from_pretrained(built, ov_config=config, compile=False)
        pipeline.reshape(batch_size=1, height=pixels, width=pixels, num_images_per_prompt=1)
        pipeline.compile()
        return pipeline
    import neuronkit

    return neuronkit.load(built)


@torch.inference_mode()
def step(count: int) -> list[float]:
    return timed(_predict, count)


@torch.inference_mode()
def noise() -> list[float]:
    return _predict().flatten()[:64].tolist()


def _predict() -> torch.Tensor:
    pipeline = state["pipeline"]
    if "inputs" not in state:
        generator = torch.Generator().manual_seed(0)
        config = pipeline.unet.config
        latents = pixels // pipeline.vae_scale_factor
        state["inputs"] = {
            "sample": torch.randn(2, config["in_channels"], latents, latents, generator=generator),
            "timestep": torch.tensor(500),
            "encoder_hidden_states": torch.randn(2, 77, config["cross_attention_dim"], generator=generator),
        }
    predicted = pipeline.unet(**state["inputs"], return_dict=False)
    tensor: torch.Tensor = predicted["out_sample"] if isinstance(predicted, dict) else predicted[0]
    return tensor


def images(count: int, steps: int = 8, number: int = 1) -> list[float]:
    """Time text-to-image with guidance."""
    arguments: dict[str, Any] = {"num_inference_steps": steps, "num_images_per_prompt": number, "output_type": "np"}
    arguments |= {"height": pixels, "width": pixels}
    if controlnet:
        arguments["image"] = torch.rand(1, 3, pixels, pixels, generator=torch.Generator().manual_seed(1))

    def run() -> None:
        state["images"] = state["pipeline"]("a red cat", generator=torch.Generator().manual_seed(0), **arguments)[0]

    return timed(run, count)


def drawn() -> list[float]:
    """Return some pixels of the last image."""
    found: list[float] = state["images"].flatten()[:512].tolist()
    return found


def outside(count: int, steps: int) -> list[dict[str, float]]:
    """Time pipelines, and the graph calls inside them."""
    spent = {"graphs": 0.0}

    def counting(run: Any) -> Any:
        def call(*arguments: Any) -> Any:
            begin = time.perf_counter()
            outputs = run(*arguments)
            spent["graphs"] += time.perf_counter() - begin
            return outputs

        return call

    graphs = state["pipeline"].session.graphs.values()
    for loaded in graphs:
        loaded.run = counting(loaded.run)
    found = []
    for _ in range(count):
        spent["graphs"] = 0.0
        (whole,) = images(1, steps)
        found.append({"whole": whole, "graphs": spent["graphs"]})
    for loaded in graphs:
        del loaded.run
    return found


serve(
    {
        "build": build,
        "load": load,
        "step": step,
        "noise": noise,
        "images": images,
        "drawn": drawn,
        "outside": outside,
        "resident": resident,
    }
)
