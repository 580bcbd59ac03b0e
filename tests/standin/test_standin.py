"""The stand-in against the documented contract, point by point: the numbers are those of the headings below."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import warnings

import pytest
import torch
from torch import nn

from tests.standin.simulation import STANDIN

TARGET = {"compiler_args": "--target inf2", "cpu_backend": True}


class Affine(nn.Module):
    """Two inputs, one weight."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.linear = nn.Linear(4, 4)

    def forward(self, x, y):
        return self.linear(x) + y


class Scaled(Affine):
    """The second input is a scalar."""

    def forward(self, x, t):
        return self.linear(x) * t


class Counter(nn.Module):
    """Adds its input to what it keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.total = nn.Parameter(torch.zeros(2, 4), requires_grad=False)

    def forward(self, x):
        total = self.total + x
        return total * 10, total


@pytest.fixture
def model():
    return Affine().eval()


@pytest.fixture
def pair():
    torch.manual_seed(1)
    return torch.randn(2, 4), torch.randn(2, 4)


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess:
    """Run code in a process of its own that can import the stand-in."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(STANDIN), **environment},
    )


# 1. Names


def test_01_has_the_documented_names_and_a_labelled_version(standin):
    names = [
        "trace",
        "dynamic_batch",
        "DataParallel",
        "move_trace_to_device",
        "replace_weights",
        "lazy_load",
        "async_load",
        "analyze",
        "PartitionerConfig",
        "BucketModelConfig",
        "bucket_model_trace",
        "set_neuron_cores",
        "set_multicore",
        "neuron_cores_context",
        "multicore_context",
    ]

    assert [name for name in names if not hasattr(standin, name)] == []
    assert all(
        hasattr(standin.experimental, name)
        for name in ("set_neuron_cores", "set_multicore", "neuron_cores_context", "multicore_context")
    )
    assert standin.__version__.startswith("2.9.0.2.15")
    assert standin.__version__.endswith("+simulated")


# 2. The result


def test_02_trace_returns_a_script_module_without_python_attributes(standin, inf2, model, pair):
    traced = standin.trace(model, pair, **TARGET)

    assert isinstance(traced, torch.jit.ScriptModule)
    for name in ("config", "dtype", "device", "generate"):
        assert not hasattr(traced, name)


def test_02_save_and_load_keep_the_results(standin, inf2, model, pair, tmp_path):
    traced = standin.trace(model, pair, **TARGET)
    torch.jit.save(traced, tmp_path / "m.pt")

    assert torch.equal(torch.jit.load(tmp_path / "m.pt")(*pair), model(*pair))


def test_02_loading_without_the_import_fails(standin, inf2, model, pair, tmp_path):
    torch.jit.save(standin.trace(model, pair, **TARGET), tmp_path / "m.pt")

    done = run_python(f"import torch; torch.jit.load({str(tmp_path / 'm.pt')!r})")
    assert done.returncode == 1
    assert "RuntimeError" in done.stderr
    assert "neuron" in done.stderr


# 3. Example inputs


@pytest.mark.parametrize("bad", ["text", 3, None, {"x": torch.ones(1)}])
def test_03_refuses_examples_that_are_not_tensors(standin, bad):
    with pytest.raises(RuntimeError, match="Only tensors"):
        standin.trace(nn.Identity(), (bad,) if not isinstance(bad, dict) else bad, **TARGET)


def test_03_takes_nested_tuples_and_lists(standin, inf2):
    x = torch.ones(2)
    traced = standin.trace(lambda a, b: a + b[0] * b[1][0], (x, (x, [x, x])), **TARGET)

    assert torch.equal(traced(x, (x * 2, [x * 3, x])), torch.full((2,), 7.0))


def test_03_further_positional_arguments_warn_and_unknown_keywords_too(standin, model, pair):
    with pytest.warns(UserWarning, match="as keywords"):
        standin.trace(model, pair, {}, **TARGET)
    with pytest.warns(UserWarning, match="unknown argument 'dynamic'"):
        standin.trace(model, pair, dynamic=True, **TARGET)


# 4. Calls


