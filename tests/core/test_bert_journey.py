"""From a BERT to what its compiled graph gives, in every precision and shape, beside the eager model."""

from __future__ import annotations

import gc
import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

import neuronkit
from neuronkit.backends.cpu.library.build import LIBRARY
from neuronkit.errors import ArtifactIncompatibleError, ArtifactMismatchError, InputError, OptionError
from tests.plugins.checkpoints import tiny_bert

TASK = "question-answering"
SEED = 17


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny BERT with one layer."""
    return tiny_bert(tmp_path_factory.mktemp("bert") / "checkpoint", num_hidden_layers=1)


@pytest.fixture(scope="module")
def eager(checkpoint):
    """The unwrapped eager model."""
    from transformers import AutoModelForQuestionAnswering

    return AutoModelForQuestionAnswering.from_pretrained(checkpoint).eval()


@pytest.fixture(scope="module")
def compiled(checkpoint, tmp_path_factory):
    """A function that compiles with options, once per set of them, and returns the directory."""
    done = {}

    def compile_with(**options):
        key = json.dumps(options, sort_keys=True)
        if key not in done:
            output = tmp_path_factory.mktemp("compiled") / "artifact"
            neuronkit.compile(checkpoint, output, task=TASK, **{"optlevel": 1, **options})
            done[key] = output
        return done[key]

    return compile_with


STATIC = {"static": True, "batch_size": 2, "sequence_length": [32, 16]}
DYNAMIC = {}
"""As long as the model allows: 64 tokens."""


def make_inputs(rows, length):
    """Return ids, a mask with zeros at the ends of rows, and token types."""
    generator = torch.Generator().manual_seed(SEED)
    mask = (torch.arange(length) < torch.randint(1, length + 1, (rows, 1), generator=generator)).long()
    return {
        "input_ids": torch.randint(5, 90, (rows, length), generator=generator),
        "attention_mask": mask,
        "token_type_ids": torch.randint(0, 2, (rows, length), generator=generator),
    }


def largest_difference(shell, eager, inputs):
    """Return how far the compiled model is from the eager one."""
    with torch.no_grad():
        expected = eager(**inputs)
    found = shell(**inputs)
    assert found.start_logits.shape == expected.start_logits.shape
    differences = [(found[name] - expected[name]).abs().max().item() for name in ("start_logits", "end_logits")]
    return max(differences)


@pytest.mark.parametrize(
    "options", [DYNAMIC, STATIC, {**DYNAMIC, "inline_weights": True}], ids=["dynamic", "static", "inline"]
)
@pytest.mark.parametrize(("rows", "length"), [(1, 1), (2, 16), (1, 17), (2, 32), (5, 20)])
def test_same_as_eager(compiled, eager, options, rows, length):
    """In fp32 within 1e-4, at the sizes of a bucket, between them, and with more rows than it has."""
    shell = neuronkit.load(compiled(**options))
    assert largest_difference(shell, eager, make_inputs(rows, length)) <= 1e-4


def test_missing_mask_and_types(compiled, eager):
    """They are what transformers takes them for: every token counts and is of the first kind."""
    inputs = {"input_ids": make_inputs(1, 9)["input_ids"]}
    for options in (DYNAMIC, STATIC):
        assert largest_difference(neuronkit.load(compiled(**options)), eager, inputs) <= 1e-4


def test_int32_is_taken(compiled, eager):
    """Other integers convert."""
    shell = neuronkit.load(compiled(**DYNAMIC))
    inputs = make_inputs(2, 7)
    found = shell(**{name: tensor.int() for name, tensor in inputs.items()})
    torch.testing.assert_close(found.start_logits, eager(**inputs).start_logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (DYNAMIC, "input_ids has 65 along 'sequence', and the largest bucket has 64. Buckets: batch1-64_sequence1-64."),
        (
            STATIC,
            "input_ids has 65 along 'sequence', and the largest bucket has 32. "
            "Buckets: batch2_sequence16, batch2_sequence32.",
        ),
    ],
    ids=["dynamic", "static"],
)
def test_too_long(compiled, options, message):
    """The bound holds for dynamic axes too."""
    with pytest.raises(InputError) as raised:
        neuronkit.load(compiled(**options))(input_ids=torch.ones(1, 65, dtype=torch.int64))
    assert str(raised.value).splitlines()[0] == message


@pytest.mark.parametrize("options", [{}, {"auto_cast": "matmul"}, {"inline_weights": True}], ids=str)
def test_a_callers_autocast_changes_nothing(compiled, options):
    """Not even a bit: what was compiled is what was validated."""
    shell = neuronkit.load(compiled(static=True, sequence_length=24, **options))
    inputs = make_inputs(2, 24)
    expected = shell(**inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = shell(**inputs)
    for name in ("start_logits", "end_logits"):
        assert torch.equal(found[name], expected[name])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("auto_cast", ["matmul", "all"])
def test_lower_precision(compiled, eager, auto_cast, precision):
    """It passes the gate at the plugin's own tolerance, really is lower, and returns float32."""
    shell = neuronkit.load(compiled(static=True, sequence_length=24, auto_cast=auto_cast, auto_cast_type=precision))
    difference = largest_difference(shell, eager, make_inputs(3, 21))
    allowed = {"bf16": 0.3, "fp16": 0.05}[precision]
    assert 1e-5 < difference < allowed
    assert shell(**make_inputs(1, 4)).start_logits.dtype is torch.float32
    dtypes = {
        constant.rounded or constant.dtype
        for graph in shell.session.manifest.graphs
        for bucket in graph.buckets
        for constant in bucket.constants
    }
    assert {"bf16": "bfloat16", "fp16": "float16"}[precision] in dtypes


