"""What a graph without weights depends on, and what it does not."""

from __future__ import annotations

import enum
import functools
import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import attrs
import numpy as np
import pytest
import torch
from torch import nn

import neuronkit
from neuronkit.artifact.cache import content_key
from neuronkit.export.identity import (
    SHAPELESS_FIELDS,
    canonical,
    config_identity,
    module_identity,
    module_structure,
    package_sources,
    plugin_identity,
)
from neuronkit.export.source import resolve_source
from neuronkit.manager import make_manager, options_class
from tests.plugins.encoders import tiny_encoder


class Kind(enum.Enum):
    ONE = 1
    TWO = 2


@attrs.frozen
class Window:
    size: int


class Bare:
    """Keeps its state in a dictionary, and itself in it."""

    def __init__(self, size):
        self.size = size
        self.me = self


class Word(str):
    """A text of a class of its own."""


class Slotted:
    __slots__ = ("size",)

    def __init__(self, size):
        self.size = size


@pytest.mark.parametrize(
    "make",
    [
        lambda n: n,
        lambda n: [[n, 2], [3, 4]],
        lambda n: ({"a": (n,)},),
        lambda n: {n, 7},
        lambda n: [torch.float32, torch.bfloat16][n],
        lambda n: torch.Size([n]),
        lambda n: [torch.device("cpu"), torch.device("meta")][n],
        lambda n: list(Kind)[n],
        lambda n: Window(n),
        lambda n: [Window(n)],
        lambda n: Bare(n),
        lambda n: Slotted(n),
        lambda n: functools.partial(print, n),
        lambda n: functools.partial(print, end=str(n)),
        lambda n: [len, print][n],
        lambda n: [nn.GELU, nn.SiLU][n],
        lambda n: np.array([0, n]),
        lambda n: np.int64(n),
        lambda n: torch.zeros(n),
        lambda n: torch.tensor(n),
        lambda n: {"mean": torch.full((2,), n, dtype=torch.bfloat16)},
        lambda n: lambda: n,
        lambda n: lambda shift=n: shift,
        lambda n: [lambda: Window(n)],
        lambda n: [lambda x: x.relu(), lambda x: x.tanh()][n],
        lambda n: [lambda x, *, by=1: x, lambda x, *, by=2: x][n],
        lambda n: range(n),
        lambda n: Word("ab"[n]),
    ],
)
def test_values_are_told_apart(make):
    """Equal ones are equal, as JSON too; others are not."""
    key = content_key(canonical(make(0)))
    assert key == content_key(canonical(make(0)))
    assert key != content_key(canonical(make(1)))


def said_with_other_hashes(code):
    """Return what a program prints in two processes, in which sets have other orders."""
    return {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=True,
        ).stdout
        for seed in (1, 2)
    }


def test_the_order_of_a_set_does_not_count():
    """It is another one in every process."""
    code = "from neuronkit.export.identity import canonical; print(canonical({'a', 'b', 'c', frozenset('de')}))"
    assert len(said_with_other_hashes(code)) == 1
    code = "from neuronkit.export.identity import canonical; print(canonical(lambda x: x in {'a', 'b', 'c'}))"
    assert len(said_with_other_hashes(code)) == 1


def test_what_has_no_text_of_its_own_makes_no_key():
    """An object's text holds its address."""
    with pytest.raises(TypeError, match="not JSON serializable"):
        content_key({"option": object()})


def test_attributes_of_modules_count():
    """Whatever they are; hooks count by what they do, not by the numbers that torch counts them with."""
    net = nn.Sequential(nn.Linear(2, 2))
    net[0].pairs = [[1, 2], [3, 4]]
    first = module_structure(net)
    net[0].pairs = [[1, 2], [3, 5]]
    assert module_structure(net) != first

    def filled(value):
        layer = nn.Linear(2, 2)
        nn.init.constant_(layer.weight, value)
        layer.register_buffer("scale", torch.full((2,), value))
        layer.mean = torch.full((2,), value)
        return layer

    assert module_structure(filled(1.0)) == module_structure(filled(2.0)), "weights have a signature of their own"
    within = []
    for value in (1.0, 2.0):
        layer = filled(0.0)
        layer.statistics = {"mean": torch.full((2,), value)}
        within.append(module_structure(layer))
    assert within[0] != within[1], "what no graph can be given is written into it"

    def hooked(hook):
        layer = nn.Linear(2, 2)
        layer.register_forward_pre_hook(hook)
        return module_structure(layer)

    assert hooked(print) == hooked(print) != hooked(len)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_the_parameters_of_recurrent_layers_are_weights(kind):
    """Which these layers have in a list as well."""
    assert module_structure(kind(2, 3)) == module_structure(kind(2, 3))
    assert module_structure(kind(2, 3)) != module_structure(kind(2, 3, bias=False))


