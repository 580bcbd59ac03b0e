"""What goes wrong with artifacts: each failure says what happened and what to type, and leaves nothing half-done."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import neuronkit
from neuronkit.artifact.reader import open_artifact, verify
from neuronkit.cli import main
from neuronkit.errors import (
    ArtifactCorruptError,
    ArtifactIncompatibleError,
    ArtifactNotFoundError,
    ArtifactSchemaError,
    ArtifactUntrustedError,
    ArtifactWriteError,
    CompileError,
    CompilerNotFoundError,
    OptionError,
    OutputExistsError,
    SourceError,
    ValidationError,
)
from neuronkit.generation import defaults
from neuronkit.processors import Processors, read_config
from tests.core.tide import KEY, TASK, Tide, Wrong, make_tide

ROOT = Path(__file__).parents[2]
SHAPE = {"optlevel": 1, "static": True, "sequence_length": 5}


def compile_tide(checkpoint, output, **options):
    """Compile for one small bucket."""
    return neuronkit.compile(checkpoint, output, task=TASK, **{**SHAPE, **options})


def edit_manifest(directory, change):
    """Change the manifest on disk, and return the command that rebuilds the artifact."""
    file = directory / "neuronkit.json"
    record = json.loads(file.read_text())
    change(record)
    file.write_text(json.dumps(record))
    return record.get("rebuild")


def test_output_not_empty(tide_checkpoint, tmp_path):
    """It stays as it is, unless force replaces it."""
    output = tmp_path / "out"
    output.mkdir()
    (output / "precious").write_text("mine")
    with pytest.raises(OutputExistsError, match=f"^{re.escape(str(output))} is not empty. Try: --force to replace it"):
        compile_tide(tide_checkpoint, output)
    assert [path.name for path in output.iterdir()] == ["precious"]
    compile_tide(tide_checkpoint, output, force=True)
    assert not (output / "precious").exists()
    neuronkit.load(output)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_output_is_a_file(tide_checkpoint, tmp_path):
    """A file is never replaced."""
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputExistsError, match="is a file; the output is a directory"):
        compile_tide(tide_checkpoint, tmp_path / "out", force=True)


def test_force_keeps_the_old_one_when_the_compile_fails(tide_checkpoint, tmp_path):
    """What is there is replaced by something that works, or not at all."""
    compile_tide(tide_checkpoint, tmp_path / "out")
    with neuronkit.get_registry().temporary(Tide(wrap=Wrong), KEY), pytest.raises(ValidationError):
        compile_tide(tide_checkpoint, tmp_path / "out", force=True)
    neuronkit.load(tmp_path / "out")


@pytest.mark.parametrize("name", [".", "../here"])
def test_the_directory_that_one_is_in_is_never_replaced(tide_checkpoint, tmp_path, monkeypatch, name):
    """Not even an empty one: whoever works in it would be left in what is gone."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(OutputExistsError) as raised:
        compile_tide(tide_checkpoint, name)
    assert str(raised.value) == f"{name} is the directory that this process works in. Try: another directory."
    assert Path.cwd() == tmp_path / "here"


@pytest.mark.parametrize("folder", ["tide", "."])
def test_the_model_is_never_replaced(tmp_path, folder):
    """Not by force, and not with the directory that it lies in."""
    checkpoint = make_tide(tmp_path / "models" / "tide")
    before = sorted(path.name for path in checkpoint.iterdir())
    output = tmp_path / "models" / folder
    with pytest.raises(OutputExistsError) as raised:
        compile_tide(checkpoint, output, force=True)
    assert str(raised.value) == f"{output} holds the model that is compiled. Try: another directory."
    assert sorted(path.name for path in checkpoint.iterdir()) == before


def test_an_artifact_is_no_checkpoint(tide_artifact, tmp_path):
    """Compiling one again says what it is."""
    with pytest.raises(SourceError) as raised:
        compile_tide(tide_artifact, tmp_path / "out")
    assert str(raised.value) == (
        f"{tide_artifact} is an artifact already, and no checkpoint.\n"
        "Try: the checkpoint that it was made of; neuronkit.load runs the artifact as it is."
    )


