"""
The pages of the reference, written from the code: ``python -m tools.reference`` rewrites them, a test holds them
to it.
"""
