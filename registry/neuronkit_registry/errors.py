"""The root of every error that neuronkit raises, and the errors of the registry."""


class NeuronkitError(Exception):
    """Root of every error raised by neuronkit, so that one ``except`` can catch them all."""