def test_artifacts_inside_of_a_checkpoint_are_not_part_of_it(tmp_path):
    """Nor of the next artifact."""
    checkpoint = make_tide(tmp_path / "tide")
    compile_tide(checkpoint, checkpoint / "one")
    compile_tide(checkpoint, checkpoint / "two")
    assert not (checkpoint / "two" / "one").exists()


def test_a_saved_artifact_says_how_to_make_itself(tide_artifact, tmp_path):
    """The command that rebuilds it names the place where it lies now."""
    neuronkit.load(tide_artifact).save_pretrained(tmp_path / "saved here")
    rebuild = open_artifact(tmp_path / "saved here").manifest.rebuild
    assert rebuild.endswith(f" --force '{tmp_path / 'saved here'}'")
    assert rebuild.split(" --force ")[0] == open_artifact(tide_artifact).manifest.rebuild.split(" --force ")[0]
    verify(open_artifact(tmp_path / "saved here"))


def test_a_relative_path_outlives_a_change_of_directory(tide_artifact, tmp_path, monkeypatch):
    """And a directory that is gone is named."""
    monkeypatch.chdir(tide_artifact.parent)
    model = neuronkit.load(tide_artifact.name)
    monkeypatch.chdir(tmp_path)
    assert model.processors.config["model_type"]
    with pytest.raises(ArtifactNotFoundError) as raised:
        read_config(Path("nowhere"))
    assert str(raised.value) == (
        "nowhere was there when the artifact was loaded, and is gone.\n"
        "Try: put it back, or load the artifact from where it is now."
    )


@pytest.mark.parametrize("given", [None, 3, b"artifact", ""])
def test_what_names_no_artifact(given):
    """It is refused as what it is, by both verbs."""
    for verb in (neuronkit.load, neuronkit.pipeline):
        if verb is neuronkit.load or isinstance(given, str):
            expected = f"An artifact is named by its directory or its hub id (got {given!r})."
        else:
            expected = f"A pipeline is of an artifact's directory or hub id, or of what neuronkit.load returned (got {given!r})."
        with pytest.raises(ArtifactNotFoundError) as raised:
            verb(given)
        assert str(raised.value) == f"{expected}\nTry: the directory that neuronkit compile wrote."