def test_04_arity_and_keywords(standin, inf2, model, pair):
    traced = standin.trace(model, pair, **TARGET)

    with pytest.raises(RuntimeError, match="missing value for argument"):
        traced(pair[0])
    with pytest.raises(RuntimeError, match="expected at most"):
        traced(*pair, pair[0])
    with pytest.raises(RuntimeError, match=r"missing value|Unknown keyword"):
        traced(x=pair[0], y=pair[1])
    with pytest.raises(RuntimeError):
        traced(pair[0], None)


@pytest.mark.parametrize(
    "wrong", [torch.ones(3, 4), torch.ones(2, 5), torch.ones(2, 4, 1), torch.ones(2, 4, dtype=torch.float16)]
)
def test_04_shape_rank_and_dtype_must_be_those_of_the_trace(standin, inf2, model, pair, wrong):
    traced = standin.trace(model, pair, **TARGET)

    with pytest.raises(RuntimeError, match="Incorrect tensor"):
        traced(wrong, pair[1])


def test_04_scalars_stay_scalars_and_results_need_no_gradient(standin, inf2):
    traced = standin.trace(Scaled(), (torch.ones(2, 4), torch.tensor(1.0)), **TARGET)

    with pytest.raises(RuntimeError, match="Incorrect tensor shape at input #1: received 1, expected"):
        traced(torch.ones(2, 4), torch.ones(1))
    result = traced(torch.ones(2, 4), torch.tensor(2.0))
    assert not result.requires_grad
    assert result.device.type == "cpu"


# 5. Outputs


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (lambda x: x + 1, torch.Tensor),
        (lambda x: (x + 1, (x + 2, x + 3)), tuple),
        (lambda x: [x + 1, x + 2], list),
        (lambda x: {"a": x + 1, "b": x + 2}, dict),
    ],
)
def test_05_structure_of_the_outputs_is_kept(standin, inf2, function, kind):
    x = torch.ones(2)
    got, wanted = standin.trace(function, x, **TARGET)(x), function(x)

    assert type(got) is kind
    assert str(got) == str(wanted)


def test_05_a_model_output_becomes_a_plain_dict(standin, inf2):
    from transformers.modeling_outputs import BaseModelOutput

    x = torch.ones(2)
    got = standin.trace(lambda x: BaseModelOutput(last_hidden_state=x + 1), x, **TARGET)(x)

    assert type(got) is dict
    assert list(got) == ["last_hidden_state"]


# 6. Frozen


def test_06_control_flow_and_items_are_frozen(standin, inf2):
    def choose(x, y):
        return x * 10 if x.sum().item() > 0 else x * -10

    traced = standin.trace(choose, (torch.ones(2), torch.ones(2)), **TARGET)
    assert torch.equal(traced(-torch.ones(2), torch.ones(2)), -torch.full((2,), 10.0))


def test_06_later_edits_do_not_reach_the_artifact(standin, inf2, model, pair):
    before = model(*pair)
    traced = standin.trace(model, pair, **TARGET)
    with torch.no_grad():
        model.linear.weight.zero_()

    assert torch.equal(traced(*pair), before)


def test_06_training_mode_is_not_switched_and_random_numbers_ignore_the_host_seed(standin, inf2):
    dropout = nn.Dropout(0.5).train()
    traced = standin.trace(dropout, torch.ones(1, 64), **TARGET)

    torch.manual_seed(1)
    first = traced(torch.ones(1, 64))
    torch.manual_seed(2)
    second = traced(torch.ones(1, 64))
    assert 0 < int((first == 0).sum()) < 64
    assert torch.equal(first, second)


# 7. Unused inputs


def test_07_an_unused_input_warns_and_is_still_required(standin, inf2):
    with pytest.warns(UserWarning, match=r"unused or used in a non-static way .*index=1"):
        traced = standin.trace(lambda x, y: x + 1, (torch.ones(2), torch.ones(3)), **TARGET)
    with pytest.raises(RuntimeError, match="missing value"):
        traced(torch.ones(2))


# 8. Numbers


def test_08_int64_is_carried_as_int32(standin, inf2):
    traced = standin.trace(lambda x: x + 1, torch.tensor([1]), **TARGET)

    assert traced(torch.tensor([41])).item() == 42
    assert traced(torch.tensor([2**32 + 5])).item() == 6


