"""
A stand-in for the documented inference functions of ``torch_neuronx``, for tests on machines without its packages.

It compiles nothing: a "compiled" model is a TorchScript file that runs the traced module on the CPU, and fails wherever
the documented contract says that the real one would. Every version and file that it makes is labelled ``simulated``,
and no time taken by it says anything about a device. Environment variables steer it; see `_settings`.
"""

from torch_neuronx import experimental
from torch_neuronx._analysis import PartitionerConfig, analyze
from torch_neuronx._buckets import BucketModelConfig, bucket_model_trace
from torch_neuronx._parallel import DataParallel
from torch_neuronx._placement import (
    async_load,
    dynamic_batch,
    lazy_load,
    move_trace_to_device,
    multicore_context,
    neuron_cores_context,
    replace_weights,
    set_multicore,
    set_neuron_cores,
)
from torch_neuronx._settings import __version__
from torch_neuronx._tracing import trace

__all__ = [
    "BucketModelConfig",
    "DataParallel",
    "PartitionerConfig",
    "__version__",
    "analyze",
    "async_load",
    "bucket_model_trace",
    "dynamic_batch",
    "experimental",
    "lazy_load",
    "move_trace_to_device",
    "multicore_context",
    "neuron_cores_context",
    "replace_weights",
    "set_multicore",
    "set_neuron_cores",
    "trace",
]
