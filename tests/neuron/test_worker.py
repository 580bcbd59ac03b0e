"""What the worker makes of a job, in this process; that it runs in one of its own is tested with the jobs."""

from __future__ import annotations

import pytest
import torch

from neuronkit.backends.exporting import export_program, runnable
from neuronkit.backends.neuron.job import MODEL, PROGRAM, Job
from neuronkit.backends.neuron.state import StatefulModule, without_states
from neuronkit.backends.neuron.worker import compile_job
from neuronkit.buckets import Bucket
from tests.neuron.toys import BUCKET, CachedSum, Encoder, cached_graph, encoder_graph, traced


@pytest.fixture
def make(tmp_path, machine):
    """Run a job over a graph, and return the file."""

    def run(graph, module, bucket=BUCKET, **changes):
        torch.export.save(export_program(graph, bucket, traced(graph, module)), tmp_path / PROGRAM)
        job = Job(graph=graph.name, bucket=bucket.label, flags=["--target", "inf2"], **changes)
        compile_job(job, tmp_path)
        return tmp_path / MODEL

    return run


def test_the_program_follows_its_inputs_to_another_device():
    graph = encoder_graph()
    module = runnable(export_program(graph, BUCKET, traced(graph, Encoder())))

    values = [value for node in module.graph.nodes for value in (*node.args, *node.kwargs.values())]
    assert not [value for value in values if isinstance(value, torch.device)], (
        "no operator names the device of the host"
    )
    meta = module.to("meta")(*(torch.zeros(2, 4, dtype=torch.int64, device="meta") for _ in range(2)))
    assert meta[0].device.type == "meta"


def test_attention_reaches_the_lowering_whole():
    graph = encoder_graph()
    program = export_program(graph, BUCKET, traced(graph, Encoder()))

    targets = {str(node.target) for node in program.graph.nodes}
    assert "aten.scaled_dot_product_attention.default" in targets


@pytest.mark.parametrize(
    ("changes", "position"), [({"lazy_load": True}, 0), ({"async_load": True}, 1), ({"dynamic_batch": True}, 3)]
)
def test_flags_of_loading_are_in_the_file(make, machine, changes, position):
    file = make(encoder_graph(), Encoder(), **changes)
    machine.start("inf2.xlarge")

    flags = torch.jit.load(file).model.flags
    assert [index for index in (0, 1, 3) if flags[index]] == [position]


def test_a_dynamic_batch_takes_any_number_of_rows(make, machine):
    module = Encoder().eval()
    file = make(encoder_graph(), module, dynamic_batch=True)
    machine.start("inf2.xlarge")
    call = torch.randint(0, 11, (5, 4)), torch.ones(5, 4, dtype=torch.int64)

    assert torch.allclose(torch.jit.load(file)(*call)[0], module(*call)["last_hidden_state"], atol=1e-6)


# State: unverified on a device.

STATE_BUCKET = Bucket({"batch": 2})


def eager_steps(rows):
    """What the cache gives, step by step."""
    module, cache = CachedSum(), torch.zeros(2, 4, 3)
    return [module(row, torch.tensor([place]), cache)["total"] for place, row in enumerate(rows)]


def test_state_stays_on_the_device_between_calls(make, machine):
    file = make(cached_graph(), CachedSum(), STATE_BUCKET, states=[2], outputs=1)
    machine.start("inf2.xlarge")
    torch.manual_seed(0)
    rows = torch.randn(4, 2, 3)
    script = torch.jit.load(file)

    for place, (row, wanted) in enumerate(zip(rows, eager_steps(rows), strict=True)):
        (got,) = script(row, torch.tensor([place]))
        assert torch.allclose(got, wanted, atol=1e-6)


def test_a_second_text_needs_no_reset_because_positions_mask(make, machine):
    file = make(cached_graph(), CachedSum(), STATE_BUCKET, states=[2], outputs=1)
    machine.start("inf2.xlarge")
    torch.manual_seed(0)
    first, second = torch.randn(2, 4, 2, 3)
    script = torch.jit.load(file)
    for place, row in enumerate(first):
        script(row, torch.tensor([place]))

    for place, (row, wanted) in enumerate(zip(second, eager_steps(second), strict=True)):
        assert torch.allclose(script(row, torch.tensor([place]))[0], wanted, atol=1e-6)


def test_states_are_parameters_aliased_after_the_outputs():
    module = StatefulModule(CachedSum(), [torch.ones(2, 3), torch.ones(1), torch.ones(2, 4, 3)], [2], outputs=1)

    ((parameter, index),) = module.aliases.items()
    assert isinstance(parameter, torch.nn.Parameter)
    assert not parameter.requires_grad
    assert torch.equal(parameter, torch.zeros(2, 4, 3))
    assert index == 1


def test_the_host_leaves_out_states():
    tensors = [torch.full((1,), float(number)) for number in range(4)]
    assert [tensor.item() for tensor in without_states(tensors, [1, 3])] == [0, 2]
