"""From a loaded module to a function of positional tensors, and the tensors to trace and to check it with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

from neuronkit.errors import ExportConfigError
from neuronkit.export.axes import tensor_shape
from neuronkit.export.config import Graph, Input
from neuronkit.export.rounding import RoundedProducts

Lowering = Literal["converted", "autocast", "rounded"]
_HIGHS = {"input_ids": "vocab_size", "token_type_ids": "type_vocab_size"}


class TracedModule(nn.Module):
    """
    What a backend compiles: takes a graph's inputs as positional tensors and returns its outputs as a tuple of tensors.

    Args:
        module: The model, already wrapped where the graph asks for it; its parameters' names begin with ``module.`` here.
        graph: Names the inputs and the outputs.
        precision: A lower precision for some of the computation; None leaves all of it in fp32.
        how: ``"converted"``: the module is in that precision, floating inputs are cast to it, except for states, which are kept
            in it already, and floating outputs are cast back to float32. ``"autocast"``: torch's autocast lowers the operations
            that it lists. ``"rounded"``: products are computed in fp32, on operands rounded to the precision.
    """

    def __init__(
        self, module: nn.Module, graph: Graph, precision: torch.dtype | None = None, *, how: Lowering = "converted"
    ) -> None:
        super().__init__()
        _register_plain_tensors(module)
        self.module = module
        self._input_names = [input.name for input in graph.inputs]
        self._output_names = [output.name for output in graph.outputs]
        self._states = {input.name for input in graph.state}
        self._graph_name = graph.name
        self._precision = precision
        self._how = how

    @property
    def lowers_precision(self) -> bool:
        """Whether some of the computation runs in a lower precision than the module's."""
        return self._precision is not None

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run the module on tensors in the order of the graph's inputs."""
        inputs = dict(zip(self._input_names, tensors, strict=True))
        if self._precision is None:
            return self.pick(self.module(**inputs))
        if self._how == "autocast":
            with torch.autocast("cpu", dtype=self._precision):
                outputs = self.pick(self.module(**inputs))
        elif self._how == "rounded":
            with RoundedProducts(self._precision):
                outputs = self.pick(self.module(**inputs))
        else:
            lowered = {
                name: tensor if name in self._states else _cast(tensor, self._precision)
                for name, tensor in inputs.items()
            }
            outputs = self.pick(self.module(**lowered))
        return tuple(_cast(tensor, torch.float32) for tensor in outputs)

    def pick(self, result: Any) -> tuple[torch.Tensor, ...]:
        """
        Return the declared outputs out of whatever the module returned, in declared order.

        Raises:
            ExportConfigError: One of them is not there, or is no tensor.
        """
        names = self._output_names
        if isinstance(result, tuple) and set(names) <= set(getattr(result, "_fields", ())):
            result = {name: getattr(result, name) for name in names}  # a named tuple, whatever the order of its fields
        if isinstance(result, Mapping):
            missing = [name for name in names if name not in result]
            if missing:
                raise ExportConfigError(
                    f"Graph {self._graph_name!r} declares the output {missing[0]!r}, but the module returned {list(result)}."
                )
            picked = [result[name] for name in names]
        elif isinstance(result, (torch.Tensor, list, tuple)):
            several = [result] if isinstance(result, torch.Tensor) else list(result)
            if len(several) < len(names):
                raise ExportConfigError(
                    f"Graph {self._graph_name!r} declares {len(names)} outputs, but the module returned {len(several)}."
                )
            picked = several[: len(names)]
        else:
            raise ExportConfigError(
                f"Graph {self._graph_name!r} needs a mapping, a tuple or a tensor, but the module returned a "
                f"{type(result).__name__}."
            )
        for name, value in zip(names, picked, strict=True):
            if not isinstance(value, torch.Tensor):
                raise ExportConfigError(
                    f"Graph {self._graph_name!r} declares the output {name!r} as a tensor, but the module returned a "
                    f"{type(value).__name__} for it."
                )
        return tuple(picked)


def _cast(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _register_plain_tensors(module: nn.Module) -> None:
    """Make buffers of tensors that are plain attributes: an export would give them names that no module knows."""
    for owner in module.modules():
        for name, value in list(vars(owner).items()):
            if isinstance(value, torch.Tensor) and name not in owner._buffers:
                delattr(owner, name)
                owner.register_buffer(name, value, persistent=False)


def seeded_inputs(
    graph: Graph, sizes: Mapping[str, int], config: Mapping[str, Any], *, seed: int
) -> dict[str, torch.Tensor]:
    """
    Make reproducible inputs that exercise a graph.

    Every tensor is an object of its own (``torch.export`` merges inputs that are one object). Masks keep a random number of
    leading positions, at least one, so that both ones and zeros occur; other integers stay below the input's `high`.

    Args:
        graph: The graph whose inputs are made.
        sizes: Size of every named axis.
        config: The checkpoint's configuration, for the size of its vocabularies.
        seed: Of the generator.

    Returns:
        Tensors by input name, in declared order.
    """
    generator = torch.Generator().manual_seed(seed)
    return {input.name: _seeded(input, sizes, config, generator) for input in graph.inputs}


def _seeded(
    input: Input, sizes: Mapping[str, int], config: Mapping[str, Any], generator: torch.Generator
) -> torch.Tensor:
    shape = tensor_shape(input.axes, sizes)
    dtype: torch.dtype = getattr(torch, input.dtype)
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(dtype)
    if input.is_mask and shape:
        last = shape[-1]
        kept = torch.randint(1, last + 1, [*shape[:-1], 1], generator=generator)
        return (torch.arange(last) < kept).to(dtype)
    high = input.high or input.table_size or config.get(_HIGHS.get(input.name, ""), 2)
    return torch.randint(0, max(int(high), 1), shape, generator=generator).to(dtype)