@pytest.mark.parametrize(
    "ask",
    [
        lambda model: model.processors.tokenizer,
        lambda model: model.processors.settings("tide.json"),
        lambda model: model.config,
        lambda model: model.session.weights(next(iter(model.session.graphs))),
        lambda model: defaults.read(model.model_save_dir, None),
        lambda model: model.save_pretrained("elsewhere"),
    ],
    ids=["tokenizer", "settings", "config", "weights", "generation_config", "save_pretrained"],
)
def test_an_artifact_that_was_taken_away(tide_artifact, tmp_path, monkeypatch, ask):
    """Whatever reads on in it says so; a missing file is none that says nothing."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tide_artifact, tmp_path / "artifact")
    model = neuronkit.load(tmp_path / "artifact")
    (tmp_path / "artifact").rename(tmp_path / "moved")
    with pytest.raises(ArtifactNotFoundError) as raised:
        ask(model)
    assert str(raised.value).startswith(f"{tmp_path / 'artifact'} was there when the artifact was loaded, and is gone.")
    assert not (tmp_path / "elsewhere").exists()


def test_settings_are_read_once(tmp_path):
    """What lies in their place later belongs to another artifact."""
    (tmp_path / "tide.json").write_text('{"height": 3}')
    processors = Processors(tmp_path, {})
    assert processors.settings("tide.json") == {"height": 3}
    assert processors.settings("ebb.json") == {}
    (tmp_path / "tide.json").unlink()
    (tmp_path / "ebb.json").write_text('{"height": 1}')
    assert processors.settings("tide.json") == {"height": 3}
    assert processors.settings("ebb.json") == {}


def test_what_compile_returns_outlives_a_change_of_directory(tide_checkpoint, tmp_path, monkeypatch):
    """Its path is absolute, as that of an artifact that was opened; the command that rebuilds it is as it was typed."""
    monkeypatch.chdir(tmp_path)
    artifact = compile_tide(tide_checkpoint, "here", validate=False)
    assert artifact.path == tmp_path / "here"
    assert artifact == open_artifact("here")
    assert artifact.manifest.rebuild.endswith(" here")


def test_a_pipeline_of_a_loaded_model_takes_nothing_else(tide_artifact):
    """What was loaded is not loaded again."""
    model = neuronkit.load(tide_artifact)
    neuronkit.pipeline(model)
    with pytest.raises(OptionError) as raised:
        neuronkit.pipeline(model, task="other", top_k=2)
    assert str(raised.value) == (
        "task, top_k: the model is loaded already, and pipeline takes nothing else with it.\n"
        "Try: the artifact's directory instead; options of a call belong to the call."
    )


@pytest.mark.parametrize(
    ("unnamed", "got", "made"),
    [
        (
            ["text-classification"],
            "a task, 'text-classification'",
            " (neuronkit compile --task text-classification ...)",
        ),
        (["ner", object()], "a task, 'ner'", " (neuronkit compile --task ner ...)"),
        ([Path("out"), object()], "2 values without a name", ""),
    ],
)
def test_a_pipeline_is_not_of_a_task(unnamed, got, made):
    """The call of other libraries, which take a task and a model, is shown the one of this."""
    with pytest.raises(OptionError) as raised:
        neuronkit.pipeline(*unnamed, tokenizer=None)
    assert str(raised.value) == (
        f"pipeline takes an artifact, which knows its task and its tokenizer (got {got}).\n"
        f'Try: neuronkit.pipeline("DIRECTORY"), of what was compiled before{made}.'
    )


def test_loading_takes_no_configuration(tide_artifact):
    """It is inside."""
    with pytest.raises(OptionError, match="config: an artifact has its configuration inside"):
        neuronkit.load(tide_artifact, config="elsewhere")


def test_a_cache_that_cannot_be_written(tide_checkpoint, tmp_path, monkeypatch):
    """Says which, and how to do without."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NEURONKIT_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ArtifactWriteError) as raised:
        compile_tide(tide_checkpoint, tmp_path / "out")
    assert str(raised.value) == (
        f"The cache {tmp_path / 'file' / 'cache'} cannot be written: Not a directory.\n"
        "Try: NEURONKIT_CACHE=DIR with another directory, or --no-cache."
    )
    compile_tide(tide_checkpoint, tmp_path / "out", cache=False)


def test_a_cache_that_cannot_be_locked(own_cache, tide_checkpoint, tmp_path, capsys):
    """Serves what it holds, as one does that lies on a read-only disk; only what is missing needs to be written."""
    compile_tide(tide_checkpoint, tmp_path / "first")
    for lock in (own_cache / "graphs").glob("*.lock"):
        lock.unlink()
        lock.mkdir()
    compile_tide(tide_checkpoint, tmp_path / "second")
    neuronkit.load(tmp_path / "second")
    for entry in open_artifact(tmp_path / "second").manifest.graphs:
        assert entry == next(one for one in open_artifact(tmp_path / "first").manifest.graphs if one.name == entry.name)
    assert main(["cache", "clear"]) == 1
    assert capsys.readouterr().err == (
        f"error: The cache {own_cache} cannot be cleared: Is a directory.\n"
        "Try: as the user that it belongs to, or NEURONKIT_CACHE=DIR with another directory.\n"
    )
    for file in (own_cache / "graphs").rglob("*.json"):
        file.unlink()
    with pytest.raises(ArtifactWriteError, match="cannot be written: Is a directory"):
        compile_tide(tide_checkpoint, tmp_path / "third")


def test_a_cache_with_a_space_in_its_path(own_cache, tide_checkpoint, tmp_path):
    """g++ would take it for two files."""
    with pytest.raises(CompileError) as raised:
        compile_tide(tide_checkpoint, tmp_path / "out", optlevel=2)
    assert str(raised.value) == (
        f"Inductor's command for the C++ compiler takes no path with a space, such as {str(own_cache / 'inductor')!r}.\n"
        "Try: NEURONKIT_CACHE=DIR with another directory, or --optlevel 1, which compiles nothing."
    )


