"""Compiled components that transformers and diffusers code accepts as its own."""

from neuronkit.shells.shell import KEPT_FILE, Shell, make_shell

__all__ = ["KEPT_FILE", "Shell", "make_shell"]
