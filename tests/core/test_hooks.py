"""The hooks of a real compile, load and call: who sees them, who may replace them."""

from __future__ import annotations

import re
from enum import Enum
from functools import partial

import attrs
import pytest
import torch

import neuronkit
from neuronkit import hookimpl
from neuronkit.cli import main
from neuronkit.errors import ArtifactCorruptError, ArtifactIncompatibleError, ExportConfigError, InputError, OptionError
from neuronkit.hooks import CORE_HOOKS
from neuronkit.manager import make_manager
from neuronkit.options import json_schema, option
from neuronkit.plugins import BACKENDS, EXTENSIONS, registry_of
from neuronkit.tracing import abbreviate
from neuronkit_registry import PluginContractError
from tests.core.tide import KEY, TASK, Tide, TideOptions

READINGS = torch.tensor([[3, 1, 4, 1, 5]])
SHAPE = {"optlevel": 1, "static": True, "batch_size": 2, "sequence_length": 8}


class Watcher:
    """An extension that notes every call of the core's four hooks, each with as many parameters as it wants."""

    def __init__(self):
        self.seen = []

    @hookimpl(wrapper=True)
    def compile(self, graph, bucket):
        compiled = yield
        self.seen.append(("compile", graph.name, bucket.label, compiled.entry))
        return compiled

    @hookimpl(wrapper=True)
    def load(self):
        session = yield
        self.seen.append(("load", type(session).__name__))
        return session

    @hookimpl(wrapper=True)
    def forward(self, inputs, graph):
        outputs = yield
        self.seen.append(
            ("forward", graph, sorted(inputs), {name: tuple(tensor.shape) for name, tensor in outputs.items()})
        )
        return outputs

    @hookimpl(wrapper=True)
    def remove_padding(self, outputs, dims, indices, padding_side):
        cut = yield
        self.seen.append(("remove_padding", list(outputs), dims, indices, padding_side))
        return cut


def test_extension_sees_all_four(own_cache, tide_checkpoint, tide_eager, tmp_path):
    """In the order of the journey, with inputs and results, and the results are untouched."""
    watcher = Watcher()
    with registry_of(EXTENSIONS).temporary(watcher, "watcher"):
        neuronkit.compile(tide_checkpoint, tmp_path / "out", task=TASK, **SHAPE)
        shell = neuronkit.load(tmp_path / "out")
        found = shell(readings=READINGS)
    assert watcher.seen == [
        ("compile", "tide", "batch2_sequence8", "program.pt2"),
        ("load", "Session"),
        ("remove_padding", ["levels"], [0, 1], [1, 5], "right"),
        ("remove_padding", ["scores"], [0], [1], "right"),
        ("forward", "tide", ["readings"], {"levels": (1, 5, 3), "scores": (1, 3)}),
    ]
    torch.testing.assert_close(found.levels, tide_eager(READINGS)["levels"], atol=1e-4, rtol=0)
    shell(readings=READINGS)
    assert len(watcher.seen) == 8, "a session keeps the hooks that loaded it"


class Returning(Tide):
    """Tides whose hooks return what a test says."""

    @hookimpl
    def options(self):
        return self.changes.get("options", TideOptions)

    @hookimpl
    def default_shapes(self):
        return self.changes.get("default_shapes")

    @hookimpl
    def export_config(self, source):
        config = super().export_config(source)
        return self.changes["export_config"](config) if "export_config" in self.changes else config

    @hookimpl
    def preprocess(self, inputs, processors):
        return self.changes.get("preprocess")


@pytest.mark.parametrize(
    ("hook", "returned", "shown", "wanted"),
    [
        ("options", dict, "dict", "an attrs class"),
        (
            "default_shapes",
            {"sequence_length": 16},
            "{sequence_length: 16}",
            "a list of sizes for every shape, as in {'sequence_length': [128]}",
        ),
        (
            "default_shapes",
            {"sequence_length": [16.0]},
            "{sequence_length: [16.0]}",
            "a list of sizes for every shape, as in {'sequence_length': [128]}",
        ),
        ("export_config", lambda config: config.graphs[0], "<Graph tide>", "an ExportConfig"),
        ("export_config", lambda _: None, "None", "an ExportConfig"),
    ],
)
def test_what_hooks_return_is_checked(own_cache, tide_checkpoint, tmp_path, hook, returned, shown, wanted):
    """The plugin, the hook, and what to return instead."""
    with (
        neuronkit.get_registry().temporary(Returning(**{hook: returned}), KEY),
        pytest.raises(PluginContractError) as raised,
    ):
        neuronkit.compile(tide_checkpoint, tmp_path / "out", task=TASK, **SHAPE)
    assert str(raised.value) == f"{hook} of {__name__}:Returning returned {shown}.\nTry: return {wanted}."