def test_08_bf16_rounding_on_request(standin, inf2, model, pair):
    traced = standin.trace(model, pair, **TARGET)
    assert torch.equal(traced(*pair), model(*pair))

    inf2.set("NEURON_STANDIN_PRECISION", "bf16")
    difference = (traced(*pair) - model(*pair)).abs().max().item()
    assert 1e-5 < difference < 5e-2


# 9. Devices


def test_09_cpu_backend_needs_a_target(standin, model, pair):
    for arguments in (None, "--target=inf2", ["--target=inf2", "-O1"]):
        with pytest.raises(RuntimeError, match=r"please supply compiler argument target.*--target trn1"):
            standin.trace(model, pair, compiler_args=arguments, cpu_backend=True)
    standin.trace(model, pair, compiler_args=["--target", "inf2"], cpu_backend=True)


def test_09_without_a_device_tracing_works_and_running_does_not(standin, model, pair, tmp_path):
    traced = standin.trace(model, pair, **TARGET)
    torch.jit.save(traced, tmp_path / "m.pt")
    message = "Neuron Runtime could not be initialized"

    with pytest.raises(RuntimeError, match=message):
        traced(*pair)
    with pytest.raises(RuntimeError, match=message):
        torch.jit.load(tmp_path / "m.pt")
    with pytest.raises(RuntimeError, match=message):
        standin.move_trace_to_device(traced, 0)
    with pytest.raises(RuntimeError, match=message), standin.neuron_cores_context(0):
        pass
    for arguments in (None, "--target inf2"):
        with pytest.raises(RuntimeError, match="tracing needs a Neuron device"):
            standin.trace(model, pair, compiler_args=arguments)


# 10. Weights apart


def test_10_weights_apart_can_be_replaced(standin, inf2, model, pair):
    traced = standin.trace(model, pair, inline_weights_to_neff=False, **TARGET)
    assert torch.equal(traced(*pair), model(*pair))

    other = Affine(seed=5)
    standin.replace_weights(traced, other)
    standin.move_trace_to_device(traced, 0)
    assert torch.equal(traced(*pair), other(*pair))
    standin.replace_weights(traced, model.state_dict())
    assert torch.equal(traced(*pair), model(*pair))


def test_10_replacing_inlined_weights_warns_and_changes_nothing(standin, inf2, model, pair):
    traced = standin.trace(model, pair, **TARGET)

    with pytest.warns(UserWarning, match="no effect"):
        standin.replace_weights(traced, Affine(seed=5))
    assert torch.equal(traced(*pair), model(*pair))


def test_10_weights_of_another_model_are_refused(standin, inf2, model, pair):
    traced = standin.trace(model, pair, inline_weights_to_neff=False, **TARGET)

    with pytest.raises(RuntimeError, match="do not match"):
        standin.replace_weights(traced, nn.Linear(4, 4))


# 11. Dynamic batch


def test_11_dynamic_batch_pads_and_slices(standin, inf2, model, pair, tmp_path):
    traced = standin.trace(model, pair, **TARGET)
    assert standin.dynamic_batch(traced) is traced
    torch.jit.save(traced, tmp_path / "m.pt")

    x, y = torch.randn(5, 4), torch.randn(5, 4)
    assert torch.allclose(torch.jit.load(tmp_path / "m.pt")(x, y), model(x, y), atol=1e-6)
    assert traced(x[:1], y[:1]).shape == (1, 4)


def test_11_dynamic_batch_refuses_what_does_not_fit(standin, inf2, model, pair):
    with pytest.raises(ValueError, match="same size in dimension 0"):
        standin.dynamic_batch(standin.trace(model, (torch.ones(2, 4), torch.ones(1, 4)), **TARGET))
    traced = standin.dynamic_batch(standin.trace(model, pair, **TARGET))
    # TorchScript turns the ValueError of an operator into a RuntimeError that holds it.
    with pytest.raises(RuntimeError, match="ValueError: Only dimension 0"):
        traced(torch.ones(2, 5), torch.ones(2, 5))
    with pytest.raises(RuntimeError, match="ValueError: With dynamic batching"):
        traced(torch.ones(2, 4), torch.ones(3, 4))


# 12. DataParallel


