"""Packages that are written on the spot, beside those that are installed."""

from neuronkit.testing.fixtures import fake_dist, isolated_registry, site  # noqa: F401  # fixtures