def test_preprocess_returns_a_pair(tide_artifact):
    """Tensors alone are not enough."""
    with neuronkit.get_registry().temporary(Returning(preprocess={"readings": READINGS}), KEY):
        pipe = neuronkit.pipeline(tide_artifact)
        with pytest.raises(PluginContractError) as raised:
            pipe(readings=["1 2"])
    assert str(raised.value) == (
        f"preprocess of {__name__}:Returning returned {{readings: int64[1, 5]}}.\n"
        "Try: return the tensors by name and the context for postprocess: (tensors, context)."
    )


class Careless(Tide):
    """Tides that end otherwise than they should."""

    @hookimpl
    def shell(self, session):
        return self.changes["shell"](session) if "shell" in self.changes else None

    @hookimpl
    def postprocess(self, outputs):
        """Forget to return anything."""


def test_postprocess_returns_something(tide_artifact):
    with neuronkit.get_registry().temporary(Careless(), KEY):
        pipe = neuronkit.pipeline(tide_artifact)
        with pytest.raises(PluginContractError) as raised:
            pipe(readings=["1 2"])
    assert str(raised.value) == (
        f"postprocess of {__name__}:Careless returned None.\nTry: return what the caller asked for."
    )


def test_a_shell_has_its_session(tide_artifact):
    with (
        neuronkit.get_registry().temporary(Careless(shell=lambda session: session.manifest), KEY),
        pytest.raises(PluginContractError) as raised,
    ):
        neuronkit.load(tide_artifact)
    assert str(raised.value) == (
        f"shell of {__name__}:Careless returned <Manifest>.\n"
        "Try: return an object around the session, such as a NeuronBaseModel(session)."
    )


def test_default_shapes_are_those_of_the_graphs(own_cache, tide_checkpoint, tmp_path):
    """A name that was mistyped would be passed over, and the core's own size taken."""
    with (
        neuronkit.get_registry().temporary(Returning(default_shapes={"sequnce_length": [16]}), KEY),
        pytest.raises(ExportConfigError) as raised,
    ):
        neuronkit.compile(tide_checkpoint, tmp_path / "out", task=TASK, optlevel=1)
    assert str(raised.value) == (
        "default_shapes gives sizes that no graph has: sequnce_length.\nTry: some of batch_size, sequence_length."
    )


@attrs.frozen
class Levels:
    """A class of outputs that has no place for all of them."""

    levels: torch.Tensor


def test_an_output_class_has_a_field_for_each_output(own_cache, tide_checkpoint, tmp_path, monkeypatch):
    plugin = Returning(export_config=lambda config: attrs.evolve(config, output_class=Levels))
    with neuronkit.get_registry().temporary(plugin, KEY):
        neuronkit.compile(tide_checkpoint, tmp_path / "out", task=TASK, **SHAPE)
        shell = neuronkit.load(tmp_path / "out")
        with pytest.raises(PluginContractError) as raised:
            shell(readings=READINGS)
        assert str(raised.value) == (
            f"the output class {__name__}:Levels cannot be made of the outputs levels, scores: Levels.__init__() got an "
            "unexpected keyword argument 'scores'.\nTry: an output_class of the ExportConfig that has a field for each output."
        )
        monkeypatch.delattr(f"{__name__}.Levels")
        with pytest.raises(ArtifactIncompatibleError) as raised:
            neuronkit.load(tmp_path / "out")
    assert str(raised.value).startswith(
        f"{tmp_path / 'out'} gives its outputs as {__name__}:Levels, which is not there: module '{__name__}' has no attribute "
        "'Levels'.\nTry: neuronkit compile --model"
    )


@pytest.mark.parametrize(("made", "shown"), [(None, "NoneType"), (print, "builtin_function_or_method")])
def test_wrap_returns_a_module(own_cache, tide_checkpoint, tmp_path, made, shown):
    plugin = Returning(export_config=lambda config: wrapped_by(lambda _: made, config))
    with neuronkit.get_registry().temporary(plugin, KEY), pytest.raises(ExportConfigError) as raised:
        neuronkit.compile(tide_checkpoint, tmp_path / "out", task=TASK, **SHAPE)
    assert str(raised.value) == (
        f"wrap of graph 'tide' must return an nn.Module (got a {shown}).\n"
        "Try: a class of nn.Module whose forward does it."
    )


