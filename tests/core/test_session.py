"""Calls of a session on plain tensors: what is checked, filled, padded, split and cut, without any compiled code."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch

from neuronkit.artifact.manifest import CompiledBucket, CompiledGraphRecord
from neuronkit.backends.base import Capabilities
from neuronkit.errors import InputError
from neuronkit.export import Input, Output
from neuronkit.loaded_graph import LoadedGraph
from neuronkit.manager import make_manager
from neuronkit.session import Session, open_graphs
from neuronkit.weights import constant

INPUTS = [
    Input("ids", ["batch", "sequence"], pad_value=9),
    Input("mask", ["batch", "sequence"], default=1),
    Input("scale", ["batch", 2], dtype="float32", default=0.5),
]
OUTPUTS = [Output("echo", ["batch", "sequence"]), Output("total", ["batch", 1])]


class Recorder:
    """Stands for the compiled graphs of all buckets: notes what arrives, and gives back ids and the sum of the mask."""

    def __init__(self):
        self.calls = []

    def __call__(self, tensors):
        self.calls.append([tensor.clone() for tensor in tensors])
        ids, mask, _ = tensors
        return ids, mask.sum(1, keepdim=True)

    @property
    def shapes(self):
        """The shape of the first input of each call."""
        return [tuple(call[0].shape) for call in self.calls]


def make_session(runner, *buckets, bounds=None, inputs=INPUTS, outputs=OUTPUTS, many_rows=None):
    """Return a session of one graph, ``net``, with buckets of (batch, sequence)."""
    records = [
        CompiledBucket({"batch": batch, "sequence": sequence}, bounds or {}, "none", [], [])
        for batch, sequence in buckets
    ]
    record = CompiledGraphRecord("net", None, list(inputs), list(outputs), records)
    loaded = LoadedGraph(record, [runner] * len(records), many_rows)
    session = Session(SimpleNamespace(manifest=None), None, {"net": loaded})
    session.attach(make_manager(None).hook)
    return session


def ids_of(rows, length):
    """Return ids that are all different."""
    return torch.arange(100, 100 + rows * length).reshape(rows, length)


@pytest.fixture
def runner():
    """A runner that remembers."""
    return Recorder()


@pytest.fixture
def session(runner):
    """A session of two buckets: 2 rows of 4 or of 8."""
    return make_session(runner, (2, 4), (2, 8))


def test_padding_in_and_out(session, runner):
    """The smallest bucket that fits is used: ids padded with the pad value, masks with 0, rows with copies of row 0."""
    outputs = session.forward("net", {"ids": ids_of(1, 3)})
    ids, mask, scale = runner.calls[0]
    assert ids.tolist() == [[100, 101, 102, 9]] * 2
    assert mask.tolist() == [[1, 1, 1, 0]] * 2
    assert scale.tolist() == [[0.5, 0.5]] * 2
    assert list(outputs) == ["echo", "total"]
    assert outputs["echo"].tolist() == [[100, 101, 102]]
    assert outputs["total"].tolist() == [[3]]


def test_the_callers_mask_is_kept(session, runner):
    """What the caller masked stays masked, whatever the default."""
    session.forward("net", {"ids": ids_of(2, 5), "mask": torch.tensor([[1, 1, 0, 0, 0], [0, 0, 0, 0, 1]])})
    assert runner.calls[0][1].tolist() == [[1, 1, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0, 0, 0]]


def test_a_full_bucket_is_handed_on_as_it_is(session):
    """No copy in, no copy out."""
    ids = ids_of(2, 4)
    given = {"ids": ids, "mask": torch.ones(2, 4, dtype=torch.int64), "scale": torch.ones(2, 2)}
    assert session.forward("net", given)["echo"] is ids


def test_more_rows_than_the_bucket(session, runner):
    """They are split in order, the last piece padded, and put together."""
    ids = ids_of(5, 4)
    mask = torch.tril(torch.ones(5, 4, dtype=torch.int64))
    outputs = session.forward("net", {"ids": ids, "mask": mask})
    assert runner.shapes == [(2, 4)] * 3
    assert torch.equal(runner.calls[2][0], ids[[4, 4]])
    assert torch.equal(outputs["echo"], ids)
    assert outputs["total"].flatten().tolist() == [1, 2, 3, 4, 4]


@pytest.mark.parametrize(
    ("rows", "expected"), [(1, [(1, 4)]), (3, [(1, 4)] * 3), (4, [(4, 4)]), (5, [(1, 4)] * 5), (8, [(4, 4)] * 2)]
)
def test_batches_choose_the_least_work(runner, rows, expected):
    """Five rows cost five small calls, not two of four rows each."""
    session = make_session(runner, (1, 4), (4, 4))
    assert torch.equal(session.forward("net", {"ids": ids_of(rows, 4)})["echo"], ids_of(rows, 4))
    assert runner.shapes == expected


def test_dynamic_axes_are_not_padded(runner):
    """Within its bounds a dynamic graph takes the call's own sizes; past the bound of the batch it is split."""
    session = make_session(runner, (64, 8), bounds={"batch": (1, 64), "sequence": (1, 8)})
    ids = ids_of(130, 3)
    assert torch.equal(session.forward("net", {"ids": ids})["echo"], ids)
    assert runner.shapes == [(64, 3), (64, 3), (2, 3)]
    assert session.limits == {"batch": 64, "sequence": 8}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(1, [1]), (8, [8]), (9, [5, 4]), (16, [8, 8]), (17, [6, 6, 5]), (70, [8] * 8 + [6])],
)
def test_many_rows_are_divided_evenly_over_calls(runner, rows, expected):
    """Eight texts of three tokens are the 24 rows that a call gains nothing by exceeding."""
    session = make_session(runner, (64, 8), bounds={"batch": (1, 64), "sequence": (1, 8)}, many_rows=26)
    assert torch.equal(session.forward("net", {"ids": ids_of(rows, 3)})["echo"], ids_of(rows, 3))
    assert runner.shapes == [(size, 3) for size in expected]


