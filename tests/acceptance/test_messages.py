"""The message of every error of the core, as its reader sees it; those of the registry are in its own tests."""

from __future__ import annotations

import inspect
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import neuronkit
from neuronkit import NeuronkitError, errors, weights
from neuronkit.artifact.hub import push_artifact
from neuronkit.artifact.manifest import File
from neuronkit.artifact.reader import Artifact, verify
from neuronkit.artifact.store import atomic_directory, require_free
from neuronkit.backends.cpu.host import require_compiler
from neuronkit.buckets import Bucket, BucketTable
from neuronkit.export import ExportConfig, Graph, Input, Output
from neuronkit.export.source import resolve_source
from neuronkit.options import CompileOptions, build
from neuronkit.plugins import resolve_backend
from neuronkit.session import open_session
from neuronkit.shells.shell import Shell
from neuronkit.tasks import infer_task
from neuronkit.testing.echo import Echo, write_checkpoint
from neuronkit.validation.gate import compare
from neuronkit.validation.references import Reference

GRAPH = Graph("doubled", [Input("letters", ["batch"])], [Output("echoed", ["batch"])])


class Silent(nn.Module):
    """Cannot be traced."""

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        raise ArithmeticError("the moon is full")


def compile_silent(here: Path) -> None:
    """Compile a model whose forward raises."""

    class Plugin(Echo):
        @neuronkit.hookimpl
        def export_config(self, source: Any) -> ExportConfig:
            return ExportConfig(load=Silent, graphs=[GRAPH])

    with neuronkit.get_registry().temporary(Plugin(), "echo.say-nothing"):
        neuronkit.compile(
            write_checkpoint(here / "echo"),
            here / "out",
            task="echo.say-nothing",
            optlevel=1,
            static=True,
            validate=False,
            cache=False,
        )


def refuse_training(here: Path) -> None:
    """Ask a shell for what only an eager module can do."""
    shell = Shell()
    shell.component = "unet"
    shell._refuse_change("enable_freeu", "freeu")


def find_difference(here: Path) -> None:
    """Compare a graph that doubles with an eager model that does not."""
    letters = torch.ones(2)
    bucket = Bucket({"batch": 2})
    compare(
        Reference(GRAPH, bucket, bucket.sizes, {"letters": letters}, {"echoed": letters}), lambda t: [t[0] * 2], 0.5
    )


def load_elsewhere(here: Path) -> None:
    """Open an artifact whose backend says that it cannot run here."""
    backend: Any = SimpleNamespace(cannot_run=lambda: None, incompatibility=lambda _: "it was compiled with torch 1.0")
    manifest: Any = SimpleNamespace(fingerprint={}, rebuild="neuronkit compile --model m out")
    open_session(Artifact(here / "out", manifest), backend)


def verify_edited(here: Path) -> None:
    """Verify an artifact of which a file was changed."""
    (here / "graph.pt2").write_bytes(b"edited")
    files = [File("graph.pt2", "0" * 64, 6)]
    rebuild = "neuronkit compile --model m out"
    manifest: Any = SimpleNamespace(files=lambda: files, side_files=[], weights=None, rebuild=rebuild)
    verify(Artifact(here, manifest))


def write_where_a_file_is(here: Path) -> None:
    """Write an artifact below a file."""
    (here / "file").touch()
    with atomic_directory(here / "file" / "out"):
        pass


def read_newer(here: Path) -> None:
    """Read a manifest of a later schema."""
    (here / "neuronkit.json").write_text(json.dumps({"schema": 99, "neuronkit": "9.0"}))
    neuronkit.load(here)


def upload_offline(here: Path) -> None:
    """Upload something without a network."""
    (here / "neuronkit.json").write_text("{}")
    push_artifact(here, "acme/tides")


def infer_nothing(here: Path) -> None:
    """Ask a checkpoint that names no class for its task."""
    infer_task(resolve_source(write_checkpoint(here / "echo", architectures=["EchoModel"])))


def overwrite(here: Path) -> None:
    """Write into a directory that is not empty."""
    (here / "kept.txt").touch()
    require_free(here, force=False)