def test_12_data_parallel_scatters_and_concatenates(standin, inf2, model, pair):
    parallel = standin.DataParallel(standin.trace(model, pair, **TARGET), [0, 1], 0, set_dynamic_batching=False)
    x, y = torch.randn(4, 4), torch.randn(4, 4)

    assert parallel.num_workers == 2
    parallel.num_workers = 7
    assert torch.allclose(parallel(x, y), model(x, y), atol=1e-6)
    with pytest.raises(RuntimeError, match="must be 2 x 2"):
        parallel(*pair)


def test_12_its_default_of_workers_is_two_on_any_number_of_consecutive_cores(standin, machine, model, pair):
    machine.start("inf2.24xlarge")
    assert standin.DataParallel(standin.trace(model, pair, **TARGET)).num_workers == 2


def test_12_with_dynamic_batching_any_batch_goes(standin, inf2, model, pair):
    parallel = standin.DataParallel(standin.trace(model, pair, **TARGET))
    x, y = torch.randn(5, 4), torch.randn(5, 4)

    assert torch.allclose(parallel(x, y), model(x, y), atol=1e-6)
    assert parallel.split_size is None, "by default max(1, rows // cores)"
    parallel.split_size = 1
    assert torch.allclose(parallel(x, y), model(x, y), atol=1e-6)
    parallel.disable_dynamic_batching()
    with pytest.raises(RuntimeError):
        parallel(x, y)
    with pytest.warns(UserWarning, match="underutilised"):
        standin.DataParallel(standin.trace(model, pair, **TARGET))(x[:1], y[:1])


@pytest.mark.parametrize("ids", [[2], ["nc:9"], ["core"], []])
def test_12_ids_that_do_not_exist_are_refused(standin, inf2, model, pair, ids):
    with pytest.raises(ValueError, match="device"):
        standin.DataParallel(standin.trace(model, pair, **TARGET), ids)


def test_12_ids_count_within_the_visible_cores(standin, machine, model, pair):
    machine.start("inf2.24xlarge")
    machine.set("NEURON_RT_VISIBLE_CORES", "8-9")

    parallel = standin.DataParallel(standin.trace(model, pair, **TARGET), ["nc:0", 1])
    assert parallel.device_ids == [0, 1]


# 13. Cores


def test_13_a_core_belongs_to_one_process(standin, inf2, model, pair):
    standin.trace(model, pair, **TARGET)(*pair)

    code = "import torch_neuronx as n\nwith n.neuron_cores_context(0): print('got it')"
    done = run_python(code)
    assert done.returncode == 1
    assert "NeuronCore(s) not available" in done.stderr


def test_13_processes_share_a_chip_by_visible_cores(standin, inf2, model, pair):
    inf2.set("NEURON_RT_VISIBLE_CORES", "0")
    standin.trace(model, pair, **TARGET)(*pair)

    done = run_python(
        "import torch_neuronx as n\nwith n.neuron_cores_context(0): print('got it')", NEURON_RT_VISIBLE_CORES="1"
    )
    assert done.stdout == "got it\n"


@pytest.mark.parametrize("cores", ["1,0", "0,2", "0-1,3"])
def test_13_visible_cores_must_be_contiguous_and_ascending(standin, machine, cores):
    machine.start("inf2.24xlarge")
    machine.set("NEURON_RT_VISIBLE_CORES", cores)
    with pytest.raises(RuntimeError, match="contiguous"), standin.neuron_cores_context(0):
        pass


def test_13_visible_cores_beat_the_number_of_cores(standin, machine, model, pair):
    machine.start("inf2.24xlarge")
    machine.set("NEURON_RT_VISIBLE_CORES", "3-5")
    machine.set("NEURON_RT_NUM_CORES", "8")

    assert len(standin.DataParallel(standin.trace(model, pair, **TARGET)).device_ids) == 3


def test_13_a_full_core_refuses_the_next_model(standin, inf2, model, pair, tmp_path):
    torch.jit.save(standin.trace(model, pair, **TARGET), tmp_path / "m.pt")
    inf2.set("NEURON_STANDIN_CORE_BYTES", "200")

    with standin.neuron_cores_context(0):
        torch.jit.load(tmp_path / "m.pt")
        torch.jit.load(tmp_path / "m.pt")
        with pytest.raises(RuntimeError, match="status=4"):
            torch.jit.load(tmp_path / "m.pt")
    with standin.neuron_cores_context(1):
        torch.jit.load(tmp_path / "m.pt")


