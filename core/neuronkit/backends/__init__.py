"""Backends: what compiles a graph and runs it. Each is an entry point in ``neuronkit.backends.v1``."""
