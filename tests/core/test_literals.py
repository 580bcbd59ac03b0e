"""Constants that belong to a graph: they are compiled with it, and are no weights."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.export import export

from neuronkit.backends.cpu import aot
from neuronkit.backends.cpu.literals import Literals, name_literals
from neuronkit.options import CompileOptions

TABLE = [[float(row * column % 7) for column in range(64)] for row in range(64)]


class Tabled(nn.Module):
    """A layer whose result is multiplied by a table that the code creates."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(64, 64)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self.layer(x) @ torch.tensor(TABLE),)


def exported(x):
    model = Tabled().eval().requires_grad_(False)
    return model, export(model, (x,), strict=False)


@pytest.fixture
def without_openssl(tmp_path, monkeypatch):
    """A machine that has every program of this one but openssl: no compiler needs it, and minimal images leave it out."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for directory in map(Path, os.environ["PATH"].split(os.pathsep)):
        for program in directory.iterdir() if directory.is_dir() else ():
            link = programs / program.name
            if program.name != "openssl" and not link.is_symlink():
                link.symlink_to(program)
    monkeypatch.setenv("PATH", str(programs))


def test_a_table_in_a_model_s_code_is_compiled_and_is_no_weight(tmp_path, without_openssl):
    x = torch.randn(3, 64)
    model, program = exported(x)
    compiled = aot.compile(program, tmp_path, CompileOptions(inline_weights=False))
    assert [wanted.name for wanted in compiled.constants] == ["layer.bias", "layer.weight"]
    runner = aot.load(tmp_path / compiled.entry, compiled.constants, dict(model.state_dict()))
    torch.testing.assert_close(runner([x])[0], model(x)[0], atol=1e-4, rtol=0)


def test_a_literal_is_added_once():
    model, program = exported(torch.randn(3, 64))
    literals = Literals(program)
    added = literals.node("twos", torch.full((64,), 2.0))
    assert literals.node("twos", torch.zeros(64)) is added
    output = program.graph.output_node()
    (result,) = output.args[0]
    with program.graph.inserting_before(output):
        doubled = program.graph.call_function(torch.ops.aten.mul.Tensor, (result, added))
    doubled.meta = dict(result.meta)
    output.replace_input_with(result, doubled)
    program.graph_signature.output_specs[0].arg.name = doubled.name
    x = torch.randn(3, 64)
    torch.testing.assert_close(program.module()(x)[0], 2 * model(x)[0], atol=1e-4, rtol=0)
    assert name_literals(program) == {"twos", "lifted_tensor_0"}
    torch.testing.assert_close(program.module()(x)[0], 2 * model(x)[0], atol=1e-4, rtol=0)
