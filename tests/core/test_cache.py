"""The cache of compiled graphs: what shares an entry, what must not, and what survives damage and company."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import neuronkit
from neuronkit.artifact.cache import GraphCache, content_key
from neuronkit.backends.base import CompiledGraph
from neuronkit.buckets import Bucket
from neuronkit.compilation import jobs
from neuronkit.compilation.journey import compile_model
from neuronkit.errors import ValidationError
from neuronkit.export.identity import package_sources
from tests.core.tide import TASK, load_tide, make_tide
from tests.plugins.checkpoints import tiny_bert

SEED = 29
READINGS = torch.randint(0, 31, (2, 6), generator=torch.Generator().manual_seed(SEED))
ROOT = Path(__file__).parents[2]


def compile_tide(checkpoint, output, **options):
    """Compile a checkpoint; return whether its graph came from the cache, and the artifact's directory."""
    notes = []
    given = {"optlevel": 1, "static": True, "sequence_length": 6, **options}
    compile_model(checkpoint, output, task=TASK, backend_name="cpu", given=given, progress=notes.append)
    (note,) = [note for note in notes if note.startswith("tide batch1_sequence")]
    assert (" from the cache (" in note) != (" compiled (" in note)
    return " from the cache (" in note


def difference(artifact, checkpoint):
    """Return how far an artifact is from its eager checkpoint."""
    found = neuronkit.load(artifact)(readings=READINGS).levels
    with torch.no_grad():
        expected = load_tide(checkpoint)(READINGS, torch.ones_like(READINGS))["levels"]
    return (found - expected).abs().max().item()


@pytest.fixture(scope="module")
def module_cache(tmp_path_factory):
    """A cache that the tests of this module share, filled by the first."""
    path = tmp_path_factory.mktemp("shared cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEURONKIT_CACHE", str(path))
        yield path


@pytest.fixture(scope="module")
def filled(registered, module_cache, tide_checkpoint, tmp_path_factory):
    """The cache with the graph of the first checkpoint."""
    assert not compile_tide(tide_checkpoint, tmp_path_factory.mktemp("first") / "out")
    return module_cache


def test_second_compile_hits(filled, tide_checkpoint, tmp_path):
    """The same thing again, to another place, is not compiled."""
    assert compile_tide(tide_checkpoint, tmp_path / "out")
    assert difference(tmp_path / "out", tide_checkpoint) <= 1e-4


def test_sibling_shares_the_graph(filled, tide_checkpoint, tmp_path):
    """Other weights, another directory, other labels: no compile, and its own results."""
    sibling = make_tide(tmp_path / "sibling", seed=1, id2label={"0": "ebb"}, architectures=["Other"], dtype="float32")
    assert compile_tide(sibling, tmp_path / "out")
    assert difference(tmp_path / "out", sibling) <= 1e-4
    assert difference(tmp_path / "out", tide_checkpoint) > 1e-2


def test_same_path_other_weights(filled, tmp_path):
    """What lies at a path now is what counts."""
    path = make_tide(tmp_path / "tide", seed=2)
    compile_tide(path, tmp_path / "one")
    make_tide(path, seed=3)
    assert compile_tide(path, tmp_path / "two")
    assert difference(tmp_path / "two", path) <= 1e-4
    assert difference(tmp_path / "one", path) > 1e-2


@pytest.mark.parametrize(
    "changes",
    [{"width": 12}, {"window": 5}, {"levels": ["low", "high"]}, {"new_field": 1}],
    ids=["shape", "code path", "outputs", "unknown field"],
)
def test_other_architecture_misses(filled, tmp_path, changes):
    """A configuration that may change the graph has a graph of its own."""
    path = make_tide(tmp_path / "tide", **changes)
    assert not compile_tide(path, tmp_path / "out")
    assert difference(tmp_path / "out", path) <= 1e-4


@pytest.mark.parametrize(
    "options",
    [{"sequence_length": 7}, {"auto_cast": "all"}, {"rounding": 3}],
    ids=["bucket", "precision", "plugin option"],
)
def test_other_options_miss(filled, tide_checkpoint, tmp_path, options):
    """So has another bucket, precision, or option of the plugin."""
    assert not compile_tide(tide_checkpoint, tmp_path / "out", **options)


@pytest.mark.parametrize("options", [{"atol": 1e-3}, {"validate": False}, {"jobs": 2}], ids=str)
def test_options_that_change_no_graph_hit(filled, tide_checkpoint, tmp_path, options):
    """How it is checked and made is no part of what it is."""
    assert compile_tide(tide_checkpoint, tmp_path / "out", **options)


def test_inline_weights_key_on_their_contents(filled, tmp_path):
    """Equal weights elsewhere hit; other weights at the same path do not, and never give the old results."""
    path = make_tide(tmp_path / "tide", seed=4)
    assert not compile_tide(path, tmp_path / "one", inline_weights=True)
    assert compile_tide(make_tide(tmp_path / "copy", seed=4), tmp_path / "two", inline_weights=True)
    make_tide(path, seed=5)
    assert not compile_tide(path, tmp_path / "three", inline_weights=True)
    assert difference(tmp_path / "three", path) <= 1e-4


