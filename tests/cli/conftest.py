"""The command line in this process, packages that are written on the spot, and artifacts that no test changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from neuronkit.cli import main
from neuronkit_registry import Registry
from tests.core.tide import KEY, make_tide
from tests.plugins.checkpoints import tiny_bert, tiny_sentence_transformer

ROOT = Path(__file__).parents[2]
TIDE = "tests.core.tide:plugin"


@attrs.frozen
class Ended:
    """What a command came to."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON value on stdout."""
        assert self.out, f"Nothing on stdout, status {self.status}, and on stderr:\n{self.err}"
        return json.loads(self.out)


Run = Callable[..., Ended]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs words in this process."""

    def run(*words: object) -> Ended:
        capsys.readouterr()
        status = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Ended(status, captured.out, captured.err)

    return run


@pytest.fixture
def process() -> Run:
    """A function that runs words as a process of their own."""

    def run(*words: object, input: str = "", path: Path | None = None, env: Mapping[str, str] = {}) -> Ended:
        python_path = os.pathsep.join(str(item) for item in (path, ROOT, os.environ.get("PYTHONPATH")) if item)
        done = subprocess.run(
            [sys.executable, "-c", "import sys; from neuronkit.cli import main; sys.exit(main())", *map(str, words)],
            input=input,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": python_path, **env},
            timeout=600,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def registry(isolated_registry: Registry) -> Registry:
    """This process's registry, which looks at `site` too when it is refreshed, and forgets afterwards."""
    return isolated_registry


@pytest.fixture
def no_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if typed at a terminal."""
    monkeypatch.setattr(sys, "stdin", None)


@pytest.fixture(scope="package")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT for question answering."""
    return tiny_bert(tmp_path_factory.mktemp("checkpoint") / "answers")


@pytest.fixture(scope="package")
def artifact(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of `checkpoint`, for any length up to 64."""
    output = tmp_path_factory.mktemp("artifact") / "answers"
    assert main(["compile", "--model", str(checkpoint), "-O1", "-q", str(output)]) == 0
    return output


@pytest.fixture(scope="package")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of a sentence transformer."""
    source = tiny_sentence_transformer(tmp_path_factory.mktemp("checkpoint"))
    output = tmp_path_factory.mktemp("artifact") / "sentences"
    assert main(["compile", "--model", str(source), "-O1", "-q", str(output)]) == 0
    return output


@pytest.fixture(scope="package")
def tide_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that only a third-party plugin reads."""
    return make_tide(tmp_path_factory.mktemp("checkpoint") / "tide")


@pytest.fixture
def tide(registry: Any) -> Iterator[None]:
    """The third-party plugin, as a program registers it."""
    from tests.core.tide import plugin

    with registry.temporary(plugin, KEY):
        yield
