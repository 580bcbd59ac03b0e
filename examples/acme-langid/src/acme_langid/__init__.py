"""The language of a text, from its bytes: a model that transformers does not know, served by neuronkit."""
