"""Text generation: decoder-only models over one static cache."""

from neuronkit_plugins.text.causal_lm.model import NeuronModelForCausalLM
from neuronkit_plugins.text.causal_lm.plugin import plugin

__all__ = ["NeuronModelForCausalLM", "plugin"]