@pytest.mark.parametrize("architecture", ["bert", "convbert", "deberta", "mobilebert", "xlm"])
def test_siblings_are_the_same(architecture, tmp_path):
    """Those too whose models are adapted: loaded again, from another place, with other weights."""

    def structure(seed):
        source = resolve_source(tiny_encoder(tmp_path / str(seed), architecture, "feature-extraction", seed=seed))
        hook = make_manager(neuronkit.get_registry().resolve(f"{architecture}.feature-extraction").plugin, []).hook
        options = options_class(hook)()
        config = hook.export_config(source=source, shapes={"sequence_length": [16]}, options=options)
        (graph,) = config.graphs
        module = config.load()
        return content_key(canonical(module_identity(graph.wrap(module) if graph.wrap else module)))

    assert structure(0) == structure(1)


def test_code_that_is_in_no_file(monkeypatch):
    """What a notebook or an interpreter defines counts as it is now."""
    module = ModuleType("typed_in")
    module.__file__ = "<stdin>"
    monkeypatch.setitem(sys.modules, "typed_in", module)

    def sources(text):
        exec(text, vars(module))
        return package_sources("typed_in")

    forward = "    def forward(self, x):\n        return [y * 2 for y in x]\n"
    text = f"SCALE = 2\nclass Net:\n{forward}    again = forward\nNet.me = Net\n"
    first = sources(text)
    assert sources(text) == first
    assert sources("_ = 3") == first
    assert sources(text.replace("y * 2", "y * 3")) != first
    assert sources(text) == first
    assert sources("SCALE = 3") != first


def test_a_model_s_own_code_counts(tmp_path, monkeypatch):
    """Wherever it is: in a package that the plugin only uses, in a base class, below the module, in a table that it read."""
    package = tmp_path / "acme_nets"
    (package / "parts").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "base.py").write_text("import torch\nclass Base(torch.nn.Module):\n    pass\n")
    (package / "parts" / "sums.py").write_text("def total(x):\n    return x.sum()\n")
    text = "from acme_nets.base import Base\nclass Net(Base):\n    table = None\n"
    (tmp_path / "acme_nets_user.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    from acme_nets_user import Net

    net = Net()
    _, sources = module_identity(net)
    assert set(sources) == {"acme_nets.base", "acme_nets_user"}
    assert set(sources["acme_nets.base"]) == {"__init__.py", "base.py", "parts/sums.py"}
    assert set(sources["acme_nets_user"]) == {"acme_nets_user.py"}
    net.table = {"scale": {"a": 1}}
    first = module_identity(net)
    net.table = {"scale": {"a": 2}}
    assert module_identity(net) != first


def test_code_that_is_imported_again(tmp_path, monkeypatch):
    """A file that changes is other code only once it runs."""
    file = tmp_path / "acme_edited.py"
    file.write_text("FACTOR = 2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import acme_edited

    first = package_sources("acme_edited")
    file.write_text("FACTOR = 30\n")
    assert package_sources("acme_edited") == first
    importlib.reload(acme_edited)
    assert acme_edited.FACTOR == 30
    assert package_sources("acme_edited") != first


def test_a_plugin_may_be_a_module(tide_checkpoint, tmp_path, monkeypatch):
    """Its source is its own."""
    (tmp_path / "acme_module_plugin.py").write_text("def export_config(): ...")
    monkeypatch.syspath_prepend(str(tmp_path))
    import acme_module_plugin

    identity = plugin_identity(acme_module_plugin, resolve_source(tide_checkpoint))
    assert (identity["class"], set(identity["source"])) == ("acme_module_plugin", {"acme_module_plugin.py"})


def test_shapeless_fields():
    """The fields that change no graph, one by one; everything else counts."""
    assert {
        "_commit_hash",
        "_diffusers_version",
        "_name_or_path",
        "_use_default_values",
        "architectures",
        "dtype",
        "finetuning_task",
        "id2label",
        "label2id",
        "problem_type",
        "task_specific_params",
        "torch_dtype",
        "transformers_version",
    } == SHAPELESS_FIELDS
    config = {"hidden_size": 4, "hidden_act": "gelu", "layer_norm_eps": 1e-5, "pad_token_id": 0, "use_cache": True}
    assert config_identity({**config, **dict.fromkeys(SHAPELESS_FIELDS, "x")}) == config
    for field in config:
        assert config_identity({**config, field: "other"}) != config_identity(config)


def test_pipelines_are_the_same_in_every_process():
    """diffusers keeps sets of names, whose order is another one in every process."""
    pytest.importorskip("diffusers")
    code = """
from neuronkit.artifact.cache import content_key
from neuronkit.export.identity import module_structure
from tests.image.checkpoints import tiny_unet
print(content_key(module_structure(tiny_unet())))
"""
    assert len(said_with_other_hashes(code)) == 1