CASES: dict[str, tuple[Callable[[Path], Any], type[Exception], str]] = {
    "ArtifactCorruptError": (
        verify_edited,
        ValueError,
        "graph.pt2 of the artifact {here} was edited: its SHA-256 is not the manifest's.\n"
        "Try: neuronkit compile --model m out",
    ),
    "ArtifactIncompatibleError": (
        load_elsewhere,
        ValueError,
        "{here}/out cannot run here: it was compiled with torch 1.0.\nTry: neuronkit compile --model m out",
    ),
    "ArtifactMismatchError": (
        lambda here: push_artifact(here, "acme/tides"),
        ValueError,
        "{here} is not an artifact. Try: save_pretrained('{here}') first.",
    ),
    "ArtifactNotFoundError": (
        neuronkit.load,
        FileNotFoundError,
        "{here} is not an artifact: there is no neuronkit.json in it.",
    ),
    "ArtifactSchemaError": (
        read_newer,
        ValueError,
        "{here}/neuronkit.json has schema 99, written by neuronkit 9.0; this version reads up to 1.\n"
        "Try: pip install --upgrade neuronkit",
    ),
    "ArtifactUploadError": (
        upload_offline,
        OSError,
        "{here} could not be uploaded to 'acme/tides' (Cannot reach https://huggingface.co/api/repos/create: offline mode "
        "is enabled. To disable it, please unset the `HF_HUB_OFFLINE` environment variable.).\n"
        "Try: a repository that you may write to, a token that allows it, and a hub that can be reached.",
    ),
    "ArtifactUntrustedError": (
        lambda _: neuronkit.load("acme/tides"),
        PermissionError,
        "There is no directory 'acme/tides', and an artifact from the hub holds native code that runs unchecked.\n"
        "Try: trust_artifact=True (--trust-artifact), if you trust who made it.",
    ),
    "ArtifactWriteError": (
        write_where_a_file_is,
        OSError,
        "Cannot write beside {here}/file/out: File exists.",
    ),
    "BackendNotFoundError": (
        lambda _: resolve_backend("tpu"),
        LookupError,
        "There is no backend 'tpu'. Installed: cpu, neuron, neuron-native.",
    ),
    "CompileError": (
        compile_silent,
        RuntimeError,
        "Graph 'doubled' could not be exported (batch1):\n  the moon is full",
    ),
    "CompilerNotFoundError": (
        lambda _: require_compiler(),
        FileNotFoundError,
        "No C++ compiler found (looked for no-such-compiler): the cpu backend needs one to compile.\n"
        "Try: apt-get install g++, or --optlevel 1, which runs the exported program without compiling it.",
    ),
    "ExportConfigError": (
        lambda _: Graph("tide", [Input("levels", ["batch"])], [Output("scores", ["batch", "height"])]),
        ValueError,
        "Graph 'tide' has outputs with axes that no input has: height.",
    ),
    "FixedGraphError": (
        refuse_training,
        NotImplementedError,
        "enable_freeu would change unet, which is compiled.\nTry: compile with freeu.",
    ),
    "InputError": (
        lambda _: BucketTable([Bucket({"batch": 1, "sequence": 8})], {"sequence": "input_ids"}).choose({"sequence": 9}),
        ValueError,
        "input_ids has 9 along 'sequence', and the largest bucket has 8. Buckets: batch1_sequence8.\n"
        "Try: a shorter input, or compile again with a larger size.",
    ),
    "OptionError": (
        lambda _: build(CompileOptions, {"optlevel": 7, "auto_casts": "all"}, "compile"),
        ValueError,
        "auto_casts: unknown option. Did you mean auto_cast?\noptlevel: must be one of 1, 2, 3 (got 7).",
    ),
    "OutputExistsError": (
        overwrite,
        FileExistsError,
        "{here} is not empty. Try: --force to replace it, or another directory.",
    ),
    "SourceError": (
        resolve_source,
        FileNotFoundError,
        "{here} has neither config.json nor model_index.json: it is not a checkpoint.",
    ),
    "UnknownTaskError": (
        infer_nothing,
        ValueError,
        "Cannot infer the task of {here}/echo: its config.json names the architectures ['EchoModel'].\n"
        "No plugin is installed for 'echo'. Try: neuronkit list-plugins",
    ),
    "ValidationError": (
        find_difference,
        ArithmeticError,
        "Graph 'doubled' (batch2) at {{'batch': 2}}: echoed differs from the eager model by 1, and the tolerance is 0.5.\n"
        "Nothing was written. Try: --atol to accept a larger difference, another --auto-cast, or --optlevel 1 to see "
        "whether the compiler is the cause.",
    ),
    "WeightsError": (
        lambda _: weights.check({}, [weights.constant("gain", torch.ones(1))]),
        ValueError,
        "The weights do not fit the graph:\n  gain: missing",
    ),
}
BASES = {"ArtifactError", "NeuronkitError"}
"""Never raised themselves."""


@pytest.fixture
def raised(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NeuronkitError:
    """The error of a case."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(getattr(errors, request.param)) as caught:
        CASES[request.param][0](tmp_path)
    return caught.value


@pytest.mark.parametrize("raised", CASES, indirect=True)
def test_the_message_of_every_error(raised: NeuronkitError, tmp_path: Path) -> None:
    """Word for word; and every error is the builtin that fits, and survives a process boundary."""
    _, builtin, text = CASES[type(raised).__name__]
    assert str(raised) == text.format(here=tmp_path)
    assert isinstance(raised, builtin)
    again = pickle.loads(pickle.dumps(raised))
    assert (type(again), str(again)) == (type(raised), str(raised))


def test_every_error_has_a_case() -> None:
    """A new class needs a case here."""
    classes = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, NeuronkitError) and value.__module__ == errors.__name__
    }
    assert classes - BASES == set(CASES)
