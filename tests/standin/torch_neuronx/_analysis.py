"""Which operators the simulated compiler takes, and which it leaves to the CPU."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection
from typing import Any

import torch
from torch import nn
from torch_neuronx import _settings
from torch_neuronx._refusals import scan
from torch_neuronx._tracing import _Function


class PartitionerConfig:
    """Lets refused operators run on the CPU, within limits."""

    def __init__(
        self,
        *,
        trace_kwargs: dict[str, Any] | None = None,
        model_support_percentage_threshold: float = 0.5,
        min_subgraph_size: int = -1,
        max_subgraph_count: int = -1,
        ops_to_partition: Collection[str] | None = None,
        analyze_parameters: dict[str, Any] | None = None,
    ) -> None:
        self.trace_kwargs = trace_kwargs
        self.threshold = model_support_percentage_threshold
        self.min_subgraph_size = min_subgraph_size
        self.max_subgraph_count = max_subgraph_count
        self.ops_to_partition = set(ops_to_partition or ())
        self.analyze_parameters = analyze_parameters

    def check(self, graph: Any) -> None:
        """
        Compare a graph with the limits.

        Raises:
            ValueError: Too little is supported, or there are too many pieces.
        """
        counts, refused = scan(graph)
        left = len(refused) + sum(counts[operator] for operator in self.ops_to_partition)
        share = 1 - left / max(1, counts.total())
        if share < self.threshold:
            raise ValueError(f"Only {share:.0%} of the operators are supported (simulated)")
        if self.max_subgraph_count != -1 and left + 1 > self.max_subgraph_count:
            raise ValueError(
                f"Partitioning gives {left + 1} subgraphs, more than {self.max_subgraph_count} (simulated)"
            )


def analyze(
    func: Any,
    example_inputs: Any,
    compiler_workdir: str | None = None,
    *,
    additional_ignored_ops: Collection[str] = frozenset(),
    max_workers: int = 4,
    is_hf_transformers: bool = False,
    cleanup: bool = False,
) -> dict[str, Any]:
    """Return which operators are supported."""
    module = func if isinstance(func, nn.Module) else _Function(func)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(module, example_inputs, strict=False, check_trace=False)
    counts, refused = scan(traced.inlined_graph)
    unsupported = [
        {"kind": item.operator, "failureAt": "neuronx-cc", "call": item.reason, "opGraph": ""}
        for item in refused
        if item.operator not in additional_ignored_ops
    ]
    supported = counts - Counter(item.operator for item in refused)
    share = 100 * supported.total() / max(1, counts.total())
    return {
        "torch_neuronx_version": _settings.__version__,
        "neuronx_cc_version": _settings.COMPILER_VERSION,
        "support_percentage": f"{share:.2f}%",
        "supported_operators": {"aten": dict(supported)},
        "unsupported_operators": unsupported,
    }
