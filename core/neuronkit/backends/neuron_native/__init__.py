"""
EXPERIMENTAL and UNVERIFIED: AWS Neuron through the native line of ``torch-neuronx`` (``torch.compile``, Trainium2 and
later). Importing this imports nothing of its packages. See ``docs/neuron.md``.
"""

from neuronkit.backends.neuron_native.backend import NeuronNativeBackend

backend = NeuronNativeBackend()

__all__ = ["NeuronNativeBackend", "backend"]
