"""The kit itself: a good plugin passes, and each broken promise is found by the check that is named after it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import neuronkit
from neuronkit.testing import PluginConformance
from neuronkit.testing.case import Case
from neuronkit.testing.distributions import write_distribution
from neuronkit.testing.echo import write_checkpoint
from neuronkit.testing.forms import mismatch
from neuronkit.testing.fresh import FreshProcess, fresh_process
from neuronkit.testing.promises import BrokenPromiseError, promises_of

PLUGINS = """
    import attrs
    import torch
    from neuronkit import hookimpl
    from neuronkit.export import ExportConfig, Graph, Input, Output
    from neuronkit.options import option
    from neuronkit.testing.echo import Echo, load_model

    class Counting(torch.nn.Module):
        "Adds the length of the row, padding included."
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, letters, given):
            return self.model(letters, given)["echoed"] + torch.ones_like(letters).sum(1, keepdim=True)

    class Changed(Echo):
        def __init__(self, **changes):
            self.changes = changes

        @hookimpl
        def export_config(self, source):
            inputs = [Input("letters", ["batch", "sequence"], high=99), Input("given", ["batch", "sequence"], default=1)]
            graph = {"name": "echo", "inputs": inputs, "outputs": [Output("echoed", ["batch", "sequence"])]}
            return ExportConfig(load=lambda: load_model(source.path), graphs=[Graph(**{**graph, **self.changes})])

    class Careless(Changed):
        @hookimpl
        def preprocess(self, inputs):
            return {"letters": torch.tensor([[65, 66]])}, None

        @hookimpl
        def postprocess(self, outputs):
            return 7

        @hookimpl
        def remove_padding(self, outputs, dims, indices):
            return {name: tensor[..., :1] for name, tensor in outputs.items()}

    @attrs.frozen(kw_only=True)
    class Options:
        pitch: int = option(help="Has no default.")

    class Optional(Echo):
        @hookimpl
        def options(self):
            return Options

    good = Echo()
    counting = Changed(wrap=Counting)
    seeded = Changed(name=f"echo_{hash('echo') % 1000003}")
    careless = Careless()
    optional = Optional()
"""
NEEDY = """
    import torch_xla
    from acme_kit import good as plugin
"""
DEADLY = """
    import os, sys
    print("goodbye", file=sys.stderr, flush=True)
    os._exit(3)
"""
BROKEN = ["careless", "counting", "good", "optional", "seeded"]


class Suite(PluginConformance):
    key = "acme.good"
    shapes = {"batch_size": 2, "sequence_length": 12}
    result = str

    def checkpoint(self, path: Path) -> Path:
        return write_checkpoint(path)

    def raw(self):
        return {"text": "abc"}


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A package of broken plugins on `sys.path`, with a keen eye for backends."""
    site = tmp_path_factory.mktemp("site")
    modules = {"acme_kit": PLUGINS, "acme_needy": NEEDY, "acme_deadly": DEADLY, "torch_xla": ""}
    plugins = {f"acme.{name}": f"acme_kit:{name}" for name in BROKEN}
    plugins |= {f"acme.{name}": f"acme_{name}:plugin" for name in ("deadly", "needy")}
    write_distribution(site, "acme", plugins, modules=modules)
    registry = neuronkit.get_registry()
    state = registry.snapshot()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        registry.refresh()
        yield site
    registry.restore(state)
    for name in ("acme_kit", "acme_needy"):
        sys.modules.pop(name, None)


@pytest.fixture
def case(packages, request, tmp_path):
    """A function from the name of a plugin to its case."""

    def make(name: str) -> Case:
        return Case(Suite(), f"acme.{name}", tmp_path / name, tmp_path / "cache", fresh_process(request.config))

    return make


def broken(check, *arguments) -> str:
    """Return what a check says that has to fail."""
    with pytest.raises(BrokenPromiseError) as caught:
        check(Suite(), *arguments)
    return str(caught.value)


def test_importing_it_imports_neither_torch_nor_pytest():
    code = "import sys, neuronkit.testing; print(sorted({'torch', 'pytest', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_without_pytest(monkeypatch):
    """The extra is named."""
    monkeypatch.setitem(sys.modules, "pytest", None)
    monkeypatch.delitem(sys.modules, "neuronkit.testing.conformance")
    monkeypatch.delitem(neuronkit.testing.__dict__, "PluginConformance")
    with pytest.raises(ImportError, match=r'pip install "neuronkit\[testing\]"'):
        neuronkit.testing.PluginConformance  # noqa: B018


def test_results_that_depend_on_the_padding(case):
    """As the gate of `compile` does, without which the kit compiles."""
    said = broken(Suite.test_forward_equals_eager, case("counting"))
    assert said.startswith("Graph 'echo' at {'batch': 1, 'sequence': 8}: echoed differs from eager by 4")


def test_a_declaration_that_depends_on_the_hash_seed(case):
    seeded = case("seeded")
    assert "export_config here and in another process declare different things:" in broken(
        Suite.test_export_config_is_deterministic, seeded
    )
    assert "Another process compiled anew: echo_" in broken(Suite.test_cache_key_is_deterministic, seeded)


def test_hooks_that_take_anything_and_cut_too_much(case):
    careless = case("careless")
    assert broken(Suite.test_result_has_the_documented_form, careless) == "the result is a int, not a str."
    assert broken(Suite.test_bad_input_is_refused, careless) == "the pipeline with {} was accepted."
    assert "padded on the right: letters_given of shape (1, 8) came back as (2, 1)" in broken(
        Suite.test_remove_padding_undoes_pad, careless
    )
    assert "echoed has shape (2, 1), eager gives (2, 12)." in broken(Suite.test_forward_equals_eager, careless)