@pytest.mark.parametrize(("load", "shown"), [(torch.nn.Identity(), "Identity"), (lambda: 3, "int")])
def test_load_is_a_function_that_returns_a_module(own_cache, tide_checkpoint, tmp_path, load, shown):
    plugin = Returning(export_config=lambda config: attrs.evolve(config, load=load))
    with neuronkit.get_registry().temporary(plugin, KEY), pytest.raises(ExportConfigError) as raised:
        neuronkit.compile(tide_checkpoint, tmp_path / "out", task=TASK, **SHAPE)
    assert str(raised.value) == (
        f"load of an ExportConfig must be a function that returns an nn.Module (got a {shown}).\nTry: load=lambda: model"
    )


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize(
    ("made", "kind"), [(torch.jit.script, "RecursiveScriptModule"), (torch.compile, "OptimizedModule")]
)
def test_a_module_that_is_compiled_already(own_cache, tide_checkpoint, tmp_path, made, kind):
    plugin = Returning(export_config=lambda config: attrs.evolve(config, load=lambda: made(torch.nn.Linear(2, 2))))
    with neuronkit.get_registry().temporary(plugin, KEY), pytest.raises(ExportConfigError) as raised:
        neuronkit.compile(tide_checkpoint, tmp_path / "out", task=TASK, **SHAPE)
    assert str(raised.value) == (
        f"load of an ExportConfig returned a {kind}, which is compiled already, so that its steps cannot be seen.\n"
        "Try: the module that it was made of."
    )


@pytest.mark.parametrize("name", ["target", "rounding", "output"])
def test_an_axis_is_not_named_like_an_option(own_cache, tide_checkpoint, tmp_path, name):
    """The core's, the plugin's, and the arguments; an axis whose size follows from others is never given."""

    def renamed(config, **sizes):
        (graph,) = config.graphs
        inputs = [attrs.evolve(one, axes=["batch", name]) for one in graph.inputs]
        outputs = [attrs.evolve(graph.outputs[0], axes=["batch", name, 3]), graph.outputs[1]]
        return attrs.evolve(config, graphs=[attrs.evolve(graph, inputs=inputs, outputs=outputs, sizes=sizes)])

    with (
        neuronkit.get_registry().temporary(Returning(export_config=renamed), KEY),
        pytest.raises(ExportConfigError) as raised,
    ):
        neuronkit.compile(tide_checkpoint, tmp_path / "out", task=TASK, optlevel=1)
    assert str(raised.value) == (
        f"The sizes of these axes could not be given, because they are named like options: {name}.\n"
        "Try: other names for the axes."
    )
    plugin = Returning(export_config=lambda config: renamed(config, **{name: 8}))
    with neuronkit.get_registry().temporary(plugin, KEY):
        neuronkit.compile(tide_checkpoint, tmp_path / "out", task=TASK, optlevel=1)


def test_extension_may_change_results(tide_artifact):
    """A wrapper returns what it likes."""

    class Negate:
        @hookimpl(wrapper=True)
        def forward(self):
            outputs = yield
            return {name: -tensor for name, tensor in outputs.items()}

    plain = neuronkit.load(tide_artifact)(readings=READINGS).scores
    with registry_of(EXTENSIONS).temporary(Negate(), "negate"):
        assert torch.equal(neuronkit.load(tide_artifact)(readings=READINGS).scores, -plain)
    assert torch.equal(neuronkit.load(tide_artifact)(readings=READINGS).scores, plain)


def test_extension_must_wrap_the_core_hooks_only():
    """It is never a driver."""

    class Driver:
        @hookimpl
        def forward(self):
            return {}

        @hookimpl(wrapper=True)
        def postprocess(self):
            return (yield)

    with pytest.raises(PluginContractError) as raised, registry_of(EXTENSIONS).temporary(Driver(), "driver"):
        pass
    assert "must be a wrapper; write @hookimpl(wrapper=True)" in str(raised.value)
    assert f"'postprocess' is not for plugins of this kind, which may implement {', '.join(CORE_HOOKS)}" in str(
        raised.value
    )


