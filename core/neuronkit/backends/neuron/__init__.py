"""
AWS Neuron (Inferentia2, Trainium1 and 2) through ``torch_neuronx.trace``. Importing this imports nothing of its
packages.
"""

from neuronkit.backends.neuron.backend import NeuronBackend

backend = NeuronBackend()

__all__ = ["NeuronBackend", "backend"]