def test_the_compilers_own_directory(own_cache, tide_checkpoint, tmp_path, monkeypatch):
    """A ~ is the home, as in every other path, and what cannot be made is named."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CompileError, match="takes no path with a space"):  # the cache's, which comes later
        compile_tide(tide_checkpoint, tmp_path / "out", optlevel=2, compiler_workdir="~/work")
    assert (tmp_path / "work").is_dir()
    assert not (tmp_path / "~").exists()
    (tmp_path / "file").touch()
    with pytest.raises(CompileError) as raised:
        compile_tide(tide_checkpoint, tmp_path / "out", optlevel=2, compiler_workdir=tmp_path / "file")
    assert str(raised.value) == (
        f"compiler_workdir: {tmp_path / 'file'} cannot be made: File exists.\nTry: another directory."
    )


def test_no_compiler(tide_checkpoint, tmp_path, monkeypatch):
    """Compiling needs one; it is missed before any work is done."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(CompilerNotFoundError) as raised:
        compile_tide(tide_checkpoint, tmp_path / "out", optlevel=2)
    assert str(raised.value) == (
        "No C++ compiler found (looked for g++, clang++): the cpu backend needs one to compile.\n"
        "Try: apt-get install g++, or --optlevel 1, which runs the exported program without compiling it."
    )
    assert list(tmp_path.iterdir()) == []


def test_a_compiler_with_arguments(tide_checkpoint, tmp_path, monkeypatch):
    """As build systems name it: Inductor would look for a program of that whole name."""
    monkeypatch.setenv("CXX", "g++ -pipe")
    with pytest.raises(CompilerNotFoundError) as raised:
        compile_tide(tide_checkpoint, tmp_path / "out", optlevel=2)
    assert str(raised.value) == (
        "CXX names a program with arguments (g++ -pipe), and Inductor takes the name of a program alone.\n"
        "Try: CXX=FILE, an executable script that calls it with them."
    )


def test_validation_failure(tide_checkpoint, tmp_path):
    """A graph that says something else than the eager model is no artifact."""
    with neuronkit.get_registry().temporary(Tide(wrap=Wrong), KEY), pytest.raises(ValidationError) as raised:
        compile_tide(tide_checkpoint, tmp_path / "out")
    assert str(raised.value).startswith(
        "Graph 'tide' (batch1_sequence5) at {'batch': 1, 'sequence': 5}: levels differs from the eager model by 0.5, "
        "and the tolerance is 0.0001.\nNothing was written. Try: --atol to accept a larger difference"
    )
    assert list(tmp_path.iterdir()) == []


def test_validation_may_be_relaxed_or_switched_off(tide_checkpoint, tmp_path):
    """The caller has the last word, and the manifest says so."""
    with neuronkit.get_registry().temporary(Tide(wrap=Wrong), KEY):
        relaxed = compile_tide(tide_checkpoint, tmp_path / "relaxed", atol=0.6).manifest.validation
        off = compile_tide(tide_checkpoint, tmp_path / "off", validate=False).manifest.validation
    assert (relaxed.status, relaxed.tolerance) == ("passed", 0.6)
    assert relaxed.max_abs_diff == pytest.approx(0.5, abs=1e-5)
    assert (off.status, off.checks) == ("not run (disabled)", [])


@pytest.mark.parametrize("damage", ["truncated", "edited", "missing"])
@pytest.mark.parametrize("pattern", ["**/*.pt2", "config.json", "weights.safetensors"])
def test_damaged_file(tide_copy, pattern, damage):
    """Size and digest of every file are compared, and the command that rebuilds it is shown."""
    (file,) = tide_copy.glob(pattern)
    content = file.read_bytes()
    relative = file.relative_to(tide_copy).as_posix()
    if damage == "missing":
        file.unlink()
        what = "is missing"
    elif damage == "truncated":
        file.write_bytes(content[:-3])
        what = f"has {len(content) - 3} bytes instead of {len(content)}: it is truncated or was edited"
    else:
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        what = "was edited: its SHA-256 is not the manifest's"
    rebuild = open_artifact(tide_copy).manifest.rebuild
    note = (
        " The configuration and the tokenizer's vocabulary are in an artifact already: nothing may be saved over them."
    )
    with pytest.raises(ArtifactCorruptError) as raised:
        neuronkit.load(tide_copy)
    note = note if relative == "config.json" else ""
    assert str(raised.value) == f"{relative} of the artifact {tide_copy} {what}.{note}\nTry: {rebuild}"