class Own(Tide):
    """Replaces the core's four, with fewer parameters than they have."""

    def __init__(self):
        super().__init__()
        self.seen = []

    @hookimpl
    def compile(self, graph, bucket, module, options, directory):
        from neuronkit.defaults import compile as compile_by_default
        from neuronkit.plugins import resolve_backend

        self.seen.append("compile")
        return compile_by_default(graph, bucket, module, resolve_backend("cpu"), options, directory)

    @hookimpl
    def load(self, artifact, backend):
        from neuronkit.session import open_session

        self.seen.append("load")
        return open_session(artifact, backend)

    @hookimpl
    def forward(self, session, inputs):
        self.seen.append("forward")
        (graph,) = session.graphs
        return session.run(graph, inputs)

    @hookimpl
    def remove_padding(self, outputs):
        self.seen.append("remove_padding")
        return dict(outputs)


def test_a_plugin_that_loads_gets_a_verified_artifact(tide_copy):
    """One that was edited never reaches its hook."""
    plugin = Own()
    file = tide_copy / "config.json"
    file.write_text(file.read_text().replace(":", ": "))
    with (
        neuronkit.get_registry().temporary(plugin, KEY),
        pytest.raises(ArtifactCorruptError, match=r"^config.json of the artifact .* has .* bytes instead of"),
    ):
        neuronkit.load(tide_copy)
    assert plugin.seen == []


def test_a_plugin_may_compile_in_a_directory_of_its_own(own_cache, tide_checkpoint, tide_eager, tmp_path):
    """It stays the plugin's, with what is in it."""
    kept = tmp_path / "kept"
    kept.mkdir()

    class Keeping(Tide):
        @hookimpl
        def compile(self, graph, bucket, module, backend, options):
            return backend.compile(graph, bucket, module, options, kept)

    with neuronkit.get_registry().temporary(Keeping(), KEY):
        made = neuronkit.compile(tide_checkpoint, tmp_path / "out", task=TASK, **SHAPE)
        found = neuronkit.load(tmp_path / "out")(readings=READINGS)
    (file,) = made.manifest.graphs[0].buckets[0].files
    assert (made.path / file.file).read_bytes() == (kept / "program.pt2").read_bytes()
    torch.testing.assert_close(found.levels, tide_eager(READINGS)["levels"], atol=1e-4, rtol=0)


def test_plugin_may_replace_the_core_hooks(own_cache, tide_checkpoint, tmp_path):
    """The core's own do not run: without theirs the padding stays."""
    plugin = Own()
    with neuronkit.get_registry().temporary(plugin, KEY):
        neuronkit.compile(tide_checkpoint, tmp_path / "out", task=TASK, **SHAPE)
        found = neuronkit.load(tmp_path / "out")(readings=READINGS)
    assert plugin.seen == ["compile", "load", "forward", "remove_padding", "remove_padding"]
    assert found.levels.shape == (2, 8, 3)


def test_plugin_that_returns_none_leaves_it_to_the_core(tide_artifact):
    """As every hook is firstresult."""

    class Shy(Tide):
        @hookimpl
        def forward(self):
            return None

    with neuronkit.get_registry().temporary(Shy(), KEY):
        assert neuronkit.load(tide_artifact)(readings=READINGS).levels.shape == (1, 5, 3)


def test_managers_are_thrown_away(registered):
    """One plugin's hooks are never seen by another's."""
    first, second = make_manager(Tide()), make_manager(Own())
    assert first is not second
    assert len(first.hook.forward.get_hookimpls()) == 1
    assert len(second.hook.forward.get_hookimpls()) == 2
    assert make_manager(None).hook.export_config(source=None, shapes={}, options=None) is None


