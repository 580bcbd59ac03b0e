"""How the library becomes a file, and where it is used."""

import shutil
from pathlib import Path

import pytest

from neuronkit.backends.cpu import host
from neuronkit.backends.cpu.backend import CpuBackend
from neuronkit.backends.cpu.library import build as building
from neuronkit.backends.cpu.library.build import build
from neuronkit.errors import CompileError
from tests.core.library import on_avx2


@on_avx2
def test_it_is_compiled_once(tmp_path, monkeypatch):
    first = build(tmp_path)
    monkeypatch.setattr(building.subprocess, "run", None)
    assert build(tmp_path) == first
    assert [file.name for file in first.parent.iterdir()] == [first.name]


@on_avx2
def test_what_the_compiler_says_is_in_the_error(tmp_path, monkeypatch):
    sources = tmp_path / "sources"
    shutil.copytree(Path(building.__file__).parent, sources)
    (sources / "linear.cpp").write_text("int f() { return nothing; }\n")
    monkeypatch.setattr(building, "_SOURCES", sources)
    with pytest.raises(CompileError, match=r"could not compile the library (.*\n)*.*nothing. was not declared"):
        build(tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize(
    ("sets", "used"), [("avx avx2 f16c fma", True), ("avx2 avx512f f16c fma", False), ("asimd", False)]
)
def test_it_is_used_where_it_was_seen_to_be_faster(monkeypatch, sets, used):
    """And there a decoder needs no graph of its own for few rows."""
    monkeypatch.setattr(host, "instruction_sets", lambda: tuple(sets.split()))
    assert host.uses_library() is used
    assert (CpuBackend().capabilities.few_rows == 0) is used
