"""Which Neuron packages are installed, told by their metadata."""

from __future__ import annotations

import subprocess
import sys

import pytest

from neuronkit.backends.neuron import sdk
from neuronkit.backends.neuron.errors import NeuronPackageError
from neuronkit.errors import NeuronkitError
from tests.standin.simulation import write


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Write the metadata of a package, as pip leaves it."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write_metadata(name: str, version: str) -> None:
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        write(folder / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")

    return write_metadata


@pytest.mark.parametrize(
    ("version", "line"),
    [
        (None, "absent"),
        ("1.0", "placeholder"),
        ("1.0.0", "placeholder"),
        ("1", "placeholder"),
        ("nonsense", "placeholder"),
        ("1.13.1.1.12", "xla"),
        ("2.8.0.2.10.16998", "xla"),
        ("2.9.0.2.15.32035", "xla"),
        ("2.9.0.2.15.32035+simulated", "xla"),
        ("2.10.0", "native"),
        ("2.14.3.0", "native"),
    ],
)
def test_the_line_follows_from_the_version(version, line):
    assert sdk.line_of(version) == line


def test_nothing_is_installed():
    found = sdk.installed()

    assert (found.torch_neuronx, found.neuronx_cc, found.line, found.compiler_line) == (None, None, "absent", "absent")
    with pytest.raises(
        NeuronPackageError,
        match=r"^torch-neuronx is not installed\.\nTry: pip install neuronx-cc==.* --extra-index-url",
    ):
        sdk.require(compiler=True)


def test_placeholders_are_recognised(install):
    install("torch-neuronx", "1.0")
    install("neuronx-cc", "1.0.post1")

    found = sdk.installed()
    assert (found.line, found.compiler_line) == ("placeholder", "placeholder")
    with pytest.raises(
        NeuronPackageError, match=r"torch-neuronx 1\.0 is a placeholder .*\nTry: pip uninstall torch-neuronx"
    ):
        sdk.package()
    assert "neuronx-cc 1.0.post1 is a placeholder" in found.compiler_problem


def test_the_native_line_is_recognised(install):
    install("torch-neuronx", "2.14.3.0")
    install("neuronx-cc", "2.28.7631.0")

    with pytest.raises(
        NeuronPackageError, match=r"2\.14\.3\.0 is the native line .* cannot trace.*\nTry: python -m venv"
    ):
        sdk.require(compiler=False)


def test_serving_needs_no_compiler(install):
    install("torch-neuronx", "2.9.0.2.15.32035")

    assert sdk.require(compiler=False).line == "xla"
    with pytest.raises(NeuronPackageError, match="neuronx-cc, the compiler, is not installed"):
        sdk.require(compiler=True)


def test_a_package_that_cannot_be_imported_is_named(install, monkeypatch):
    install("torch-neuronx", "2.9.0.2.15.32035")
    monkeypatch.setitem(sys.modules, "torch_neuronx", None)

    with pytest.raises(
        NeuronPackageError,
        match=r"2\.9\.0\.2\.15\.32035 is installed, but cannot be imported: .*\nTry: neuronkit doctor",
    ):
        sdk.package()


def test_the_error_is_an_import_error_and_ours():
    assert issubclass(NeuronPackageError, ImportError)
    assert issubclass(NeuronPackageError, NeuronkitError)


def test_importing_the_backend_imports_no_stack():
    code = (
        "import sys; from neuronkit.backends.neuron import backend; "
        "print(sorted({'torch', 'torch_neuronx', 'torch_xla', 'transformers'} & set(sys.modules)), backend.name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[] neuron\n"
