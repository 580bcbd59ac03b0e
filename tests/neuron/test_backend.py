"""The backend against the protocol: options, fingerprints, files, results."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import attrs
import pytest
import torch

from neuronkit.backends import cpu
from neuronkit.backends.base import replicas
from neuronkit.backends.neuron import NeuronBackend, backend
from neuronkit.backends.neuron.errors import NeuronDeviceError, NeuronPackageError
from neuronkit.backends.neuron.placement import Placement
from neuronkit.backends.neuron.running import read_record, write_record
from neuronkit.compilation.declaration import refuse_shared_states
from neuronkit.errors import CompileError, ExportConfigError, OptionError
from neuronkit.options import CompileOptions
from neuronkit.weights import fit, make_once, module_tensors
from tests.neuron.toys import BUCKET, Encoder, cached_graph, encoder_graph, traced


def weights_of(compiled, module=None):
    """The tensors that a graph leaves outside."""
    tensors = module_tensors(traced(compiled.graph, module or compiled.module))
    return make_once(fit(tensors, compiled.record.constants), {})


def open_toy(compiled, engine=backend, module=None):
    """Load a compiled toy."""
    return engine.load(compiled.directory, compiled.record, weights_of(compiled, module))


def expected(compiled, call):
    return compiled.module(*call)["last_hidden_state"]


# Options


def test_without_the_packages_nothing_is_compiled():
    with pytest.raises(NeuronPackageError, match="torch-neuronx is not installed"):
        backend.check_options(CompileOptions(target="inf2"))


def test_a_target_is_needed_where_there_is_no_device(machine):
    with pytest.raises(
        OptionError, match=r"target: required, because this machine has no Neuron device .* --target inf2"
    ):
        backend.check_options(CompileOptions())
    backend.check_options(CompileOptions(target="inf2"))
    machine.start("trn1.2xlarge")
    assert backend.target(CompileOptions()) == "trn1"
    assert backend.target(CompileOptions(target="inf2.8xlarge")) == "inf2"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"target": "p4d"},
            r"target: must be one of inf2, trn1, trn1n, trn2, or an instance type of these \(got 'p4d'\)",
        ),
        ({"target": "inf2", "lnc": 2}, "lnc: inf2 has 1 physical core"),
        ({"target": "inf2", "compiler_args": "'"}, "compiler_args: No closing quotation"),
        (
            {"target": "inf2", "dynamic_batch_size": True, "inline_weights": False},
            "dynamic_batch_size: needs the weights inside",
        ),
    ],
)
def test_options_that_cannot_work_are_refused_early(machine, options, message):
    with pytest.raises(OptionError, match=message):
        backend.check_options(CompileOptions(**options))


# Fingerprints


def test_a_fingerprint_is_json_and_names_what_matters(machine):
    found = backend.fingerprint(CompileOptions(target="inf2"))

    assert json.loads(json.dumps(found)) == found
    assert found["torch_neuronx"] == "2.9.0.2.15.32035+simulated"
    assert found["neuronx_cc"] == "2.26.6360.0+simulated"
    assert (found["architecture"], found["lnc"]) == ("trn1", 1)


@pytest.mark.parametrize(
    "options",
    [
        {"target": "trn2"},
        {"target": "trn2", "lnc": 1},
        {"compiler_args": "--verbose=info"},
        {"dynamic_batch_size": True},
    ],
)
def test_what_changes_the_graph_changes_the_fingerprint(machine, options):
    plain = backend.fingerprint(CompileOptions(target="inf2"))
    assert backend.fingerprint(CompileOptions(**{"target": "inf2", **options})) != plain


def test_inf2_and_trn1_have_one_architecture(inf2):
    assert backend.incompatibility(backend.fingerprint(CompileOptions(target="trn1"))) is None


@pytest.mark.parametrize(
    ("instance", "changes", "reason"),
    [
        (
            "inf2.xlarge",
            {"torch_neuronx": "2.8.0"},
            r"compiled with torch-neuronx 2\.8\.0, and this is torch-neuronx 2\.9",
        ),
        ("inf2.xlarge", {"neuronx_cc": "2.27.5334.0"}, r"compiled with neuronx-cc 2\.27\.5334\.0, and this is"),
        ("trn2.3xlarge", {}, "compiled for trn1 cores, and this machine has trn2, which needs --target trn2"),
        (
            "trn2.3xlarge",
            {"architecture": "trn2"},
            "logical cores of 1 physical ones, .* of 2, which needs --lnc 2, or NEURON_LOGICAL_NC_CONFIG=1 here",
        ),
        (None, {}, r"no Neuron device \(/dev/neuron0\)"),
    ],
)
def test_a_mismatch_has_its_reason(machine, instance, changes, reason):
    found = {**backend.fingerprint(CompileOptions(target="inf2")), **changes}
    machine.start(instance)

    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(backend.incompatibility(found))


def test_whether_it_can_run_here(machine, monkeypatch):
    assert "no Neuron device" in backend.cannot_run()
    machine.start("inf2.xlarge")
    assert backend.cannot_run() is None


def test_without_the_packages_it_cannot_run():
    assert backend.cannot_run().startswith("torch-neuronx is not installed (pip install ")


# Files


def test_the_files_of_a_graph(toy):
    assert sorted(path.name for path in toy.directory.iterdir()) == ["model.neuron", "neuron.json"]
    assert toy.record.entry == "model.neuron"
    assert toy.record.constants == []
    record = read_record(toy.directory)
    assert record.flags == ["--target", "inf2", "--model-type=transformer", "--optlevel=2", "--auto-cast=none"]
    assert (record.inline_weights, record.batch_first, record.states) == (True, True, [])


def test_weights_apart_are_constants_and_derived_buffers_are_not(toy_apart):
    assert [constant.name for constant in toy_apart.record.constants] == [
        "module.embedding.weight",
        "module.linear.bias",
        "module.linear.weight",
    ]


def test_control_flow_on_data_is_refused_before_any_process_starts(machine, tmp_path):
    class Branching(Encoder):
        def forward(self, input_ids, attention_mask):
            if attention_mask.sum() > 3:
                return super().forward(input_ids, attention_mask)
            return {"last_hidden_state": input_ids}

    graph = encoder_graph()
    wanted = r"(?s)Graph 'encoder' could not be exported .*Try: the same steps whatever the tensors hold"
    with pytest.raises(CompileError, match=wanted):
        backend.compile(graph, BUCKET, traced(graph, Branching()), CompileOptions(target="inf2"), tmp_path)


# Results


def test_a_graph_gives_what_eager_gives(toy, inf2, call):
    (result,) = open_toy(toy)(call)
    assert torch.allclose(result, expected(toy, call), atol=1e-6)


def test_weights_apart_come_from_the_artifact(toy_apart, inf2, call):
    other = Encoder(seed=3).eval()

    (result,) = open_toy(toy_apart, module=other)(call)
    assert torch.allclose(result, other(*call)["last_hidden_state"], atol=1e-6)
    assert not torch.allclose(result, expected(toy_apart, call), atol=1e-2)


def test_weights_apart_are_moved_to_the_device(toy_apart, inf2, call, monkeypatch, standin):
    moved = []
    monkeypatch.setattr(standin, "move_trace_to_device", lambda script, core: moved.append(core))

    open_toy(toy_apart, NeuronBackend(Placement((1,))))
    assert moved == [1]


def test_threads_may_call_one_graph(toy, inf2, call):
    run = open_toy(toy)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: run(call)[0], range(16)))
    assert all(torch.equal(result, results[0]) for result in results)


def test_without_a_device_loading_is_refused_in_one_line(toy, machine):
    with pytest.raises(NeuronDeviceError) as caught:
        open_toy(toy)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(
        "Graph 'encoder' could not be put on core 0: The PyTorch Neuron Runtime could not be initialized"
    )
    assert lines[1].startswith("Try: neuronkit doctor.")
    assert len(lines) == 2


def test_a_full_core_is_named(toy, inf2):
    inf2.set("NEURON_STANDIN_CORE_BYTES", "100")
    with pytest.raises(
        NeuronDeviceError,
        match=r"put on core 1: .*status=4 .*: core 1 holds 0 bytes, which means .*\nTry: fewer or smaller",
    ):
        open_toy(toy, NeuronBackend(Placement((1,))))


# Placement


def test_a_graph_goes_where_it_is_told(toy, inf2):
    from torch_neuronx._runtime import MODELS

    runner = open_toy(toy, NeuronBackend(Placement((1,))))
    assert MODELS[runner._script.model.handle].cores == [1]
    assert replicas(runner) == 1


@pytest.fixture
def late(toy, inf2, standin, tmp_path):
    """Return the toy as a graph of a kind that loads at the first call, or in the background."""

    def make(load, kind):
        script = torch.jit.load(toy.directory / "model.neuron")
        load(script)
        torch.jit.save(script, tmp_path / "model.neuron")
        write_record(attrs.evolve(read_record(toy.directory), kind=kind), tmp_path)
        inf2.restart_process()
        return attrs.evolve(toy, directory=tmp_path)

    return make


def test_a_graph_that_loads_at_its_first_call_goes_where_it_is_told(late, standin, call):
    from torch_neuronx._runtime import MODELS

    runner = open_toy(late(standin.lazy_load, "unet"), NeuronBackend(Placement((1,))))
    runner(call)
    assert MODELS[runner._script.model.handle].cores == [1]


def test_a_graph_that_does_not_fit_is_named_where_it_loads_in_the_background(late, standin, inf2, call):
    compiled = late(standin.async_load, "vae")
    inf2.set("NEURON_STANDIN_CORE_BYTES", "100")
    runner = open_toy(compiled)
    with pytest.raises(NeuronDeviceError, match=r"^Graph 'encoder' failed on its core: .*status=4 .*\nTry: fewer"):
        runner(call)


def test_a_split_graph_takes_a_batch_for_each_core(toy, inf2, call):
    runner = open_toy(toy, NeuronBackend(Placement((0, 1), "all")))
    twice = [torch.cat([tensor, tensor.flip(0)]) for tensor in call]

    assert replicas(runner) == 2
    assert runner._script.num_workers == 2
    assert torch.allclose(runner(twice)[0], toy.module(*twice)["last_hidden_state"], atol=1e-6)


def test_workers_are_as_many_as_cores(toy, machine, call):
    machine.start("inf2.24xlarge")
    runner = open_toy(toy, NeuronBackend(Placement(tuple(range(12)), "all")))
    assert (runner._script.num_workers, replicas(runner)) == (12, 12)


def test_only_the_unet_is_split_in_that_mode(toy, inf2):
    assert replicas(open_toy(toy, NeuronBackend(Placement((0, 1), "unet")))) == 1


def test_weights_apart_are_split_too(toy_apart, inf2, call):
    other = Encoder(seed=3).eval()
    runner = open_toy(toy_apart, NeuronBackend(Placement((0, 1), "all")), module=other)
    twice = [torch.cat([tensor, tensor.flip(0)]) for tensor in call]
    assert torch.allclose(runner(twice)[0], other(*twice)["last_hidden_state"], atol=1e-6)


def test_a_graph_without_a_batch_cannot_be_split(toy, inf2, tmp_path):
    write_record(attrs.evolve(read_record(toy.directory), batch_first=False), tmp_path)
    (tmp_path / "model.neuron").write_bytes((toy.directory / "model.neuron").read_bytes())
    with pytest.raises(OptionError, match="graph 'encoder' has an input or output whose first axis is not the batch"):
        NeuronBackend(Placement((0, 1), "all")).load(tmp_path, toy.record, {})


def test_two_sessions_of_a_process_load_at_once(toy, inf2, call):
    engines = [NeuronBackend(Placement((core,))) for core in (0, 1)] * 3
    with ThreadPoolExecutor(6) as pool:
        runners = list(pool.map(lambda engine: open_toy(toy, engine), engines))

    from torch_neuronx._runtime import MODELS

    assert [MODELS[runner._script.model.handle].cores for runner in runners] == [[0], [1]] * 3


def test_graphs_that_share_a_state_are_refused():
    """Each would write into its own, and read zeros where the other wrote."""
    graph = cached_graph()
    both = [graph, attrs.evolve(graph, name="encoder")]
    refuse_shared_states([graph], backend.capabilities)
    refuse_shared_states(both, cpu.backend.capabilities)
    with pytest.raises(
        ExportConfigError, match=r"^Graphs 'decoder' and 'encoder' share the state 'cache', and on this backend"
    ):
        refuse_shared_states(both, backend.capabilities)