def test_a_row_of_many_positions_is_a_call(runner):
    """A text longer than that is not divided; and a static batch is padded, so dividing it would cost more."""
    session = make_session(runner, (64, 8), bounds={"batch": (1, 64), "sequence": (1, 8)}, many_rows=4)
    session.forward("net", {"ids": ids_of(2, 7)})
    assert runner.shapes == [(1, 7), (1, 7)]
    session = make_session(runner, (2, 8), many_rows=4)
    session.forward("net", {"ids": ids_of(2, 7)})
    assert runner.shapes[2:] == [(2, 8)]


def test_batch_that_is_not_the_first_axis(runner):
    """Splitting and joining follow the axis that is named batch."""

    def run(tensors):
        runner.calls.append(tensors)
        return (tensors[0] * 2,)

    inputs, outputs = [Input("x", ["sequence", "batch"])], [Output("y", ["sequence", "batch"])]
    session = make_session(run, (2, 4), inputs=inputs, outputs=outputs)
    x = ids_of(3, 5)
    assert torch.equal(session.forward("net", {"x": x})["y"], x * 2)


def test_integers_convert(session, runner):
    """int32 and bool become int64; lower floats become the declared float."""
    given = {
        "ids": ids_of(2, 4).int(),
        "mask": torch.ones(2, 4, dtype=torch.bool),
        "scale": torch.ones(2, 2).bfloat16(),
    }
    assert session.forward("net", given)["echo"].dtype is torch.int64
    assert [tensor.dtype for tensor in runner.calls[0]] == [torch.int64, torch.int64, torch.float32]


def test_gradients_stay_outside(session, runner):
    """A tensor that requires grad is taken without it."""
    session.forward("net", {"ids": ids_of(2, 4), "scale": torch.ones(2, 2, requires_grad=True)})
    assert not runner.calls[0][2].requires_grad


