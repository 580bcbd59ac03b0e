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
        *_: Any,
        shared_state_buffer: Sequence[torch.Tensor] | None = None,
        shared_state_buffer_preprocessor: Callable[[], Any] | None = None,
        func_kwargs: dict[str, Any] | Sequence[dict[str, Any]] | None = None,
    ) -> None:
        if shared_state_buffer or shared_state_buffer_preprocessor:
            raise NotImplementedError("The stand-in does not simulate a state that buckets share.")
        self.bucket_kernel = bucket_kernel
        self.func_kwargs = func_kwargs

    def kwargs(self, number: int) -> list[dict[str, Any]]:
        """Return what each of so many buckets gives to the function that makes the model."""
        if self.func_kwargs is None or isinstance(self.func_kwargs, dict):
            return [self.func_kwargs or {}] * number
        if len(self.func_kwargs) != number:
            raise ValueError(f"func_kwargs has {len(self.func_kwargs)} entries for {number} buckets (simulated)")
        return list(self.func_kwargs)


def bucket_model_trace(
    func: Callable[..., Any],
    example_inputs: Sequence[Any],
    bucket_config: BucketModelConfig,
    compiler_workdir: str | None = None,
    compiler_args: Any = None,
) -> torch.jit.ScriptModule:
    """Trace `func()`'s module once per example; calls take tensors by position, which the kernel gets as one list."""
    outer = nn.Module()
    examples = [example if isinstance(example, tuple) else (example,) for example in example_inputs]
    for index, (example, kwargs) in enumerate(zip(examples, bucket_config.kwargs(len(examples)), strict=True)):
        module, aliases = func(**kwargs)
        workdir = None if compiler_workdir is None else str(Path(compiler_workdir) / f"bucket{index}")
        traced = trace(
            module,
            example,
            input_output_aliases=aliases,
            compiler_workdir=workdir,
            compiler_args=compiler_args,
        )
        setattr(outer, f"bucket{index}", traced)
    kernel = bucket_config.bucket_kernel()
    shell = torch.jit._recursive.create_script_module(outer, lambda _: [], share_types=False)
    parameters = [f"tensor_{position}" for position in range(len(examples[0]))]
    lines = [
        f"def forward(self, {', '.join(f'{name}: Tensor' for name in parameters)}):",
        f"    inputs: List[Tensor] = [{', '.join(parameters)}]",
        "    tensors, index = kernel(inputs)",
        "    bucket = int(index)",
    ]
    for index in range(len(examples)):
        last = index == len(examples) - 1
        lines.append("    else:" if last and index else f"    {'if' if not index else 'elif'} bucket == {index}:")
        arguments = ", ".join(f"tensors[{position}]" for position in range(len(examples[index])))
        lines.append(f"        result = self.bucket{index}({arguments})")
    if len(examples) == 1:
        lines[4:] = [lines[-1][4:]]
    source = "\n".join([*lines, "    return result", ""])
    shell._c._define(shell._concrete_type, source, lambda name: {"kernel": kernel}.get(name))
    return shell
