"""Where the cpu backend goes from one way of multiplying to another."""

FEW_ROWS = 8
"""Up to so many rows a generated loop, which reads a weight once, is faster than a library's product (docs/decisions/0013)."""
FEW_ROWS_PACKED = 4
"""As `FEW_ROWS`, where the library could multiply from a packed weight (docs/decisions/0018)."""
STREAMS = 4
"""In so many places at once such a loop reads its weight: a core that reads in one place waits for memory (docs/decisions/0013)."""
MANY_SUMS = 16
"""A loop that adds up more sums at once, one for each row and place, has no registers for them, and takes minutes to compile."""
WIDE = 1024
"""A weight of more outputs is packed in the order that oneDNN wants for many rows, others in that for one row: it divides rows
between threads badly where there are few blocks of outputs (docs/decisions/0018)."""
MANY_ROWS = {"encoder": 768, "text_encoder": 768}
"""More rows (tokens) than so many are computed in several calls, by kind of component (docs/decisions/0017)."""
FEW_PIXELS = 64
"""Up to so many pixels an image, a convolution whose weight stays apart is faster as a product (docs/decisions/0014)."""
LARGE_WEIGHT = 2**23
"""A weight of so many elements is worth it for four times as many pixels: its copy in another order is new memory each time."""
MANY_PIXELS = {2: 256, 4: 1024}
"""From how many pixels an image Winograd's 3x3 convolution is worth it, by results along a side of a tile (docs/decisions/0016)."""
FEW_CHANNELS = 320
"""With fewer channels its transforms take more than its products save."""
SCRATCH_BYTES = 30 * 2**20
"""The largest buffer of a transform, and of the middle of a feed-forward layer (docs/decisions/0019): glibc gives blocks of
32 MiB back to the system when they are freed."""
MANY_BANDS = 4
"""An image that must be transformed in more bands is left to oneDNN: its transforms go through memory, and its graph grows."""
MANY_ROW_BANDS = 16
"""A feed-forward layer that would go in more bands is left whole: a prime number of rows would become a band each."""
