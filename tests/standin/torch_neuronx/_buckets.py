"""``bucket_model_trace``: one module with several traced shapes, chosen by a kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch_neuronx._tracing import trace


class BucketModelConfig:
    """How a call finds its bucket."""

    def __init__(
        self,
        bucket_kernel: Callable[[], Any],
        *,
        shared_state_buffer: Sequence[torch.Tensor] | None = None,
        shared_state_buffer_preprocessor: Callable[[], Any] | None = None,
        func_kwargs: Sequence[dict[str, Any]] | None = None,
    ) -> None:
        if shared_state_buffer or shared_state_buffer_preprocessor:
            raise NotImplementedError("The stand-in does not simulate a state that buckets share.")
        self.bucket_kernel = bucket_kernel
        self.func_kwargs = func_kwargs


def bucket_model_trace(
    func: Callable[..., Any],
    example_inputs: Sequence[Any],
    bucket_config: BucketModelConfig,
    compiler_workdir: str | None = None,
    compiler_args: Any = None,
) -> torch.jit.ScriptModule:
    """Trace `func()`'s module once per example; the calls take one list of tensors."""
    outer = nn.Module()
    for index, example in enumerate(example_inputs):
        kwargs = bucket_config.func_kwargs[index] if bucket_config.func_kwargs else {}
        module, aliases = func(**kwargs)
        workdir = None if compiler_workdir is None else str(Path(compiler_workdir) / f"bucket{index}")
        tensors = tuple(example)
        traced = trace(
            module,
            tensors,
            input_output_aliases=aliases,
            compiler_workdir=workdir,
            compiler_args=compiler_args,
            cpu_backend=True,
        )
        setattr(outer, f"bucket{index}", traced)
    kernel = bucket_config.bucket_kernel()
    shell = torch.jit._recursive.create_script_module(outer, lambda _: [], share_types=False)
    lines = [
        "def forward(self, inputs: List[Tensor]):",
        "    tensors, index = kernel(inputs)",
        "    bucket = int(index)",
    ]
    for index in range(len(example_inputs)):
        last = index == len(example_inputs) - 1
        lines.append("    else:" if last and index else f"    {'if' if not index else 'elif'} bucket == {index}:")
        arguments = ", ".join(f"tensors[{position}]" for position in range(len(example_inputs[index])))
        lines.append(f"        result = self.bucket{index}({arguments})")
    if len(example_inputs) == 1:
        lines[3:] = [lines[-1][4:]]
    source = "\n".join([*lines, "    return result", ""])
    shell._c._define(shell._concrete_type, source, lambda name: {"kernel": kernel}.get(name))
    return shell