def test_weights_are_verified_once(tide_copy):
    """A file that was verified is known by size, time and inode; asking for it reads it again."""
    neuronkit.load(tide_copy)
    file = tide_copy / "weights.safetensors"
    status, content = file.stat(), file.read_bytes()
    with file.open("r+b") as opened:
        opened.write(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(ArtifactCorruptError, match=r"weights.safetensors of the artifact .* was edited"):
        verify(open_artifact(tide_copy), weights=True)
    os.utime(file)
    with pytest.raises(ArtifactCorruptError, match=r"weights.safetensors of the artifact .* was edited"):
        neuronkit.load(tide_copy)


def test_newer_schema(tide_copy):
    """Written by a later version."""
    edit_manifest(tide_copy, lambda record: record.update(schema=99, neuronkit="9.0"))
    message = "neuronkit.json has schema 99, written by neuronkit 9.0; this version reads up to 1.\n"
    with pytest.raises(ArtifactSchemaError, match=re.escape(message)):
        neuronkit.load(tide_copy)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"key": 1}', '"schema"', "\x00"])
def test_manifest_that_is_none(tide_copy, text):
    """Not JSON, or not ours."""
    (tide_copy / "neuronkit.json").write_text(text)
    with pytest.raises(ArtifactCorruptError, match=r"neuronkit.json is truncated or not a manifest: "):
        neuronkit.load(tide_copy)


@pytest.mark.parametrize(("field", "value"), [("graphs", None), ("graphs", [{"name": 1}]), ("weights", {"file": "x"})])
def test_manifest_with_wrong_fields(tide_copy, field, value):
    """The schema is right and the content is not."""
    edit_manifest(tide_copy, lambda record: record.update({field: value}))
    with pytest.raises(
        ArtifactCorruptError, match=r"neuronkit.json is not a valid manifest: .*\.\nTry: compile the model again"
    ):
        neuronkit.load(tide_copy)


@pytest.mark.parametrize("path", ["../payload", "/etc/passwd", "tide/../../payload", "."])
@pytest.mark.parametrize("field", ["file", "entry"])
def test_manifest_with_paths_that_leave_the_artifact(tide_copy, field, path):
    """A copy of it would write there."""

    def change(record):
        bucket = record["graphs"][0]["buckets"][0]
        (bucket if field == "entry" else bucket["files"][0])[field] = path

    edit_manifest(tide_copy, change)
    where = "$.graphs[0].buckets[0]" + ("" if field == "entry" else ".files[0]")
    with pytest.raises(ArtifactCorruptError) as raised:
        neuronkit.load(tide_copy)
    assert str(raised.value) == (
        f"{tide_copy}/neuronkit.json is not a valid manifest: {field} must be a path within the artifact, relative and without "
        f"'..' (got {path!r}) @ {where}.\nTry: compile the model again."
    )


def test_checkpoint_instead_of_artifact(tide_checkpoint, tmp_path):
    """The error names both ways out; so does `from_pretrained`."""
    for load in (neuronkit.load, neuronkit.pipeline, neuronkit.NeuronBaseModel.from_pretrained):
        with pytest.raises(FileNotFoundError, match=r"from_pretrained\(\.\.\., export=True\)") as raised:
            load(tide_checkpoint)
        assert isinstance(raised.value, ArtifactNotFoundError)
        assert f"Try: neuronkit compile --model {tide_checkpoint} OUTPUT" in str(raised.value)
    with pytest.raises(ArtifactNotFoundError, match=r"is not an artifact: there is no neuronkit.json in it.$"):
        neuronkit.load(tmp_path)


@pytest.mark.parametrize("name", ["./missing", "../a/b/c", "/nowhere/missing", "~/missing", "a/b/c", "acme/ti--des"])
@pytest.mark.parametrize("trust_artifact", [False, True])
def test_path_that_leads_nowhere(name, trust_artifact, tmp_path):
    """It is not taken for a hub id, so that no trust is asked for; the hub is not asked for such a checkpoint either."""
    with pytest.raises(ArtifactNotFoundError) as raised:
        neuronkit.load(name, trust_artifact=trust_artifact)
    assert str(raised.value) == (
        f"There is no directory {name!r}, and it is not a hub id either.\n"
        "Try: the directory that `neuronkit compile` wrote."
    )
    with pytest.raises(SourceError, match=r"There is no directory '.*', and it is not a hub id either"):
        neuronkit.compile(name, tmp_path / "output")


