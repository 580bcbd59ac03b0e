"""
The experimental neuron-native backend, on a dynamo backend that is made up here: it keeps a file per graph in the cache
directory, as AWS's documentation says of the real one, and runs the graph on the CPU. Nothing here was measured.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import torch

import neuronkit
from neuronkit.artifact import manifest as manifests
from neuronkit.backends.neuron.errors import NeuronCompileError, NeuronDeviceError, NeuronPackageError
from neuronkit.backends.neuron_native import NeuronNativeBackend, backend
from neuronkit.backends.neuron_native.backend import own_cache
from neuronkit.buckets import Bucket
from neuronkit.errors import ArtifactIncompatibleError, OptionError
from neuronkit.options import CompileOptions
from neuronkit.plugins import BACKENDS, registry_of, resolve_backend
from tests.core.tide import KEY, TASK, load_tide, make_tide, plugin
from tests.neuron.toys import CachedSum, cached_graph, traced
from tests.standin.simulation import build_machine

DYNAMO = "made_up_neuron"
NATIVE = NeuronNativeBackend(dynamo=DYNAMO, device="cpu")
VARIABLE = "TORCH_NEURONX_NEFF_CACHE_DIR"


class Compiler:
    """
    What stands for the compiler: counts what it compiles, and fails or stays silent on demand.

    Where its cache is, it reads once in a process, as the real one.
    """

    def __init__(self) -> None:
        self.compiled = 0
        self.directory: Path | None = None
        self.fails = self.is_silent = False

    def __call__(self, module, example_inputs):
        if self.fails:
            raise RuntimeError("NCC_EVRF001 (simulated)")
        shapes = [tuple(tensor.shape) for tensor in example_inputs if isinstance(tensor, torch.Tensor)]
        name = hashlib.sha256(f"{module.code}{shapes}".encode()).hexdigest()
        self.directory = self.directory or Path(os.environ[VARIABLE])
        binary = self.directory / name / "graph.neff"
        if not binary.is_file() and not self.is_silent:
            self.compiled += 1
            binary.parent.mkdir(parents=True)
            binary.write_text("simulated")
        return module.forward


@pytest.fixture(scope="module")
def compiler():
    """Registered as torch-neuronx registers its own."""
    found = Compiler()
    torch._dynamo.register_backend(found, name=DYNAMO)
    yield found
    torch._dynamo.reset()
    torch._dynamo.backends.registry._BACKENDS.pop(DYNAMO)
    torch._dynamo.backends.registry._COMPILER_FNS.pop(DYNAMO)


@pytest.fixture(scope="module", autouse=True)
def registered():
    """The plugin, and the backend under its own name on the made-up parts."""
    with neuronkit.get_registry().temporary(plugin, KEY), registry_of(BACKENDS).temporary(NATIVE, "neuron-native"):
        yield


def become(patch, root: Path, instance: str | None = "trn2.3xlarge", version: str | None = "2.14.3.0") -> None:
    """Be a machine with that release of torch-neuronx, by its metadata alone."""
    patch.setenv("NEURONKIT_HOST_ROOT", str(build_machine(root / "machine", instance)))
    patch.setenv(VARIABLE, str(root / "cache"))
    (root / "cache").mkdir(exist_ok=True)
    for name, number in (("torch-neuronx", version), ("neuronx-cc", "2.28.7631.0")):
        if number is not None:
            folder = root / f"site/{name.replace('-', '_')}-{number}.dist-info"
            folder.mkdir(parents=True)
            (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")
    patch.syspath_prepend(str(root / "site"))


@pytest.fixture
def trn2(tmp_path, monkeypatch, compiler):
    """A trn2.3xlarge with the native line, and a new process on it."""
    become(monkeypatch, tmp_path)
    compiler.directory = None
    own_cache.cache_clear()
    return tmp_path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tide."""
    return make_tide(tmp_path_factory.mktemp("checkpoint") / "tide")


@pytest.fixture(scope="module")
def artifact(compiler, checkpoint, tmp_path_factory):
    """Two sizes, compiled on a machine of the same kind."""
    output = tmp_path_factory.mktemp("artifact") / "tide"
    with pytest.MonkeyPatch.context() as patch:
        become(patch, tmp_path_factory.mktemp("maker"))
        neuronkit.compile(checkpoint, output, task=TASK, backend="neuron-native", batch_size=2, sequence_length=[8, 16])
    return output


def test_the_entry_point_is_there_and_drives_the_real_names():
    assert (backend.dynamo, backend.device, backend.name) == ("neuron", "neuron", "neuron-native")
    assert "neuron-native" in registry_of(BACKENDS)
    assert resolve_backend("neuron-native") is NATIVE


def test_the_artifact_ships_the_binaries_and_was_compared_with_eager(artifact, compiler):
    manifest = manifests.read(artifact)

    assert (manifest.backend, manifest.validation.status) == ("neuron-native", "passed")
    assert manifest.fingerprint | {"torch": None} == {
        "torch": None,
        "torch_neuronx": "2.14.3.0",
        "neuronx_cc": "2.28.7631.0",
        "architecture": "trn2",
        "lnc": 2,
    }
    (graph,) = manifest.graphs
    for bucket in graph.buckets:
        assert any(file.file.endswith("graph.neff") and "/neff/" in file.file for file in bucket.files)
    assert manifest.weights is not None
    assert VARIABLE not in os.environ