def test_wrapped_graph_misses(filled, tide_checkpoint, tmp_path):
    """What a plugin wraps around the model belongs to the graph."""
    from tests.core.tide import KEY, Doubled, Tide

    with neuronkit.get_registry().temporary(Tide(wrap=Doubled), KEY):
        assert not compile_tide(tide_checkpoint, tmp_path / "out")


def test_another_backend_s_code_misses(filled, tide_checkpoint, tmp_path, monkeypatch):
    """Who works on a backend, or installs it from its sources, gets no graph that its code of yesterday compiled."""
    sources = package_sources("neuronkit.backends.cpu.backend")
    assert {"backend.py", "products.py", "limits.py"} <= set(sources)
    assert {"exporting.py", "program.py"} <= set(package_sources("neuronkit.backends.base"))
    changed = {**sources, "limits.py": "0" * 64}
    monkeypatch.setattr(jobs, "package_sources", lambda name: changed if "cpu" in name else package_sources(name))
    assert not compile_tide(tide_checkpoint, tmp_path / "out")


@pytest.mark.parametrize(
    "text", ["[]", "null", '{"label": "x", "record": {}}', '{"label": "x", "record": 3}', "{", "[" * 100_000]
)
def test_a_damaged_record_is_no_entry(tmp_path, text):
    """The graph is compiled again, and the list does without it."""
    cache = GraphCache(tmp_path)
    directory = tmp_path / "graphs" / "key"
    directory.mkdir(parents=True)
    (directory / "graph.json").write_text(text)
    assert cache.entries() == []

    def compile(directory):
        (directory / "code").write_text("")
        return CompiledGraph(directory, "code")

    assert not cache.get_or_compile("key", "label", Bucket({}), compile).hit
    assert cache.get_or_compile("key", "label", Bucket({}), compile).hit


def test_clearing_leaves_what_is_in_use(tmp_path):
    """A graph that is being compiled or copied by somebody."""
    cache = GraphCache(tmp_path)

    def compile(directory):
        (directory / "code").write_text("")
        return CompiledGraph(directory, "code")

    def clear_meanwhile(entry):
        cache.clear()
        assert (entry.directory / "code").exists()

    cache.get_or_compile("idle", "label", Bucket({}), compile)
    cache.get_or_compile("used", "label", Bucket({}), compile, clear_meanwhile)
    assert [entry.key for entry in cache.entries()] == ["used"]
    cache.clear()
    assert list((tmp_path / "graphs").iterdir()) == []


def clear_in_another_process(root):
    """What ``neuronkit cache clear`` does."""
    code = "import sys; from neuronkit.cli import main; sys.exit(main(['cache', 'clear']))"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "NEURONKIT_CACHE": str(root)}, check=True)


@pytest.mark.parametrize("private", [False, True])
def test_clearing_leaves_what_is_being_written(own_cache, tmp_path, private):
    """The files of a graph, and those that its compiler shares with others, with ``--no-cache`` too."""
    compiler = own_cache / "inductor" / "kernel.cpp"

    def compile(directory):
        compiler.parent.mkdir(parents=True)
        compiler.write_text("")
        (directory / "first").write_text("")
        clear_in_another_process(own_cache)
        assert compiler.exists()
        (directory / "second").write_text("")
        return CompiledGraph(directory, "first")

    cache = GraphCache(tmp_path / "private") if private else GraphCache()
    entry = cache.get_or_compile("key", "label", Bucket({}), compile)
    assert [file.file for file in entry.record.files] == ["first", "second"]
    clear_in_another_process(own_cache)
    assert not compiler.parent.exists()


def test_clearing_removes_what_was_left_half_written(tmp_path):
    """By a process that was killed."""
    left = tmp_path / "graphs" / ".key.writing-abcdefgh"
    left.mkdir(parents=True)
    (tmp_path / "graphs" / "key.lock").touch()
    GraphCache(tmp_path).clear()
    assert list((tmp_path / "graphs").iterdir()) == []


def test_validation_after_a_hit_tells_where_the_graph_came_from(filled, tide_checkpoint, tmp_path):
    """What is wrong may be an old graph rather than the tolerance."""
    from tests.core.tide import KEY, Tide, Wrong

    with neuronkit.get_registry().temporary(Tide(wrap=Wrong), KEY):
        compile_tide(tide_checkpoint, tmp_path / "out", validate=False)
        with pytest.raises(ValidationError, match=r"\nGraphs came from the cache\. (?s:.*)try: --no-cache\.$"):
            compile_tide(tide_checkpoint, tmp_path / "again")
        with pytest.raises(ValidationError) as caught:
            compile_tide(tide_checkpoint, tmp_path / "again", cache=False)
    assert "from the cache" not in str(caught.value)


