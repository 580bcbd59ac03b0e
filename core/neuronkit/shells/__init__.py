"""Compiled components that transformers and diffusers code accepts as its own."""

from neuronkit.shells.shell import Shell, make_shell

__all__ = ["Shell", "make_shell"]