@pytest.mark.parametrize("has_arithmetic", [True, False])
def test_precision_with_and_without_arithmetic(checkpoint, eager, tmp_path, monkeypatch, has_arithmetic):
    """A CPU without the arithmetic multiplies in fp32 what the other rounds alike; neither is the fp32 result."""
    monkeypatch.setattr("neuronkit.backends.cpu.host.has_arithmetic", lambda precision: has_arithmetic)
    options = {"static": True, "sequence_length": 24, "auto_cast": "matmul", "optlevel": 1, "cache": False}
    neuronkit.compile(checkpoint, tmp_path / "out", task="question-answering", **options)
    shell = neuronkit.load(tmp_path / "out")
    assert 1e-5 < largest_difference(shell, eager, make_inputs(3, 21)) < 0.3
    (bucket,) = shell.session.manifest.graphs[0].buckets
    found = {(constant.dtype, constant.rounded) for constant in bucket.constants}
    assert (("bfloat16", None) if has_arithmetic else ("float32", "bfloat16")) in found


def test_artifact_layout(compiled):
    """Manifest, configuration, tokenizer, one folder per bucket, one copy of the weights; every digest is right."""
    directory = compiled(**STATIC)
    files = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    record = json.loads((directory / "neuronkit.json").read_text())
    buckets = record["graphs"][0]["buckets"]
    listed = [file for bucket in buckets for file in bucket["files"]] + record["side_files"] + [record["weights"]]
    assert files == {file["file"] for file in listed} | {"neuronkit.json"}
    assert {"config.json", "tokenizer.json", "weights.safetensors"} <= files
    for file in listed:
        content = (directory / file["file"]).read_bytes()
        assert (file["sha256"], file["size"]) == (hashlib.sha256(content).hexdigest(), len(content))
    folders = {bucket["entry"].rpartition("/")[0] for bucket in buckets}
    assert folders == {"encoder/batch2_sequence16", "encoder/batch2_sequence32"}
    assert oct(directory.stat().st_mode)[-3:] == "755"
    assert [path.name for path in directory.parent.iterdir()] == ["artifact"]