def test_bert_sibling(own_cache, tmp_path):
    """A fine-tuned sibling in another directory with other labels, as transformers saves it."""
    notes = []

    def compile_bert(path, output):
        given = {"optlevel": 1, "static": True, "sequence_length": 8}
        compile_model(path, output, task="question-answering", backend_name="cpu", given=given, progress=notes.append)

    compile_bert(tiny_bert(tmp_path / "one", seed=0, num_hidden_layers=1), tmp_path / "out one")
    sibling = tiny_bert(tmp_path / "two", seed=1, num_hidden_layers=1, id2label={0: "no", 1: "yes"})
    compile_bert(sibling, tmp_path / "out two")
    assert [" from the cache (" in note for note in notes if note.startswith("encoder ")] == [False, True]
    from transformers import AutoModelForQuestionAnswering

    ids = torch.randint(5, 90, (1, 8), generator=torch.Generator().manual_seed(SEED))
    with torch.no_grad():
        expected = AutoModelForQuestionAnswering.from_pretrained(sibling).eval()(ids).start_logits
    torch.testing.assert_close(neuronkit.load(tmp_path / "out two")(ids).start_logits, expected, atol=1e-4, rtol=0)


def test_key_depends_on_content_alone():
    """Not on the order in which it is told."""
    assert content_key({"a": 1, "b": [1, 2]}) == content_key({"b": [1, 2], "a": 1})
    assert content_key({"a": 1, "b": [1, 2]}) != content_key({"a": 1, "b": [2, 1]})


@pytest.mark.parametrize(
    "damage", ["edited", "truncated", "missing", "no record", "half a record", "a file", "a link", "a link to nothing"]
)
def test_damaged_entry_is_compiled_again(own_cache, tide_checkpoint, tmp_path, damage):
    """An entry that is not whole counts as none, and is replaced."""
    compile_tide(tide_checkpoint, tmp_path / "one")
    (entry,) = GraphCache().entries()
    file = entry.directory / entry.record.entry
    content = file.read_bytes()
    if damage == "edited":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "truncated":
        file.write_bytes(content[:100])
    elif damage == "missing":
        file.unlink()
    elif damage == "no record":
        (entry.directory / "graph.json").unlink()
    elif damage.startswith("a "):
        elsewhere = entry.directory.rename(tmp_path / "elsewhere")
        if damage == "a file":
            entry.directory.write_text("")
        else:
            entry.directory.symlink_to(elsewhere)
            (elsewhere / "graph.json").rename(elsewhere / "kept")
            if damage == "a link to nothing":
                elsewhere.rename(tmp_path / "moved")
    else:
        (entry.directory / "graph.json").write_text('{"label": "x", "record": {')
    assert len(GraphCache().entries()) == (1 if damage == "edited" else 0)  # a list compares sizes
    assert not compile_tide(tide_checkpoint, tmp_path / "two")
    assert compile_tide(tide_checkpoint, tmp_path / "three")
    assert difference(tmp_path / "three", tide_checkpoint) <= 1e-4


def test_without_cache(own_cache, tide_checkpoint, tmp_path, monkeypatch):
    """``cache=False`` reads nothing, leaves nothing in the cache and nothing in the temporary directory."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    assert not compile_tide(tide_checkpoint, tmp_path / "one", cache=False)
    assert not compile_tide(tide_checkpoint, tmp_path / "two", cache=False)
    assert not (own_cache / "graphs").exists()
    assert list(temporary.iterdir()) == []
    assert difference(tmp_path / "two", tide_checkpoint) <= 1e-4


def test_entries_size_and_clear(own_cache, tide_checkpoint, tmp_path):
    """What ``neuronkit cache`` shows and removes."""
    compile_tide(tide_checkpoint, tmp_path / "one")
    cache = GraphCache()
    (entry,) = cache.entries()
    assert "tide batch1_sequence6" in entry.label
    assert cache.size() > entry.record.files[0].size
    assert {path.name for path in (own_cache / "graphs").iterdir()} == {entry.key, f"{entry.key}.lock"}
    cache.clear()
    assert GraphCache().entries() == []
    assert cache.size() == 0


SCRIPT = """
import sys
import neuronkit
from neuronkit.compilation.journey import compile_model
from neuronkit.errors import ValidationError
from tests.core.tide import KEY, TASK, plugin

neuronkit.get_registry().register(plugin, KEY)
print("ready", flush=True)
sys.stdin.readline()
given = {"optlevel": 1, "static": True, "sequence_length": 9}
compile_model(sys.argv[1], sys.argv[2], task=TASK, backend_name="cpu", given=given, progress=print)
"""


def test_two_processes_at_once(own_cache, tide_checkpoint, tmp_path):
    """One compiles while the other waits for it, and both get an artifact."""
    outputs = [tmp_path / "one", tmp_path / "two"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tide_checkpoint), str(output)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for output in outputs
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=600)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(" from the cache (" in text for text in said) == [False, True]
    manifests = [json.loads((output / "neuronkit.json").read_text()) for output in outputs]
    assert manifests[0]["graphs"] == manifests[1]["graphs"]
    assert len(GraphCache().entries()) == 1
