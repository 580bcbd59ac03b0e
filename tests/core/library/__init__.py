"""The library for x86 CPUs with AVX2."""

import pytest

from neuronkit.backends.cpu import host

on_avx2 = pytest.mark.skipif(
    not {"avx2", "f16c", "fma"} <= set(host.instruction_sets()), reason="the library is for x86 CPUs with AVX2"
)