def test_options_that_are_no_ones_own(packages):
    said = broken(Suite.test_options_round_trip, "acme.optional").splitlines()
    assert said == [
        "Options has options without a default, so no call works without them: ['pitch'].",
    ]


def test_an_import_that_needs_a_backend(packages, request):
    said = broken(Suite.test_import_is_light, "acme.needy", request)
    assert said == "Importing the plugin imported torch_xla, which only a backend may."


def test_an_import_that_ends_the_process(packages, request):
    """It is the other process that ends, and the next question gets a new one."""
    said = broken(Suite.test_import_is_light, "acme.deadly", request)
    assert said == "resolve ended a fresh process (exit status 3):\ngoodbye\n"
    Suite().test_listing_imports_nothing("acme.good", request)


def test_a_fresh_process_leaves_nothing_open(packages):
    """With ``-W error`` a pipe or file that nobody closed would be a failure of the plugin's tests."""
    before = sorted(os.listdir("/proc/self/fd"))
    process = FreshProcess()
    process.ask("list")
    with pytest.raises(BrokenPromiseError):
        process.ask("resolve", key="acme.deadly")
    process.ask("list")
    process.stop()
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_keys_that_no_package_declares(packages):
    said = broken(Suite.test_found_through_metadata, "acme.missing")
    assert said.startswith("No installed package declares 'acme.missing' in the group 'neuronkit.models.v1'.\nTry: pip")
    registry = neuronkit.get_registry()
    with registry.temporary(registry.resolve("acme.good").plugin, "acme.late"):
        assert "It is only registered in this process." in broken(Suite.test_found_through_metadata, "acme.late")
    assert broken(Suite.test_key_is_well_formed, "Acme").startswith("'Acme' is no key, which is <architecture>.<task>")
    assert broken(Suite.test_key_is_well_formed, "acme.sentence-transformers") == (
        "'sentence-transformers' is an alias; the key needs 'sentence-similarity'."
    )


QUIET = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")
"""Plugins that an inner run has no use for; hypothesis would be imported anew by each."""
CLASSES = """
    import pytest
    from neuronkit.testing import PluginConformance

    class TestReasons(PluginConformance):
        key = ["acme.good", "acme.missing"]
        expected_failures = {"contract": "it is not there", "key_is_well_formed": "it is", "no_promise": "none"}

    class TestNoReason(PluginConformance):
        key = "acme.good"
        expected_failures = {"contract": " "}

    class TestOverride(PluginConformance):
        key = "acme.good"
        def test_contract(self):
            pass

    @pytest.mark.skip
    class TestSkipped(PluginConformance):
        key = "acme.good"

    class TestAlone(PluginConformance):
        key = "acme.good"

    class TestNothing(PluginConformance):
        key = "acme.good"
        def raw(self):
            pytest.skip("no input today")
"""


def test_nothing_is_left_out(packages, pytester):
    """Reasons are reported, and skips, overrides and unknown names fail; a class of two keys checks both."""
    pytester.makepyfile(CLASSES)
    ended = pytester.runpytest_inprocess(*QUIET, "-k", "Reasons and (key_is_well or contract or every)", "-rA")
    ended.assert_outcomes(failed=4, xfailed=1)
    text = ended.stdout.str()
    assert "key_is_well_formed holds, although expected_failures says that it does not: it is" in text
    assert "expected_failures names no promises: no_promise." in text
    assert "it is not there (No plugin is installed for 'acme.missing'" in text

    ended = pytester.runpytest_inprocess(*QUIET, "-k", "every_promise and not Reasons")
    text = ended.stdout.str()
    assert "expected_failures needs reasons: contract." in text
    assert "TestOverride replaces promises: contract." in text

    ended = pytester.runpytest_inprocess(
        *QUIET, "test_nothing_is_left_out.py::TestAlone::test_every_promise_was_checked"
    )
    ended.assert_outcomes(failed=1)
    assert f"Not collected: {', '.join(promises_of(PluginConformance))}." in ended.stdout.str()


def test_a_skip_inside_is_a_failure():
    class Skipping(Suite):
        def raw(self):
            pytest.skip("no input today")

    class Anything:
        session = pipeline = property(lambda self: self)
        manifest = property(lambda self: self)
        task = "repeat-text"

        def __call__(self, **_):
            return ""

    with pytest.raises(pytest.fail.Exception, match=r"was skipped \(no input today\), and a promise is kept or broken"):
        Skipping().test_result_has_the_documented_form(Anything())


@pytest.mark.parametrize(
    ("value", "form", "problem"),
    [
        ({"label": "a", "score": 0.5}, {"label": str, "score": float}, None),
        ({"label": "a"}, {"label": str, "score": float}, "the result has the keys ['label'], not ['label', 'score']"),
        ([{"label": 1}], [{"label": str}], "the result[0]['label'] is a int, not a str"),
        ([], [str], "the result is a list, not a list of at least one"),
        (None, (int, type(None)), None),
        ("", (int, float), "the result is a str, not a int and the result is a str, not a float"),
        (3, "array", "the result is a int, not an array"),
    ],
)
def test_forms(value, form, problem):
    assert mismatch(value, form) == problem
