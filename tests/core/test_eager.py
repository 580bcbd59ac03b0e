"""The model that a plugin loads: in float32, with values of its own, tied where the plugin tied it."""

from __future__ import annotations

from contextlib import nullcontext

import attrs
import pytest
import torch
from torch import nn

import neuronkit
from neuronkit import hookimpl
from neuronkit.compilation.declaration import load_eager
from neuronkit.errors import ExportConfigError, InputError, OptionError, WeightsError
from neuronkit.export import CompilerHints, ExportConfig, Graph, Input, Output
from tests.core.tide import KEY, TASK


class Scale(nn.Module):
    """Multiplies by a weight, and adds a buffer."""

    def __init__(self, weight, offset):
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.tied = self.weight
        self.register_buffer("offset", offset)

    def forward(self, x, factor=None):
        return ((x.to(self.weight.dtype) @ self.weight + self.offset) * (1 if factor is None else factor[:, None]),)


def config_of(module, dtype="float32"):
    """Return an export config of one graph."""
    inputs = [Input("x", ["batch", 3], dtype=dtype), Input("factor", ["batch"], dtype=dtype, default=1.0)]
    return ExportConfig(lambda: module, [Graph("net", inputs, [Output("y", ["batch", 3])])])


class Given:
    """A plugin of a module that is at hand."""

    def __init__(self, module):
        self.module = module

    @hookimpl
    def export_config(self):
        return config_of(self.module)

    @hookimpl
    def postprocess(self, outputs):
        return outputs.y


@pytest.fixture
def compiled(tide_checkpoint, tmp_path):
    """Return the pipeline of a module."""

    def make(module, **options):
        with neuronkit.get_registry().temporary(Given(module), KEY):
            neuronkit.compile(tide_checkpoint, tmp_path / "out", task=TASK, optlevel=1, cache=False, **options)
            return neuronkit.pipeline(tmp_path / "out")

    return make


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_raised(dtype):
    """Precision is `auto_cast`'s to choose, whatever a checkpoint was saved in; what is tied stays tied."""
    module = Scale(torch.eye(3, dtype=dtype), torch.ones(3, dtype=dtype))
    loaded = load_eager(config_of(module))
    assert {loaded.weight.dtype, loaded.offset.dtype} == {torch.float32}
    assert loaded.weight is loaded.tied
    assert load_eager(config_of(Scale(torch.eye(3, dtype=dtype), torch.ones(3)), "bfloat16")).weight.dtype == dtype


def test_recurrent_layers_follow_when_their_precision_is_raised():
    """They compute with a list of their parameters."""
    layer = torch.nn.LSTM(2, 3).half()
    wanted = {name: tensor.float() for name, tensor in layer.state_dict().items()}
    loaded = load_eager(config_of(layer))
    own = torch.nn.LSTM(2, 3)
    own.load_state_dict(wanted)
    x = torch.rand(4, 1, 2, generator=torch.Generator().manual_seed(1))
    assert torch.equal(loaded(x)[0], own(x)[0])


def test_float32_and_integers_stay_as_they_are():
    """Nothing is copied that need not be."""
    module = Scale(torch.eye(3), torch.ones(3, dtype=torch.int64))
    weight, offset = module.weight, module.offset
    loaded = load_eager(config_of(module))
    assert loaded.weight is weight
    assert loaded.offset is offset


@pytest.mark.parametrize("inline", [False, True])
def test_expanded_tensors(compiled, inline):
    """One value for many places is written to the weights' file as many, and loaded as such."""
    module = Scale(torch.randn(1, 3).expand(3, 3), torch.ones(1).expand(3))
    x = torch.ones(2, 3)
    (wanted,) = module(x)
    assert torch.allclose(compiled(module, inline_weights=inline)(x=x), wanted)


class Wave(nn.Module):
    """Multiplies by the real part of a complex buffer, and counts in one of a width that torch computes little in."""

    def __init__(self, phase, count):
        super().__init__()
        self.register_buffer("phase", phase)
        self.register_buffer("count", count)

    def forward(self, x, factor):
        return (x * self.phase.real.float() + self.count.to(torch.int64) * factor[:, None],)


def test_weights_of_rare_dtypes(compiled):
    """Those that safetensors has are kept apart as any; of another the caller hears before anything is compiled."""
    x, factor, count = torch.ones(2, 3), torch.ones(2), torch.full((3,), 65_535, dtype=torch.uint16)
    phase = torch.tensor([1 + 2j, 3, 4j])
    pipe = compiled(Wave(phase, count))
    torch.testing.assert_close(pipe(x=x, factor=factor), phase.real.float() + torch.full((2, 3), 65_535.0))
    wide = Wave(phase.to(torch.complex128), count)
    with pytest.raises(WeightsError) as caught:
        compiled(wide, force=True)
    assert str(caught.value).startswith(
        "module.phase is of dtype complex128, which a file of safetensors does not hold.\nTry: another dtype in the model ("
    )
    pipe = compiled(wide, force=True, inline_weights=True)
    torch.testing.assert_close(pipe(x=x, factor=factor), phase.real.float() + torch.full((2, 3), 65_535.0))


