"""Generating text with a decoder graph: rows of a cache, the choice of tokens, the loop, and transformers' own searches."""