def test_manifest(compiled, checkpoint):
    """What was compiled, from what, how it was checked, and the command that does it again."""
    directory = compiled(**STATIC)
    record = json.loads((directory / "neuronkit.json").read_text())
    assert record["schema"] == 1
    assert (record["key"], record["backend"]) == ("bert.question-answering", "cpu")
    assert record["plugin"] == {"package": "neuronkit", "version": neuronkit.__version__}
    assert record["fingerprint"] == {"torch": torch.__version__}
    assert record["source"]["model"] == str(checkpoint)
    assert record["shapes"] == {"batch_size": [2], "sequence_length": [32, 16]}
    assert (record["options"]["static"], record["options"]["optlevel"]) == (True, 1)
    assert record["output_class"] == "transformers.modeling_outputs:QuestionAnsweringModelOutput"
    (graph,) = record["graphs"]
    assert [item["name"] for item in graph["inputs"]] == ["input_ids", "attention_mask", "token_type_ids"]
    assert [item["axes"] for item in graph["outputs"]] == [["batch", "sequence"]] * 2
    validation = record["validation"]
    assert (validation["status"], validation["tolerance"]) == ("passed", 1e-4)
    assert [check["sizes"] for check in validation["checks"]] == [
        {"batch": 2, "sequence": 16},
        {"batch": 1, "sequence": 10},
        {"batch": 2, "sequence": 32},
        {"batch": 1, "sequence": 21},
    ]
    assert max(max(check["max_abs_diff"].values()) for check in validation["checks"]) <= 1e-4
    assert record["rebuild"] == (
        f"neuronkit compile --model {checkpoint} --task question-answering --backend cpu --batch-size=2 --optlevel=1 "
        f"--sequence-length=32,16 --static --force {directory}"
    )


def test_config_has_the_neuron_section(compiled, checkpoint):
    """The checkpoint's own configuration, and the largest static sizes."""
    config = json.loads((compiled(**STATIC) / "config.json").read_text())
    neuron = config.pop("neuron")
    assert (neuron["static_batch_size"], neuron["static_sequence_length"]) == (2, 32)
    assert config == json.loads((checkpoint / "config.json").read_text())


def test_inline_weights_leave_no_file(compiled):
    """The weights are in the graph, and nowhere else."""
    directory = compiled(**DYNAMIC, inline_weights=True)
    assert not (directory / "weights.safetensors").exists()
    manifest = neuronkit.load(directory).session.manifest
    assert manifest.weights is None
    assert manifest.graphs[0].buckets[0].constants == []


def test_two_buckets_share_one_copy(compiled):
    """The weights that both graphs are bound to are the same memory."""
    manifest = neuronkit.load(compiled(**STATIC)).session.manifest
    first, second = ({constant.name for constant in bucket.constants} for bucket in manifest.graphs[0].buckets)
    assert first == second
    weights = sum(path.stat().st_size for path in (compiled(**STATIC)).rglob("*.safetensors"))
    assert weights < 1.2 * sum(path.stat().st_size for path in compiled(**DYNAMIC).rglob("*.safetensors"))


def test_defaults(compiled):
    """Without shapes: one row, as long as the model allows; on cpu any size up to that and 64 rows a call."""
    manifest = neuronkit.load(compiled(**DYNAMIC)).session.manifest
    assert manifest.shapes == {"batch_size": [1], "sequence_length": [64]}
    assert manifest.graphs[0].buckets[0].bounds == {"batch": (1, 64), "sequence": (1, 64)}


def test_shell_looks_like_transformers(compiled, checkpoint):
    """Configuration, class of the outputs, device, dtype, tuple and None as transformers has them."""
    from transformers import BertConfig
    from transformers.modeling_outputs import QuestionAnsweringModelOutput

    shell = neuronkit.load(compiled(**DYNAMIC))
    assert type(shell) is neuronkit.NeuronModelForQuestionAnswering
    assert type(shell.config) is BertConfig
    assert shell.config.hidden_size == 16
    inputs = make_inputs(1, 4)
    assert type(shell(**inputs)) is QuestionAnsweringModelOutput
    assert type(shell(**inputs, return_dict=False)) is tuple
    assert type(shell(inputs["input_ids"], None, token_type_ids=None)) is QuestionAnsweringModelOutput
    assert (shell.device, shell.dtype, shell.can_generate()) == (torch.device("cpu"), torch.float32, False)
    assert shell.get_input_static_shapes() == {"batch_size": 1, "sequence_length": 64}
    assert shell.eval().to("cpu") is shell
    with pytest.raises(InputError, match=r"cannot be moved to cuda"):
        shell.to("cuda")
    assert shell.cpu().float() is shell
    for move in (
        lambda: shell.to(torch.float16),
        shell.half,
        shell.bfloat16,
        shell.double,
    ):
        with pytest.raises(InputError) as raised:
            move()
        assert str(raised.value) == (
            "the model keeps its dtype (torch.float32): it is compiled.\nTry: compile with auto_cast and auto_cast_type."
        )
    for device, move in {"cuda": shell.cuda, "cuda:1": lambda: shell.cuda(1), "xpu": shell.xpu}.items():
        with pytest.raises(InputError) as raised:
            move()
        assert (
            str(raised.value)
            == f"the model cannot be moved to {device}: it is compiled, and takes and gives CPU tensors."
        )