def test_hub_needs_trust():
    """A name that is no directory would be downloaded, and is native code."""
    with pytest.raises(ArtifactUntrustedError, match=r"There is no directory 'acme/tides', (?s:.*)trust_artifact=True"):
        neuronkit.load("acme/tides")


@pytest.mark.parametrize(
    ("fingerprint", "reason"),
    [
        ({"torch": "1.0"}, "it was compiled with torch 1.0, and this is torch "),
        ({"machine": "sparc", "instruction_sets": []}, "it was compiled for sparc, and this is "),
        ({"instruction_sets": ["zeta99"]}, "it was compiled for a CPU with zeta99, which this one lacks"),
    ],
)
def test_compiled_for_something_else(tide_copy, fingerprint, reason):
    """Refused with the command that rebuilds it, instead of a crash."""
    import platform

    def change(record):
        record["fingerprint"] = {**record["fingerprint"], "machine": platform.machine(), **fingerprint}

    rebuild = edit_manifest(tide_copy, change)
    with pytest.raises(ArtifactIncompatibleError) as raised:
        neuronkit.load(tide_copy)
    assert str(raised.value).startswith(f"{tide_copy} cannot run here: {reason}")
    assert str(raised.value).endswith(f".\nTry: {rebuild}")
    assert rebuild.startswith("neuronkit compile --model ")


SCRIPT = """
import sys, time
import neuronkit
from neuronkit import hookimpl
from neuronkit.plugins import EXTENSIONS, registry_of
from tests.core.tide import KEY, TASK, plugin

class Staller:
    @hookimpl(wrapper=True)
    def compile(self):
        result = yield
        print("compiling", flush=True)
        time.sleep(600)
        return result

neuronkit.get_registry().register(plugin, KEY)
if sys.argv[3] == "stall":
    registry_of(EXTENSIONS).register(Staller(), "staller")
else:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    neuronkit.compile(sys.argv[1], sys.argv[2], task=TASK, optlevel=1, static=True, sequence_length=5)
except neuronkit.NeuronkitError as error:
    print(type(error).__name__, error)
"""


def start(checkpoint, output, what):
    """Compile in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    words = [sys.executable, "-c", SCRIPT, str(checkpoint), str(output), str(what)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_interrupted_compile(own_cache, tide_checkpoint, tmp_path, sent):
    """There is no output, and the next compile works and leaves nothing but its artifact."""
    folder = tmp_path / "folder"
    folder.mkdir()
    process = start(tide_checkpoint, folder / "out", "stall")
    assert process.stdout.readline() == "compiling\n"
    process.send_signal(sent)
    process.communicate(timeout=600)
    assert process.returncode != 0
    assert not (folder / "out").exists()
    assert sent == signal.SIGKILL or list(folder.iterdir()) == []
    compile_tide(tide_checkpoint, folder / "out")
    assert [path.name for path in folder.iterdir()] == ["out"]
    assert len(list((own_cache / "graphs").iterdir())) == 2
    neuronkit.load(folder / "out")


@pytest.mark.parametrize("width", [4096, 8], ids=["weights", "graph"])
def test_disk_full(own_cache, tmp_path, width):
    """While the weights or the graph are written: an error that says where and how much is free, and nothing left."""
    checkpoint = make_tide(tmp_path / "tide", width=width)
    folder = tmp_path / "folder"
    folder.mkdir()
    said, _ = start(checkpoint, folder / "out", 400_000 if width == 4096 else 3_000).communicate(timeout=600)
    assert said.startswith("ArtifactWriteError Could not write ")
    temporary = re.escape(tempfile.gettempdir())
    assert re.search(
        rf"\(\d+ MB free there, \d+ MB in {temporary}, where temporary files go\)\. Nothing was left behind\.", said
    )
    assert "\nTry: another directory, TMPDIR=DIR for those, or free some space" in said
    assert list(folder.iterdir()) == []