def test_trace(tide_artifact, monkeypatch, capsys):
    """With ``NEURONKIT_TRACE`` every hook call is on stderr: who is asked, with what, what came of it, how long it took."""

    class Meter:
        @hookimpl(wrapper=True)
        def forward(self):
            return (yield)

    monkeypatch.setenv("NEURONKIT_TRACE", "1")
    with registry_of(EXTENSIONS).temporary(Meter(), "meter"):
        pipe = neuronkit.pipeline(tide_artifact)
        capsys.readouterr()
        pipe(readings=["3 1 4"])
    said = capsys.readouterr()
    assert said.out == ""
    lines = [re.sub(r"[\d.]+ ms$", "N ms", line) for line in said.err.splitlines()]
    assert lines == [
        "[neuronkit] preprocess(inputs={readings: ['3 1 4']}, processors=<Processors>, options=<TideOptions>) "
        "by tests.core.tide:Tide > core",
        "[neuronkit] preprocess -> [{readings: int64[1, 3], counted: int64[1, 3]}, ['low', 'mid', 'high']] in N ms",
        "[neuronkit] call(shell=<NeuronBaseModel>, tensors={readings: int64[1, 3], counted: int64[1, 3]}, "
        "options=<TideOptions>) by core",
        "[neuronkit]   forward(session=<Session>, graph='tide', inputs={readings: int64[1, 3], counted: int64[1, 3]}, "
        "row=0) by tests.core.test_hooks:test_trace.<locals>.Meter (wrapper) > core",
        "[neuronkit]     remove_padding(outputs={levels: float32[1, 3, 3]}, dims=[0, 1], indices=[1, 3], "
        "padding_side='right') by core",
        "[neuronkit]     remove_padding -> {levels: float32[1, 3, 3]} in N ms",
        "[neuronkit]     remove_padding(outputs={scores: float32[1, 3]}, dims=[0], indices=[1], padding_side='right') "
        "by core",
        "[neuronkit]     remove_padding -> {scores: float32[1, 3]} in N ms",
        "[neuronkit]   forward -> {levels: float32[1, 3, 3], scores: float32[1, 3]} in N ms",
        "[neuronkit] call -> {levels: float32[1, 3, 3], scores: float32[1, 3]} in N ms",
        "[neuronkit] postprocess(outputs={levels: float32[1, 3, 3], scores: float32[1, 3]}, "
        "context=['low', 'mid', 'high'], options=<TideOptions>) by tests.core.tide:Tide",
        "[neuronkit] postprocess -> [[tuple of 2]] in N ms",
    ]


def test_trace_of_an_error(tide_artifact, monkeypatch, capsys):
    """The line of the call that failed names the error, and those around it follow."""
    monkeypatch.setenv("NEURONKIT_TRACE", "1")
    shell = neuronkit.load(tide_artifact)
    capsys.readouterr()
    with pytest.raises(neuronkit.NeuronkitError):
        shell(readings=READINGS, words=READINGS)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("[neuronkit] forward raised InputError in ")


def test_no_trace(tide_artifact, monkeypatch, capsys):
    """Not by default, and not with ``0``."""
    for value in ("0", ""):
        monkeypatch.setenv("NEURONKIT_TRACE", value)
        neuronkit.load(tide_artifact)(readings=READINGS)
        assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("word " * 20, "'word word word word word word word word '..."),
        (list(range(9)), "[0, 1, 2, 3, 4, 5, 3 more]"),
        ({"a": {"b": [1]}}, "{a: {b: list of 1}}"),
        ((None, 2.5, True), "[None, 2.5, True]"),
        (Tide, "Tide"),
        (torch.zeros(2, 0, dtype=torch.bfloat16), "bfloat16[2, 0]"),
    ],
)
def test_traced_values_are_short(value, expected):
    """A few words each, whatever their size."""
    assert abbreviate(value) == expected


def test_options_of_a_call(tide_artifact):
    """The plugin's options reach postprocess; a wrong one and an unknown input are refused by name."""
    pipe = neuronkit.pipeline(tide_artifact)
    assert sorted(pipe.option_names) == ["rounding", "top"]
    ((first, second),) = pipe(readings=["1 2"], top=2, rounding="1")
    assert first[1] == round(first[1], 1)
    with pytest.raises(neuronkit.NeuronkitError, match=r"^top: must be at least 1 \(got 0\)\.$"):
        pipe(readings=["1 2"], top=0)
    assert second[1] <= first[1]


def test_compile_option_is_the_default_of_calls(tide_checkpoint, tmp_path):
    """What was given at compile time holds until a call says otherwise."""
    neuronkit.compile(tide_checkpoint, tmp_path / "out", task=TASK, rounding=2, **SHAPE)
    pipe = neuronkit.pipeline(tmp_path / "out")
    (((_, score),),) = pipe(readings=["1 2 3"])
    (((_, precise),),) = pipe(readings=["1 2 3"], rounding=6)
    assert score == round(precise, 2) != precise