def test_13_a_model_that_moves_leaves_its_core(standin, inf2, model, pair, tmp_path):
    torch.jit.save(standin.trace(model, pair, **TARGET), tmp_path / "m.pt")
    inf2.set("NEURON_STANDIN_CORE_BYTES", "100")

    with standin.neuron_cores_context(0):
        loaded = torch.jit.load(tmp_path / "m.pt")
    standin.set_neuron_cores(loaded, 1, 1)
    with standin.neuron_cores_context(0):
        torch.jit.load(tmp_path / "m.pt")


@pytest.mark.parametrize("count", [0, -2, 3])
def test_13_a_bad_number_of_cores_is_refused(standin, inf2, count):
    with pytest.raises(ValueError, match="nc_count"), standin.neuron_cores_context(0, count):
        pass


def test_13_contexts_place_what_is_opened_inside(standin, inf2, model, pair, tmp_path):
    from torch_neuronx._runtime import MODELS

    torch.jit.save(standin.trace(model, pair, **TARGET), tmp_path / "m.pt")
    with standin.neuron_cores_context(1):
        on_one = torch.jit.load(tmp_path / "m.pt")
    with standin.multicore_context():
        on_all = torch.jit.load(tmp_path / "m.pt")

    assert MODELS[on_one.model.handle].cores == [1]
    assert MODELS[on_all.model.handle].cores == [0, 1]
    standin.experimental.set_neuron_cores(on_all, 1, 1)
    assert MODELS[on_all.model.handle].cores == [1]
    standin.set_multicore(on_one)
    assert MODELS[on_one.model.handle].cores == [0, 1]


# 14. When models load


def test_14_lazy_loading_survives_the_file(standin, model, pair, tmp_path, machine):
    traced = standin.trace(model, pair, **TARGET)
    standin.lazy_load(traced)
    torch.jit.save(traced, tmp_path / "m.pt")

    loaded = torch.jit.load(tmp_path / "m.pt")
    with pytest.raises(RuntimeError, match="could not be initialized"):
        loaded(*pair)
    machine.start("inf2.xlarge")
    assert torch.equal(loaded(*pair), model(*pair))


def test_14_asynchronous_loading_reports_at_the_first_call(standin, model, pair, tmp_path):
    traced = standin.trace(model, pair, **TARGET)
    standin.async_load(traced)
    torch.jit.save(traced, tmp_path / "m.pt")

    loaded = torch.jit.load(tmp_path / "m.pt")
    with pytest.raises(RuntimeError, match="could not be initialized"):
        loaded(*pair)


# 15. State


def test_15_state_advances_and_is_out_of_reach(standin, inf2, tmp_path):
    module = Counter()
    traced = standin.trace(module, torch.ones(2, 4), input_output_aliases={module.total: 1}, **TARGET)
    torch.jit.save(traced, tmp_path / "m.pt")
    loaded = torch.jit.load(tmp_path / "m.pt")
    one = torch.ones(2, 4)

    (first,) = loaded(one)
    assert first[0, 0] == 10
    assert loaded(one)[0][0, 0] == 20
    for parameter in loaded.states.parameters():
        parameter.data.fill_(-100)
    assert loaded(one)[0][0, 0] == 30, "a write of the host must not reach the device"
    assert torch.jit.load(tmp_path / "m.pt")(one)[0][0, 0] == 10, "loading again resets"


def test_15_only_parameters_can_be_aliased(standin):
    module = Counter()
    del module.total
    module.register_buffer("total", torch.zeros(2, 4))

    with pytest.raises(RuntimeError, match="must be a parameter"):
        standin.trace(module, torch.ones(2, 4), input_output_aliases={module.total: 1}, **TARGET)


def test_15_an_alias_must_fit_its_output(standin):
    module = Counter()
    with pytest.raises(RuntimeError, match="does not fit"):
        standin.trace(module, torch.ones(2, 4), input_output_aliases={module.total: 2}, **TARGET)


# 16. Compile failures