@pytest.mark.parametrize("name", ["weights.safetensors", "neuronkit.json", "net"])
def test_files_of_a_plugin_over_those_of_the_artifact(tide_checkpoint, tmp_path, name):
    """What was validated stays as it was."""

    class Careless(Given):
        @hookimpl
        def export_config(self):
            def write(directory):
                found = [path for path in (directory / name).rglob("*") if path.is_file()]
                (found[0] if found else directory / name).write_text("{}")

            return attrs.evolve(config_of(self.module), write_files=write)

    plugin = Careless(Scale(torch.eye(3), torch.ones(3)))
    with neuronkit.get_registry().temporary(plugin, KEY), pytest.raises(ExportConfigError) as caught:
        neuronkit.compile(tide_checkpoint, tmp_path / "out", task=TASK, optlevel=1, cache=False)
    assert f"must leave alone what the artifact has already, and changed {name}" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_settings_of_the_caller(compiled):
    """A default device and an autocast are for code of the caller's own: the model is the same in each."""
    x, wanted = torch.randn(2, 3), None
    for setting in (nullcontext(), torch.device("meta"), torch.autocast("cpu", dtype=torch.bfloat16)):
        torch.manual_seed(0)
        with setting:
            module = Scale(torch.randn(3, 3, device="cpu"), torch.ones(3, device="cpu"))
            pipe = compiled(module, force=True)
        found = pipe(x=x)
        wanted = found if wanted is None else wanted
        assert torch.equal(found, wanted)


def test_weights_without_values():
    """A module on the meta device cannot be compiled into anything."""
    with pytest.raises(ExportConfigError) as caught:
        load_eager(config_of(Scale(torch.eye(3), torch.ones(3, device="meta"))))
    assert str(caught.value) == (
        "load of an ExportConfig returned a module whose offset is on the meta device: it has no values.\n"
        "Try: load the checkpoint's weights into it, or make it outside torch.device('meta')."
    )


def test_raw_input_that_is_no_tensor(compiled):
    """Without a `preprocess`, what the graph cannot take is named, and no default takes its place."""
    pipe = compiled(Scale(torch.eye(3), torch.zeros(3)))
    x = torch.ones(1, 3)
    assert pipe(x=x, factor=torch.tensor([10.0]))[0, 0] == 10
    with pytest.raises(InputError, match=r"^factor must be a torch\.Tensor \(got list\)\.$"):
        pipe(x=x, factor=[10.0])
    with pytest.raises(InputError, match=r"has no input 'facto'\. Did you mean 'factor'\?"):
        pipe(x=x, facto=[10.0])
    with pytest.raises(InputError, match=r"^factor: unknown input beside text\.\nTry: text=\.\.\. alone\.$"):
        pipe(text="a", factor=[10.0])


def test_what_a_plugin_does_to_the_shapes(tide_checkpoint, tmp_path):
    """They are its own: what is compiled and recorded is what was asked for."""

    class Changing(Given):
        @hookimpl
        def export_config(self, shapes):
            shapes["batch_size"][:] = [7]
            return config_of(self.module)

    with neuronkit.get_registry().temporary(Changing(Scale(torch.eye(3), torch.zeros(3))), KEY):
        made = neuronkit.compile(tide_checkpoint, tmp_path / "out", task=TASK, optlevel=1, batch_size=2, static=True)
    assert made.manifest.shapes["batch_size"] == [2]


class Windows(nn.Module):
    """Two convolutions without padding, as in front of a model of speech."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv1d(1, 4, 40, 5), nn.Conv1d(4, 2, 3, 2)

    def forward(self, samples):
        return (self.second(self.first(samples[:, None]).relu()),)


class Listening(Given):
    """A plugin of windows over samples, of any number."""

    @hookimpl
    def export_config(self):
        output = Output("y", ["batch", 2, "((samples-40)/5+1-3)/2+1"])
        graph = Graph(
            "net",
            [Input("samples", ["batch", "samples"], dtype="float32")],
            [output],
            hints=CompilerHints(dynamic_axes=["batch", "samples"]),
        )
        return ExportConfig(lambda: self.module, [graph])


@pytest.mark.parametrize(("static", "longest"), [(False, 400), (False, 60), (True, 400), (True, 50)])
def test_convolutions_over_any_length(tide_checkpoint, tmp_path, static, longest):
    """From the least length with two windows on; fixed sizes pad, and serve a single window too."""
    module = Windows().eval()
    with neuronkit.get_registry().temporary(Listening(module), KEY):
        made = neuronkit.compile(
            tide_checkpoint, tmp_path / "out", task=TASK, optlevel=1, cache=False, samples=longest, static=static
        )
        shell = neuronkit.load(made.path)
    for length in (50, 51, 60, 64, 77, 123, 400):
        if length <= longest and (static or length >= 60):
            samples = torch.randn(2, length, generator=torch.Generator().manual_seed(length))
            torch.testing.assert_close(shell(samples=samples).y, module(samples)[0])
    if static:
        with pytest.raises(InputError, match=r"^The call has 20 along 'samples', which is too short for an axis of "):
            shell(samples=torch.zeros(1, 20))
    else:
        with pytest.raises(InputError) as caught:
            shell(samples=torch.zeros(1, 59))
        assert str(caught.value) == (
            "samples has 59 along 'samples', and the graph was compiled for 60 and more: with less, an axis that follows from "
            "it would be shorter than 2.\n"
            "Try: a longer input, or compile with static=True (--static), where shorter ones are padded."
        )


def test_a_bound_below_the_least(tide_checkpoint, tmp_path):
    """There would be no call that it serves."""
    with (
        neuronkit.get_registry().temporary(Listening(Windows()), KEY),
        pytest.raises(OptionError, match=r"^samples: must be at least 60 for graph 'net' \(got 59\)\.$"),
    ):
        neuronkit.compile(tide_checkpoint, tmp_path / "out", task=TASK, optlevel=1, samples=59)
