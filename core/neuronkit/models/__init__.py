"""The bases of the public classes. The classes themselves live beside their plugin."""

from neuronkit.models.base import NeuronBaseModel

__all__ = ["NeuronBaseModel"]