@pytest.mark.parametrize(
    ("order", "message", "log"),
    [
        ("70:NCC_EVRF007", "neuronx-cc failed with 70", "NCC_EVRF007"),
        ("-9", "neuronx-cc failed with -9", "SIGKILL"),
    ],
)
def test_16_failures_are_injected(standin, machine, model, pair, tmp_path, order, message, log):
    machine.fail(order)

    with pytest.raises(RuntimeError, match=message):
        standin.trace(model, pair, compiler_workdir=str(tmp_path), **TARGET)
    text = (tmp_path / "log-neuron-cc.txt").read_text()
    assert log in text
    assert "simulated" in text


def test_16_a_failure_may_be_limited_to_one_work_directory(standin, machine, model, pair, tmp_path):
    machine.fail("70@unet")

    standin.trace(model, pair, compiler_workdir=str(tmp_path / "vae"), **TARGET)
    with pytest.raises(RuntimeError, match="failed with 70"):
        standin.trace(model, pair, compiler_workdir=str(tmp_path / "unet"), **TARGET)


def test_16_a_compilation_may_never_end(standin):
    code = (
        "import torch, torch_neuronx as n\n"
        "n.trace(torch.nn.Identity(), torch.ones(1), compiler_args='--target inf2', cpu_backend=True)"
    )
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(STANDIN), "NEURON_STANDIN_FAILURE": "timeout"},
    )
    try:
        assert "will not end" in process.stderr.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "flags", ["--target inf2 --auto-cast=matmul", "--target inf2 --no-such-flag", "--target p4d", "--target inf2 -O4"]
)
def test_16_flags_that_the_compiler_does_not_have_are_refused(standin, model, pair, flags):
    with pytest.raises(RuntimeError, match="neuronx-cc failed with 2"):
        standin.trace(model, pair, compiler_args=flags, cpu_backend=True)


def test_16_the_rightmost_flag_wins(standin, model, pair, tmp_path):
    standin.trace(
        model,
        pair,
        compiler_args=["--target", "inf2", "-lnc", "1", "-O1", "--optlevel", "3"],
        cpu_backend=True,
        compiler_workdir=str(tmp_path),
    )
    assert "--optlevel=3" in (tmp_path / "command.txt").read_text()


def test_16_logical_cores_of_two_do_not_fit_inf2(standin, model, pair, tmp_path):
    with pytest.raises(RuntimeError, match="failed with 70"):
        standin.trace(
            model, pair, compiler_args="--target inf2 --lnc 2", cpu_backend=True, compiler_workdir=str(tmp_path)
        )
    assert "NCC_EARG001" in (tmp_path / "log-neuron-cc.txt").read_text()


# 17. Operators

