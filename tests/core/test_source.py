"""Where a checkpoint comes from: a directory or a single file, and the configuration that the caller names for it."""

from __future__ import annotations

import pytest

from neuronkit.export.source import resolve_source
from neuronkit.options import SourceOptions


@pytest.mark.parametrize("single_file", [False, True])
@pytest.mark.parametrize("at_home", [False, True])
def test_configuration_elsewhere(single_file, at_home, tide_checkpoint, tmp_path, monkeypatch):
    """It may be below ``~``, for both kinds of checkpoint."""
    (tmp_path / "home" / "elsewhere").mkdir(parents=True)
    (tmp_path / "home" / "elsewhere" / "config.json").write_text('{"model_type": "tide", "width": 7}')
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    config = "~/elsewhere" if at_home else str(tmp_path / "home" / "elsewhere")
    model = tide_checkpoint / "tide.safetensors" if single_file else tide_checkpoint
    source = resolve_source(model, SourceOptions(config=config))
    assert source.config["width"] == 7
    assert source.path == (tmp_path / "home" / "elsewhere" if single_file else tide_checkpoint)


def test_side_files(tide_checkpoint):
    """Of the checkpoint and of the folders in it, sorted; not hidden, no indices of weights, no links to folders, no artifacts."""
    names = ["b.json", "a/c.txt", "a/b.model", "a.jinja", "é.py", "weights.index.json", ".hidden.json", "a/.hidden.py"]
    names += ["a/deeper/c.json", ".git/c.json", "artifact/neuronkit.json", "artifact/config.json", "a/weights.bin"]
    for name in names:
        (tide_checkpoint / name).parent.mkdir(exist_ok=True)
        (tide_checkpoint / name).write_text("{}")
    (tide_checkpoint / "linked").symlink_to(tide_checkpoint / "a")
    (tide_checkpoint / "folder.json").mkdir()
    found = [path.as_posix() for path in resolve_source(tide_checkpoint).side_files()]
    assert found == ["a/b.model", "a/c.txt", "a.jinja", "b.json", "config.json", "é.py"]