def test_an_option_that_a_plugin_no_longer_has(own_cache, tide_checkpoint, tmp_path, capsys):
    """It was the default of every call, which is another one now."""
    with neuronkit.get_registry().temporary(Returning(), KEY):
        neuronkit.compile(tide_checkpoint, tmp_path / "out", task=TASK, rounding=2, **SHAPE)
        neuronkit.load(tmp_path / "out")
        assert "note:" not in capsys.readouterr().err
    renamed = attrs.make_class("Renamed", {"digits": option(6, minimum=0)}, frozen=True)
    with neuronkit.get_registry().temporary(Returning(options=renamed), KEY):
        neuronkit.load(tmp_path / "out")
    assert capsys.readouterr().err == (
        f"note: {tmp_path / 'out'} was compiled with rounding=2, and the plugin of this process has no such option any more\n"
    )


def test_failed_compile_leaves_no_files(own_cache, tide_checkpoint, tmp_path, monkeypatch):
    """The directory that the backend was to fill is removed with it."""
    from neuronkit.backends.cpu.backend import CpuBackend
    from neuronkit.errors import CompileError

    def fail(self, graph, bucket, module, options, directory):
        (directory / "half").write_text("done")
        raise CompileError("no luck")

    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setattr(CpuBackend, "compile", fail)
    with pytest.raises(CompileError, match="no luck"):
        neuronkit.compile(tide_checkpoint, tmp_path / "out", task=TASK, **SHAPE)
    assert list(temporary.iterdir()) == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("hook", "wanted"), [("compile", "CompiledGraph"), ("load", "Session"), ("forward", "outputs")]
)
def test_an_extension_that_returns_nothing(own_cache, tide_checkpoint, tmp_path, hook, wanted):
    """What came back from the yield is what everybody else waits for."""

    class Forgetful:
        pass

    def wrapper(self):
        yield

    setattr(Forgetful, hook, hookimpl(wrapper=True)(wrapper))

    def use():
        neuronkit.compile(tide_checkpoint, tmp_path / "out", task=TASK, **SHAPE)
        neuronkit.load(tmp_path / "out")(readings=READINGS)

    said = rf"^{hook} of the extensions around it returned None\.\nTry: .*{wanted}"
    with registry_of(EXTENSIONS).temporary(Forgetful(), "forgetful"), pytest.raises(PluginContractError, match=said):
        use()


def wrapped_by(wrap, config):
    """Return an export config whose graph has another wrap."""
    return attrs.evolve(config, graphs=[attrs.evolve(config.graphs[0], wrap=wrap)])


def fail(*_):
    """Raise what no part of neuronkit expects."""
    raise KeyError("tides")


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"export_config": fail}, "export_config"),
        ({"export_config": lambda config: attrs.evolve(config, load=fail)}, "load"),
        ({"export_config": partial(wrapped_by, fail)}, "wrap"),
    ],
)
def test_an_error_in_a_plugin_names_it(own_cache, tide_checkpoint, tmp_path, capsys, changes, where):
    """The error stays what it is, and a note says whose it is; the command line prints it."""
    noted = f"It happened in {where} of {__name__}:Returning."
    with neuronkit.get_registry().temporary(Returning(**changes), KEY):
        with pytest.raises(KeyError, match="tides") as raised:
            neuronkit.compile(tide_checkpoint, tmp_path / "out", task=TASK, **SHAPE)
        assert raised.value.__notes__ == [noted]
        assert main(["compile", "--model", str(tide_checkpoint), "--task", TASK, "-O1", str(tmp_path / "out")]) == 1
    assert f"error: KeyError: 'tides'\n{noted}\n" in capsys.readouterr().err


def test_errors_of_neuronkit_have_no_note(own_cache, tide_checkpoint, tmp_path):
    """They say already what is wrong."""

    def refuse(_):
        raise InputError("no tides")

    with neuronkit.get_registry().temporary(Returning(export_config=refuse), KEY), pytest.raises(InputError) as raised:
        neuronkit.compile(tide_checkpoint, tmp_path / "out", task=TASK, **SHAPE)
    assert not hasattr(raised.value, "__notes__")


class Colour(Enum):
    """Of the water."""

    BLUE = "blue"
    GREEN = "green"


class Anything:
    """Which no text stands for."""


@attrs.frozen(kw_only=True)
class Coloured(TideOptions):
    """With a choice that is an Enum, and an object in calls alone."""

    colour: Colour = option(Colour.BLUE, help="Of the water.")
    weights: dict[str, float] | None = option(None, help="By level.")
    listener: Anything | None = option(None, stage="call")


