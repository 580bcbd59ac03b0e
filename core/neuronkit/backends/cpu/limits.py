"""Where the cpu backend goes from one way of multiplying to another."""

FEW_ROWS = 8
"""Up to so many rows a generated loop, which reads a weight once, is faster than a library's product (docs/decisions/0013)."""
FEW_PIXELS = 64
"""Up to so many pixels an image, a convolution whose weight stays apart is faster as a product (docs/decisions/0014)."""
LARGE_WEIGHT = 2**23
"""A weight of so many elements is worth it for four times as many pixels: its copy in another order is new memory each time."""
