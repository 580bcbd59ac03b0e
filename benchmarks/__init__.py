"""Benchmarks: one command each, every side in the same run."""