def test_export_and_save(checkpoint, eager, tmp_path):
    """`from_pretrained(export=True)` compiles, `save_pretrained` keeps it, `from_pretrained` loads what was kept."""
    cls = neuronkit.NeuronModelForQuestionAnswering
    model = cls.from_pretrained(checkpoint, export=True, optlevel=1, **DYNAMIC)
    assert largest_difference(model, eager, make_inputs(2, 8)) <= 1e-4
    model.save_pretrained(tmp_path / "kept")
    del model
    again = cls.from_pretrained(tmp_path / "kept")
    assert largest_difference(again, eager, make_inputs(2, 8)) <= 1e-4
    again.save_pretrained(tmp_path / "kept")
    with pytest.raises(
        ArtifactMismatchError, match=r"was compiled for question-answering, and .* runs feature-extraction"
    ):
        neuronkit.NeuronModelForFeatureExtraction.from_pretrained(tmp_path / "kept")


def test_replaced_weights(compiled, checkpoint, tmp_path):
    """Another checkpoint's weights under the same graphs."""
    from transformers import AutoModelForQuestionAnswering

    other = tiny_bert(tmp_path / "other", seed=3, num_hidden_layers=1)
    shell = neuronkit.load(compiled(**STATIC))
    shell.replace_weights(other)
    assert largest_difference(shell, AutoModelForQuestionAnswering.from_pretrained(other), make_inputs(3, 20)) <= 1e-4


def test_wrong_shapes_and_options_at_once(checkpoint, tmp_path):
    """A compile that cannot work says everything that is wrong, and writes nothing."""
    with pytest.raises(OptionError) as raised:
        neuronkit.compile(checkpoint, tmp_path / "out", task=TASK, sequence_lenght=16, optlevel=7, heigth=8)
    lines = sorted(str(raised.value).splitlines())
    assert lines[-1] == "optlevel: must be one of 1, 2, 3 (got 7)."
    assert not (tmp_path / "out").exists()
    with pytest.raises(OptionError, match=r"^sequence_lenght: unknown option\. Did you mean sequence_length\?$"):
        neuronkit.compile(checkpoint, tmp_path / "out", task=TASK, sequence_lenght=16, optlevel=1)
    with pytest.raises(OptionError) as raised:
        neuronkit.compile(checkpoint, tmp_path / "out", task=TASK, height=512, num_choices=3)
    assert str(raised.value) == (
        "height: the model has no such size. It has: batch_size, sequence_length.\n"
        "num_choices: the model has no such size. It has: batch_size, sequence_length."
    )
    with pytest.raises(OptionError) as raised:
        neuronkit.compile(checkpoint, tmp_path / "out", task=TASK, target="inf2")
    assert str(raised.value) == (
        "target: the cpu backend compiles for this machine only (got 'inf2'). Try: --backend neuron."
    )


def test_wrong_values_beside_unknown_names(checkpoint, tmp_path):
    """What the plugin does not know is listed with what the core refuses, where the plugin is found."""
    wrong = {"auto_cast": "fp8", "disable_relayout": True, "optlevel": "O1"}
    with pytest.raises(OptionError) as raised:
        neuronkit.compile(checkpoint, tmp_path / "out", task=TASK, **wrong)
    unknown, *values = str(raised.value).splitlines()
    assert unknown.startswith("disable_relayout: unknown option.")
    assert values == [
        "optlevel: must be a whole number (got 'O1').",
        "auto_cast: must be one of none, matmul, all (got 'fp8').",
    ]
    for model, more in (("nowhere/model", {}), (checkpoint, {"token": 3}), (checkpoint, {"task": "bert.no-such-task"})):
        with pytest.raises(OptionError) as raised:
            neuronkit.compile(model, tmp_path / "out", **{"task": TASK, **wrong, **more})
        assert str(raised.value).splitlines()[:2] == values