def test_enums_and_mappings_are_options(own_cache, tide_checkpoint, tmp_path):
    """Given as a member, its value or its name, recorded by value, and read again by every call."""

    class Telling(Returning):
        @hookimpl
        def preprocess(self, inputs, options):
            return {"readings": READINGS}, None

        @hookimpl
        def postprocess(self, options):
            return options

    with neuronkit.get_registry().temporary(Telling(options=Coloured), KEY):
        neuronkit.compile(tide_checkpoint, tmp_path / "out", task=TASK, **SHAPE, colour="GREEN", weights={"low": 2.0})
        pipe = neuronkit.pipeline(tmp_path / "out")
        recorded = pipe.shell.session.manifest.plugin_options
        assert (recorded["colour"], recorded["weights"]) == ("green", {"low": 2.0})
        listener = Anything()
        found = pipe(readings=[], listener=listener)
        assert (found.colour, found.weights, found.listener) == (Colour.GREEN, {"low": 2.0}, listener)
        for given in ("blue", "BLUE", Colour.BLUE):
            assert pipe(readings=[], colour=given).colour is Colour.BLUE
        with pytest.raises(OptionError, match=r"^colour: must be one of blue, green \(got 'red'\)\.$"):
            pipe(readings=[], colour="red")
    assert json_schema(Coloured)["properties"]["colour"] == {
        "enum": ["blue", "green"],
        "description": "Of the water.",
        "default": "blue",
        "x-stage": None,
    }


def with_field(name, hint, **settings):
    """Return an options class of one field."""
    return attrs.make_class("Odd", {name: attrs.field(default=None, type=hint, **settings)})


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (
            with_field("target", str),
            "target is an option of the core; give it another name",
        ),
        (
            with_field("batch_size", int),
            "batch_size is a size, which a compile would no longer be given; give it another name, or stage='call'",
        ),
        (
            with_field("_secret", str),
            "_secret is no argument of the class that bears its name; make it a public field",
        ),
        (
            with_field("made", str, init=False),
            "made is no argument of the class that bears its name; make it a public field",
        ),
        (
            with_field("levels", set[str]),
            "levels is of type set, which cannot be typed or recorded; use bool, int, float, str, Path, Literal, an Enum, or "
            "lists, tuples, mappings and unions of these, or stage='call'",
        ),
        (
            with_field("thing", list[Anything]),
            "thing is of type Anything, which cannot be typed or recorded; use bool, int, float, str, Path, Literal, an Enum, "
            "or lists, tuples, mappings and unions of these, or stage='call'",
        ),
        (
            with_field("unknown", "Nowhere"),
            "a type of its fields is not there at run time: name 'Nowhere' is not defined",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_options_that_nobody_could_give(own_cache, tide_checkpoint, tmp_path, kind, said):
    """Found before anything is compiled: what is recorded is read again by every call."""
    with (
        neuronkit.get_registry().temporary(Returning(options=kind), KEY),
        pytest.raises(PluginContractError) as raised,
    ):
        neuronkit.compile(tide_checkpoint, tmp_path / "out", task=TASK, **SHAPE)
    assert str(raised.value) == f"options of {__name__}:Returning returned Odd: {said}."


@attrs.frozen
class Half:
    """A backend with a part of what it needs."""

    name: str = "half"

    def check_options(self, options):
        """Take anything."""


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        (
            Half,
            rf"^the backend 'odd' \(.*\) is {__name__}:Half, without .*\.\nTry: name an object with every member of "
            r"neuronkit\.backends\.base\.Backend: backend = Half\(\)\.$",
        ),
        (
            Half(),
            rf"^the backend 'odd' \(.*\) is {__name__}:Half, without .*fingerprint.*, capabilities\.\nTry: name an object with "
            r"every member of neuronkit\.backends\.base\.Backend\.$",
        ),
        (42, r"^the backend 'odd' \(.*\) is builtins:int, without .*check_options, compile"),
    ],
    ids=["class", "part", "number"],
)
def test_a_backend_has_a_contract(tide_checkpoint, tmp_path, backend, said):
    """It is checked before a model is loaded."""
    with registry_of(BACKENDS).temporary(backend, "odd"), pytest.raises(PluginContractError, match=said):
        neuronkit.compile(tide_checkpoint, tmp_path / "out", task=TASK, backend="odd", **SHAPE)