GOOD = {"ids": ids_of(2, 4)}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"idz": GOOD["ids"]}, "Graph 'net' has no input 'idz'. Did you mean 'ids'? Its inputs: ids, mask, scale."),
        ({**GOOD, "zzzzz": 1}, "Graph 'net' has no input 'zzzzz'. Its inputs: ids, mask, scale."),
        ({"mask": GOOD["ids"]}, "Graph 'net' needs the input 'ids'; the call gave ['mask']."),
        ({}, "Graph 'net' needs the input 'ids'; the call gave []."),
        ({"ids": [[1, 2]]}, "ids must be a torch.Tensor (got list)."),
        ({"ids": torch.ones(4, dtype=torch.int64)}, "ids must have 2 dimensions ['batch', 'sequence'] (got (4,))."),
        ({"ids": torch.ones(2, 4)}, "ids must be of dtype int64 (got float32)."),
        (
            {"ids": GOOD["ids"].to("meta")},
            "ids must be on the CPU (got a tensor on meta).\nTry: ids.cpu()",
        ),
        ({**GOOD, "scale": torch.ones(2, 2).long()}, "scale must be of dtype float32 (got int64)."),
        ({**GOOD, "scale": torch.ones(2, 2) * 1j}, "scale must be of dtype float32 (got complex64)."),
        ({"ids": torch.ones(0, 4).long()}, "ids is empty along 'batch'."),
        ({"ids": torch.ones(2, 0).long()}, "ids is empty along 'sequence'."),
        ({**GOOD, "mask": torch.ones(2, 3).long()}, "mask has 3 along 'sequence', and another input has 4."),
        ({**GOOD, "mask": torch.ones(1, 4).long()}, "mask has 1 along 'batch', and another input has 2."),
        ({**GOOD, "scale": torch.ones(2, 3)}, "scale must have the fixed size 2 where it has 3."),
        (
            {"ids": torch.ones(1, 9).long()},
            "ids has 9 along 'sequence', and the largest bucket has 8. Buckets: batch2_sequence4, batch2_sequence8.\n"
            "Try: a shorter input, or compile again with a larger size.",
        ),
    ],
)
def test_refused(session, runner, given, message):
    """Each is an InputError, a ValueError too, and nothing runs."""
    with pytest.raises(InputError, match=f"^{re.escape(message)}$") as raised:
        session.forward("net", given)
    assert isinstance(raised.value, ValueError)
    assert not runner.calls


@pytest.mark.parametrize(
    ("number", "dtype"), [(-1, torch.int64), (7, torch.int64), (-1, torch.int16), (255, torch.uint8)]
)
def test_numbers_that_no_table_holds(number, dtype):
    """Compiled code that looks one up may end the process; what is filled up is the plugin's own affair."""
    runner = Recorder()
    inputs = [Input("ids", ["batch", "sequence"], pad_value=9, table_size=7), *INPUTS[1:]]
    session = make_session(runner, (2, 4), inputs=inputs)
    ids = torch.tensor([[0, 6, 3]], dtype=dtype)
    session.forward("net", {"ids": ids})
    assert runner.calls.pop()[0].tolist()[0] == [0, 6, 3, 9]
    ids[0, 1] = number
    with pytest.raises(InputError, match=rf"^ids holds {number}, and must hold numbers from 0 to 6\.$"):
        session.forward("net", {"ids": ids})
    assert not runner.calls


def test_a_default_needs_sizes():
    """An optional input cannot be filled in when nothing else has its axes."""
    inputs = [Input("ids", ["batch"]), Input("mask", ["batch", "sequence"], default=1)]
    session = make_session(Recorder(), (2, 4), inputs=inputs, outputs=[Output("y", ["batch"])])
    with pytest.raises(InputError, match=r"^mask cannot be filled in: no other input has the axis 'sequence'\.$"):
        session.forward("net", {"ids": torch.ones(2, dtype=torch.int64)})


