"""The embedded default: ``torch.export``, then AOTInductor, on any CPU."""

from neuronkit.backends.cpu.backend import CpuBackend

backend = CpuBackend()

__all__ = ["CpuBackend", "backend"]