def test_loading_takes_the_shipped_binaries_and_equals_eager(artifact, checkpoint, compiler, trn2, capsys):
    before = compiler.compiled
    model = neuronkit.load(artifact)

    for rows, length in ((1, 5), (3, 11)):
        readings = torch.randint(0, 31, (rows, length), generator=torch.Generator().manual_seed(length))
        outputs = model(readings=readings)
        wanted = load_tide(checkpoint)(readings, torch.ones_like(readings))
        assert torch.allclose(outputs.scores, wanted["scores"], atol=1e-5)
        assert torch.allclose(outputs.levels, wanted["levels"], atol=1e-5)
    assert compiler.compiled == before, "neither loading nor a call compiles"
    assert "compiled anew" not in capsys.readouterr().err
    assert len(list((trn2 / "cache").iterdir())) == 2, "one binary per size, handed to this process"

    with pytest.raises(OptionError, match=r"placement: neuron-native has none \(got '1'\)"):
        neuronkit.load(artifact, placement="1")


def test_a_program_that_the_process_compiled_before_ships_its_binary_too(artifact, compiler, checkpoint, trn2):
    given = {"task": TASK, "backend": "neuron-native", "batch_size": 2, "sequence_length": 4, "cache": False}
    for output in ("one", "two"):
        neuronkit.compile(checkpoint, trn2 / output, **given)
    assert list((trn2 / "two").rglob("graph.neff"))


def test_binaries_that_do_not_fit_are_told(artifact, compiler, trn2, capsys, monkeypatch):
    monkeypatch.setattr(Compiler, "__call__", _renamed(Compiler.__call__))
    torch._dynamo.reset()
    neuronkit.load(artifact)
    assert "was compiled anew (1 files): the shipped binaries did not fit" in capsys.readouterr().err


def _renamed(call):
    def compile_again(self, module, example_inputs):
        (Path(os.environ[VARIABLE]) / f"other{len(list(Path(os.environ[VARIABLE]).iterdir()))}").write_text("simulated")
        return module.forward

    return compile_again


@pytest.mark.parametrize(
    ("instance", "version", "message"),
    [
        (None, "2.14.3.0", "there is no Neuron device.*Try: a machine"),
        ("trn2.3xlarge", None, "torch-neuronx is not installed.*Try: a machine"),
        (
            "trn2.3xlarge",
            "2.9.0.2.15.32035",
            r"2\.9\.0\.2\.15\.32035 is the XLA line, which the backend neuron.*Try: a machine",
        ),
        ("trn2.3xlarge", "1.0", "is a placeholder without code.*Try: a machine"),
        (
            "trn2.3xlarge",
            "2.13.3.0",
            r"with torch_neuronx 2\.14\.3\.0, and this machine has 2\.13.*Try: neuronkit compile",
        ),
    ],
)
def test_another_machine_is_refused_with_what_to_do(artifact, tmp_path, monkeypatch, instance, version, message):
    become(monkeypatch, tmp_path, instance, version)
    with pytest.raises(ArtifactIncompatibleError, match=rf"(?s){message}"):
        neuronkit.load(artifact)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optlevel": 1}, r"optlevel: torch\.compile takes no such option for Neuron \(got 1\)"),
        ({"target": "trn2"}, "target: torch"),
        ({"compiler_args": "--lnc 1"}, "compiler_args: torch"),
        ({"inline_weights": True}, "inline_weights: neuron-native keeps them apart"),
        ({"dynamic_batch_size": True}, "dynamic_batch_size: shapes are fixed here"),
    ],
)
def test_options_without_effect_are_refused(trn2, options, message):
    with pytest.raises(OptionError, match=message):
        NATIVE.check_options(CompileOptions(**options))


def test_compiling_needs_the_native_line_and_a_device(tmp_path, monkeypatch):
    become(monkeypatch, tmp_path / "laptop", None)
    with pytest.raises(NeuronDeviceError, match="compiles on the machine that runs: there is no Neuron device"):
        NATIVE.check_options(CompileOptions())
    monkeypatch.undo()
    become(monkeypatch, tmp_path / "other", version=None)
    with pytest.raises(NeuronPackageError, match=r'(?s)torch-neuronx is not installed.*"torch-neuronx==2\.14\.\*"'):
        NATIVE.check_options(CompileOptions())


def test_it_says_that_it_is_experimental(trn2, capsys):
    NATIVE.check_options(CompileOptions())
    assert "experimental, and was never run on a device" in capsys.readouterr().err


def test_a_graph_with_state_is_refused(trn2, tmp_path):
    graph = cached_graph()
    with pytest.raises(NeuronCompileError, match=r"keeps a state between calls \(cache\).*\n?Try: --backend neuron"):
        NATIVE.compile(graph, Bucket({"batch": 2}), traced(graph, CachedSum()), CompileOptions(), tmp_path)


def test_failures_of_the_compiler_are_told(compiler, checkpoint, trn2, tmp_path, monkeypatch):
    given = {"task": TASK, "backend": "neuron-native", "batch_size": 1, "sequence_length": 4}
    monkeypatch.setattr(compiler, "fails", True)
    with pytest.raises(NeuronCompileError, match=r"(?s)torch\.compile failed for Neuron:.*NCC_EVRF001"):
        neuronkit.compile(checkpoint, tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()

    monkeypatch.setattr(compiler, "fails", False)
    monkeypatch.setattr(compiler, "is_silent", True)
    with pytest.raises(NeuronCompileError, match="left nothing in TORCH_NEURONX_NEFF_CACHE_DIR"):
        neuronkit.compile(checkpoint, tmp_path / "out", **given)


def test_without_the_dynamo_backend_the_package_is_named(artifact, trn2):
    with (
        registry_of(BACKENDS).temporary(NeuronNativeBackend(device="cpu"), "neuron-native"),
        pytest.raises(NeuronPackageError, match="torch has no dynamo backend 'neuron'"),
    ):
        neuronkit.load(artifact)
