"""Where the cpu backend goes from one way of multiplying to another."""

FEW_ROWS = 8
"""Up to so many rows a generated loop, which reads a weight once, is faster than a library's product (docs/decisions/0013)."""