def test_compile_options_at_load(checkpoint, tmp_path):
    """Each is met with what it was set to; a checkpoint with what turns it into an artifact."""
    from neuronkit.errors import ArtifactNotFoundError

    cls = neuronkit.NeuronModelForQuestionAnswering
    neuronkit.compile(checkpoint, tmp_path / "out", task=TASK, optlevel=1, batch_size=1, sequence_length=[8, 16])
    with pytest.raises(OptionError) as raised:
        cls.from_pretrained(tmp_path / "out", sequence_length=128, revisoin="main", auto_cast="matmul")
    assert str(raised.value) == (
        "sequence_length: set when the model was compiled (8, 16). Try: without it, or compile again with sequence_length=128.\n"
        "revisoin: unknown option. Did you mean revision?\n"
        "auto_cast: set when the model was compiled (none). Try: without it, or compile again with auto_cast=matmul."
    )
    with pytest.raises(ArtifactNotFoundError, match=r"It holds a checkpoint\. Try: .*export=True"):
        cls.from_pretrained(checkpoint, batch_size=1)


def loads_and_lets_go(artifact, tmp_path):
    """Load an artifact from a place of its own, run it, and tell whether its weights are still mapped when it is gone."""
    directory = shutil.copytree(artifact, tmp_path / "own")
    shell = neuronkit.load(directory)
    shell(**make_inputs(1, 3))
    file = str(directory / "weights.safetensors")
    assert file in Path("/proc/self/maps").read_text()
    del shell
    gc.collect()
    return file not in Path("/proc/self/maps").read_text()


def test_other_libraries_refuse_it(compiled):
    """It has a checkpoint's configuration, and none of its weights under their names."""
    from transformers import AutoModelForQuestionAnswering

    with pytest.raises(OSError, match=r"no file named model\.safetensors"):
        AutoModelForQuestionAnswering.from_pretrained(compiled(**DYNAMIC))


def test_weights_are_let_go(compiled, tmp_path):
    """With the last reference to a model, its weights leave the memory."""
    assert loads_and_lets_go(compiled(**DYNAMIC), tmp_path)


@pytest.mark.compiled
@pytest.mark.parametrize("inline", [False, pytest.param(True, marks=pytest.mark.heavy)], ids=["apart", "frozen"])
def test_inductor(compiled, eager, inline, tmp_path):
    """Compiled for this CPU, with the weights apart and frozen in."""
    directory = compiled(**DYNAMIC, optlevel=2, inline_weights=inline)
    shell = neuronkit.load(directory)
    for rows, length in ((1, 1), (3, 20), (2, 64)):
        assert largest_difference(shell, eager, make_inputs(rows, length)) <= 1e-4
    parts = {name: tensor[::2, 3:17] for name, tensor in make_inputs(5, 20).items()}  # which lie in the whole of it
    assert largest_difference(shell, eager, parts) <= 1e-4
    assert "instruction_sets" in shell.session.manifest.fingerprint
    assert (directory / "weights.safetensors").exists() is not inline
    (shared_object,) = [file for file in (directory / "encoder").rglob("*.so") if file.name != LIBRARY]
    assert b"GOMP_parallel" in shared_object.read_bytes(), (
        "loops run on as many threads as there are, not on one as here"
    )
    assert inline or loads_and_lets_go(directory, tmp_path)


@pytest.mark.compiled
def test_a_graph_that_the_system_cannot_open(compiled, tmp_path):
    """As one that was linked against a newer library than is here: the error says what the linker says, and how to rebuild."""
    directory = shutil.copytree(compiled(**DYNAMIC, optlevel=2, inline_weights=False), tmp_path / "copy")
    (shared_object,) = [file for file in (directory / "encoder").rglob("*.so") if file.name != LIBRARY]
    shared_object.write_bytes(b"no shared object")
    record = json.loads((directory / "neuronkit.json").read_text())
    files = record["graphs"][0]["buckets"][0]["files"]
    (file,) = [file for file in files if file["file"].endswith(shared_object.name)]
    file |= {"size": 16, "sha256": hashlib.sha256(b"no shared object").hexdigest()}
    (directory / "neuronkit.json").write_text(json.dumps(record))
    with pytest.raises(ArtifactIncompatibleError) as raised:
        neuronkit.load(directory)
    what, how = str(raised.value).split("\n")
    assert what.startswith(f"{directory} cannot run here: {shared_object.name} cannot be opened: ")
    assert how == f"Try: {record['rebuild']}"
