"""Exported programs on disk: read once a process, with weights of each session's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.export import export

from neuronkit.backends import program

X = torch.ones(2, 4)


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return nn.Linear(4, 3).eval().requires_grad_(False)


@pytest.fixture
def reads(monkeypatch):
    """Count how often torch reads a program."""
    read, found = torch.export.load, []
    monkeypatch.setattr(torch.export, "load", lambda file: found.append(file) or read(file))
    program._read_once.cache_clear()
    return found


def saved(layer, directory, *, inline_weights=False):
    directory.mkdir(exist_ok=True)
    return program.save(export(Traced(layer), (X,), strict=False), directory, inline_weights=inline_weights)


class Traced(nn.Module):
    """Returns a tuple, as traced modules do."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return (self.layer(x),)


def weights(layer, factor=1.0):
    return {f"layer.{name}": factor * tensor for name, tensor in layer.state_dict().items()}


def test_sessions_share_what_was_read_and_not_their_weights(layer, reads, tmp_path):
    compiled = saved(layer, tmp_path)
    first, second = (
        program.load(tmp_path / compiled.entry, compiled.constants, weights(layer, factor)) for factor in (1.0, 2.0)
    )
    assert len(reads) == 1
    torch.testing.assert_close(first([X])[0], layer(X))
    torch.testing.assert_close(second([X])[0], 2 * layer(X))
    second.rebind(weights(layer, 3.0))
    torch.testing.assert_close(first([X])[0], layer(X))
    torch.testing.assert_close(second([X])[0], 3 * layer(X))


def test_another_program_at_the_same_path_is_read(layer, reads, tmp_path):
    for size in (3, 5):
        torch.manual_seed(size)
        other = nn.Linear(4, size).eval().requires_grad_(False)
        compiled = saved(other, tmp_path)
        opened = program.load(tmp_path / compiled.entry, compiled.constants, weights(other))
        torch.testing.assert_close(opened([X])[0], other(X))
    assert len(reads) == 2


def test_a_program_with_its_weights_is_not_kept(layer, reads, tmp_path):
    """It is as large as the model."""
    compiled = saved(layer, tmp_path, inline_weights=True)
    for _ in range(2):
        torch.testing.assert_close(program.load(tmp_path / compiled.entry, (), {})([X])[0], layer(X))
    assert len(reads) == 2
    assert program._read_once.cache_info().currsize == 0


class Lowered(Traced):
    """Multiplies in bfloat16."""

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().forward(x)


@pytest.mark.parametrize("traced", [Traced, Lowered])
def test_a_callers_autocast_changes_nothing(layer, tmp_path, traced):
    """The precision is the one that was validated; an autocast that was traced is in the program and stays."""
    module = traced(layer)
    compiled = program.save(export(module, (X,), strict=False), tmp_path, inline_weights=False)
    opened = program.load(tmp_path / compiled.entry, compiled.constants, weights(layer))
    (expected,) = module(X)
    assert expected.dtype == (torch.bfloat16 if traced is Lowered else torch.float32)
    for lower in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=lower):
            (found,) = opened([X])
        assert torch.equal(found, expected)
        assert found.dtype == expected.dtype


class Telling(Traced):
    """Returns a weight, a part of it, and its input beside the result."""

    def forward(self, x):
        return self.layer(x), self.layer.bias, self.layer.weight.t()[:2], x


@pytest.mark.parametrize("inline", [False, True])
def test_an_output_is_no_weight(layer, tmp_path, inline):
    """What a caller does to an output reaches no later call."""
    compiled = program.save(export(Telling(layer), (X,), strict=False), tmp_path, inline_weights=inline)
    opened = program.load(tmp_path / compiled.entry, compiled.constants, weights(layer))
    for output in opened([X])[1:3]:
        output.zero_()
    expected = Telling(layer)(X)
    for found, wanted in zip(opened([X]), expected, strict=True):
        torch.testing.assert_close(found, wanted)
    if not inline:
        opened.rebind(weights(layer, 2.0))
        opened([X])[1].zero_()
        torch.testing.assert_close(opened([X])[1], 2 * layer.bias)