REFUSED = {
    "sort": (lambda x: torch.sort(x)[0], "NCC_EVRF029"),
    "argsort": (lambda x: torch.argsort(x), "NCC_EVRF029"),
    "nonzero": (lambda x: torch.nonzero(x), "NCC_EMOD025"),
    "unique": (lambda x: torch.unique(x), "NCC_EMOD025"),
    "mask": (lambda x: x[x > 0], "NCC_EMOD025"),
    "fft": (lambda x: torch.fft.rfft(x).abs(), "NCC_EVRF001"),
    "complex": (lambda x: torch.view_as_real(torch.view_as_complex(x.reshape(2, 2, 2)) * 2), "NCC_EVRF004"),
    "float64": (lambda x: (x.double() * 2).float(), "NCC_ESPP004"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_17_operators_are_refused_with_their_code(standin, tmp_path, name):
    function, code = REFUSED[name]

    with pytest.raises(RuntimeError, match="neuronx-cc failed with 70"):
        standin.trace(function, torch.randn(2, 4), compiler_workdir=str(tmp_path), **TARGET)
    assert code in (tmp_path / "log-neuron-cc.txt").read_text()


def test_17_topk_is_taken_in_the_place_of_sort(standin):
    standin.trace(lambda x: torch.topk(x, 2)[0], torch.randn(2, 4), **TARGET)


def test_17_a_partitioner_leaves_operators_to_the_cpu_within_limits(standin, inf2):
    x = torch.randn(2, 4)

    def work(x):
        return torch.sort(x + 1)[0] * 2

    traced = standin.trace(work, x, partitioner_config=standin.PartitionerConfig(), **TARGET)
    assert torch.equal(traced(x), work(x))
    for limits in ({"model_support_percentage_threshold": 0.9}, {"max_subgraph_count": 1}):
        with pytest.raises(ValueError, match="simulated"):
            standin.trace(work, x, partitioner_config=standin.PartitionerConfig(**limits), **TARGET)


def test_17_analyze_counts_operators(standin):
    found = standin.analyze(lambda x: torch.sort(x + 1)[0], torch.randn(2, 4))

    assert found["support_percentage"] == "50.00%"
    assert [item["kind"] for item in found["unsupported_operators"]] == ["aten::sort"]
    assert found["torch_neuronx_version"].endswith("+simulated")


# 18. Validity


@pytest.mark.parametrize(
    ("flags", "instance", "environment", "message"),
    [
        ("--target inf2", "trn2.3xlarge", {}, "compiled for inf2"),
        ("--target trn2 --lnc 1", "trn2.3xlarge", {}, "Mismatch detected"),
        ("--target inf2", "inf2.xlarge", {"NEURON_STANDIN_RUNTIME": "2.8.0"}, "NEFF version mismatch"),
    ],
)
def test_18_a_mismatch_fails_at_load(standin, machine, model, pair, tmp_path, flags, instance, environment, message):
    torch.jit.save(standin.trace(model, pair, compiler_args=flags, cpu_backend=True), tmp_path / "m.pt")
    machine.start(instance)
    for name, value in environment.items():
        machine.set(name, value)

    with pytest.raises(RuntimeError, match=message):
        torch.jit.load(tmp_path / "m.pt")


def test_18_inf2_and_trn1_are_one_architecture(standin, machine, model, pair, tmp_path):
    torch.jit.save(standin.trace(model, pair, compiler_args="--target trn1", cpu_backend=True), tmp_path / "m.pt")
    machine.start("inf2.xlarge")

    assert torch.equal(torch.jit.load(tmp_path / "m.pt")(*pair), model(*pair))


# 19. Cost


def test_19_nothing_is_compiled_outside_trace(standin, inf2, machine, model, pair, tmp_path):
    torch.jit.save(standin.trace(model, pair, **TARGET), tmp_path / "m.pt")
    machine.fail("70")

    loaded = torch.jit.load(tmp_path / "m.pt")
    assert torch.equal(loaded(*pair), model(*pair))
    with pytest.raises(RuntimeError, match="Incorrect tensor shape"):
        loaded(torch.ones(3, 4), torch.ones(3, 4))


# 20. Labels


def test_20_everything_that_it_writes_is_labelled(standin, model, pair, tmp_path):
    from importlib.metadata import version

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        traced = standin.trace(model, pair, compiler_workdir=str(tmp_path), **TARGET)

    assert '"simulated": true' in traced.model.record
    assert "simulated" in (tmp_path / "log-neuron-cc.txt").read_text()
    assert version("torch-neuronx").endswith("+simulated")
    assert version("neuronx-cc").endswith("+simulated")


# Buckets


def test_buckets_choose_by_kernel(standin, inf2):
    def kernel():
        @torch.jit.script
        def choose(tensors: list[torch.Tensor]):
            return tensors, torch.tensor(0 if tensors[0].shape[1] == 4 else 1)

        return choose

    function = nn.ReLU()
    traced = standin.bucket_model_trace(
        lambda: (function, {}),
        [(torch.ones(1, 4),), torch.ones(1, 8)],
        standin.BucketModelConfig(kernel),
        compiler_args="--target inf2",
    )

    for size in (4, 8):
        x = torch.randn(1, size)
        assert torch.equal(traced(x), function(x))
    with pytest.raises(RuntimeError, match="tensor_0"):
        traced([x])
    with pytest.raises(ValueError, match="2 entries for 1 buckets"):
        standin.bucket_model_trace(
            lambda: (function, {}), [torch.ones(1, 4)], standin.BucketModelConfig(kernel, func_kwargs=[{}, {}])
        )
    with pytest.raises(NotImplementedError, match="does not simulate"):
        standin.BucketModelConfig(kernel, shared_state_buffer=[torch.ones(1)])