FOLLOWING = [
    Input("ids", ["batch", "sequence"]),
    Input("halves", ["batch", "(sequence+1)/2"], default=7),
    Input("scale", ["batch", 2], dtype="float32", default=0.5),
]


def test_an_axis_that_follows_from_another(runner):
    """It is checked against the call's size, filled in, and padded with it."""
    session = make_session(runner, (2, 8), inputs=FOLLOWING)
    session.forward("net", {"ids": ids_of(2, 5), "halves": torch.ones(2, 3, dtype=torch.int64)})
    assert runner.calls[0][1].tolist() == [[1, 1, 1, 0]] * 2
    session.forward("net", {"ids": ids_of(2, 5)})
    assert runner.calls[1][1].tolist() == [[7, 7, 7, 0]] * 2
    with pytest.raises(InputError, match=r"^halves has 4 along '\(sequence\+1\)/2', which is 3 in this call\.$"):
        session.forward("net", {"ids": ids_of(2, 5), "halves": torch.ones(2, 4, dtype=torch.int64)})


def test_an_axis_that_follows_from_none_of_the_call(runner):
    """Where the input that has the other axis is optional, the call must give it."""
    inputs = [Input("ids", ["batch", "sequence"], default=0), *FOLLOWING[1:]]
    session = make_session(runner, (2, 8), inputs=inputs)
    with pytest.raises(
        InputError, match=r"^halves needs 'sequence' to be known, and the call has no input with that axis"
    ):
        session.forward("net", {"halves": torch.ones(2, 4, dtype=torch.int64)})


def test_unknown_graph(session):
    """The name of a graph is checked too."""
    with pytest.raises(InputError, match=r"There is no graph 'nett'\. The artifact's graphs: net\."):
        session.forward("nett", GOOD)


def test_a_backend_says_which_kinds_are_opened_first(tmp_path):
    opened = []
    bucket = CompiledBucket(sizes={"batch": 1}, bounds={}, entry="graph", files=[], constants=[])
    records = [
        CompiledGraphRecord(kind, kind, [Input("ids", ["batch"])], [Output("echo", ["batch"])], [bucket])
        for kind in ("text_encoder", "unet", "vae")
    ]

    class Opening:
        capabilities = Capabilities(opened_first=("unet",))

        def load(self, directory, compiled, weights):
            opened.append(len(opened))
            return lambda tensors, number=opened[-1]: [torch.tensor([number])]

    graphs = open_graphs(tmp_path, records, Opening(), {})
    order = {name: int(graph.run(graph.buckets[0], [torch.zeros(1)])["echo"]) for name, graph in graphs.items()}
    assert order == {"unet": 0, "text_encoder": 1, "vae": 2}
    assert list(graphs) == ["text_encoder", "unet", "vae"], "callers see the declared order"


def test_a_weight_that_one_graph_reads_as_it_is_stored_is_packed_for_none(tmp_path):
    """Tied weights have a name in each graph, and are one tensor."""
    tied, own = torch.zeros(2, 2), torch.ones(2, 2)
    weights = {"step/tied": tied, "step/own": own, "prompt/tied": tied}
    took = {
        "step": [constant("own", own, packed=True), constant("tied", tied, packed=True)],
        "prompt": [constant("tied", tied)],
    }
    records = [
        CompiledGraphRecord(
            name,
            None,
            [Input("ids", ["batch"])],
            [Output("echo", ["batch"])],
            [CompiledBucket(sizes={"batch": 1}, bounds={}, entry="graph", files=[], constants=constants)],
        )
        for name, constants in took.items()
    ]
    packed = []

    class Opening:
        capabilities = Capabilities()

        def load(self, directory, compiled, weights):
            packed.extend(constant.name for constant in compiled.constants if constant.packed)
            return list

    open_graphs(tmp_path, records, Opening(), weights)
    assert packed == ["own"]
