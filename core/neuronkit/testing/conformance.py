"""
The promises of a model plugin, each a pytest item.

    from neuronkit.testing import PluginConformance

    class TestFillMask(PluginConformance):
        key = "acme.fill-mask"
        shapes = {"batch_size": 2, "sequence_length": 16}

        def checkpoint(self, path):
            ...  # save a tiny model with random weights into `path`
            return path

        def raw(self):
            return {"text": "the cat [MASK] on the mat"}
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

import neuronkit
from neuronkit.testing.forms import DOCUMENTED, mismatch
from neuronkit.testing.fresh import fresh_process
from neuronkit.testing.installed import InstalledConformance, keys_of
from neuronkit.testing.promises import BrokenPromiseError, promise, promises_of, require
from neuronkit_registry.names import split_qualified

if TYPE_CHECKING:
    import torch

    from neuronkit.testing.case import Case

_CACHE = pytest.StashKey[Path]()


class PluginConformance(InstalledConformance):
    """
    What every model plugin promises. Subclass it in a test file, give a `key` and a tiny `checkpoint`, and run pytest.

    The checkpoint is compiled once for a class, by default with ``optlevel=1`` (no compiler) and ``static=True`` (fixed sizes, so
    that padding happens), on the ``cpu`` backend, without the gate that `neuronkit.compile` has, for
    `test_forward_equals_eager` does the same and more. Nothing is skipped: a promise that cannot be kept is named in
    `expected_failures` with the reason, and is reported when it holds after all. With pytest-xdist use ``--dist loadscope``, so
    that one process has all of a class.

    Attributes:
        key: ``"<architecture>.<task>"``, possibly with ``@package``. Of several, the first is compiled; the promises that need no
            checkpoint are checked for each.
        shapes: What the checkpoint is compiled for: ``{"batch_size": 2, "sequence_length": 16}``.
        options: Other options of `neuronkit.compile`, ``backend`` included.
        result: The form of what the pipeline gives for `raw`, as a value of that form: ``[{"label": str, "score": float}]``. A
            tuple allows several. None takes the documented form of the task; a task of one's own has to say.
        expected_failures: Reasons by the name of a promise (a method's name without ``test_``).
        import_seconds: CPU time that importing the plugin may take, beside torch's.
    """

    shapes: ClassVar[Mapping[str, Any]] = {}
    options: ClassVar[Mapping[str, Any]] = {}
    result: ClassVar[Any] = None

    def checkpoint(self, path: Path) -> Path:
        """
        Save a tiny checkpoint with random weights, and return its directory. Called once for a class.

        Args:
            path: A directory to write, which does not exist yet.
        """
        raise NotImplementedError(f"{type(self).__name__} needs checkpoint(path), which saves a tiny model.")

    def raw(self) -> Mapping[str, Any]:
        """Return keywords for `neuronkit.pipeline`: one input as a user gives it, and options of the call."""
        raise NotImplementedError(
            f"{type(self).__name__} needs raw(), which returns the keywords of one pipeline call."
        )

    def bad_raw(self) -> Sequence[Mapping[str, Any]]:
        """Return keywords that the pipeline must refuse, beside an unknown name and nothing at all."""
        return ()

    def inputs(self) -> Mapping[str, Mapping[str, torch.Tensor]]:
        """
        Return tensors by graph and input name, for graphs to which random tensors mean nothing.

        States are tensors too; those that are left out are zeros. All other graphs are called with seeded tensors, or with
        those of their `neuronkit.export.Probe`.
        """
        return {}

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
        """The plugin, its checkpoint and its artifact; each is made when the first promise looks at it."""
        from neuronkit.testing.case import Case

        config = request.config
        if _CACHE not in config.stash:
            config.stash[_CACHE] = tmp_path_factory.mktemp("conformance-cache")
        folder = tmp_path_factory.mktemp(cls.__name__)
        return Case(cls(), keys_of(cls)[0], folder, config.stash[_CACHE], fresh_process(config))

    @promise
    def test_export_config_is_deterministic(self, case: Case) -> None:
        """Two calls of `export_config`, and one in a process with another hash seed, declare the same."""
        from neuronkit.testing.exporting import describe

        first, second = (describe(case.export.make_config()) for _ in range(2))
        require(first == second, _changed("Two calls of export_config", first, second))
        other = case.fresh.ask("export", **case.request)["config"]
        require(first == other, _changed("export_config here and in another process", first, other))

    @promise
    def test_cache_key_is_deterministic(self, case: Case) -> None:
        """A second compile finds every graph in the cache, and so does another process with another hash seed."""
        from neuronkit.testing.exporting import graphs_in

        require(case.artifact.is_dir(), "There is no artifact.")
        before = graphs_in(case.cache)
        case.compile(case.folder / "again", validate=False)
        new = sorted(label for name, label in graphs_in(case.cache).items() if name not in before)
        require(
            not new,
            f"A second compile of the same checkpoint compiled anew: {', '.join(new)}.\n"
            "Does something random, a path or the time reach the graph? Or was the plugin's source edited meanwhile?",
        )
        output = str(case.folder / "elsewhere")
        request = {**case.request, "backend": case.backend, "output": output, "cache": str(case.cache)}
        new = case.fresh.ask("rebuild", **request)["new"]
        require(not new, f"Another process compiled anew: {', '.join(new)}. Does a set's order reach the graph?")

    @promise
    def test_dummy_inputs_match_the_declaration(self, case: Case) -> None:
        """Every declared input is made with its axes and dtype, and the eager module gives every declared output so."""
        for one in case.references:
            for declared in (*one.graph.inputs, *one.graph.outputs):
                tensors = one.inputs if declared in one.graph.inputs else one.outputs
                problem = _misfit(declared, tensors, one.sizes)
                require(problem is None, f"Graph {one.graph.name!r} at {dict(one.sizes)}: {problem}")
            unknown = sorted(set(one.inputs) - {input.name for input in one.graph.inputs})
            require(not unknown, f"Graph {one.graph.name!r} declares no inputs {', '.join(unknown)}.")

    @promise
    def test_compiles(self, case: Case) -> None:
        """`neuronkit.compile` writes an artifact that names the key, the package and every graph, all digests right."""
        from neuronkit.artifact.reader import open_artifact, verify

        artifact = open_artifact(case.artifact)
        verify(artifact, weights=True)
        manifest = artifact.manifest
        key, package = split_qualified(case.key)
        require(manifest.key == key, f"The manifest says {manifest.key!r}.")
        require(package in (None, manifest.plugin.package), f"The manifest says {manifest.plugin.package!r}.")
        graphs = [graph.name for graph in manifest.graphs]
        declared = [graph.name for graph in case.config.graphs]
        require(graphs == declared, f"The manifest has the graphs {graphs}, and export_config declares {declared}.")

    @promise
    def test_reload_is_bit_equal(self, case: Case) -> None:
        """Loaded in a process that saw no compile, the artifact gives the same bits."""
        import torch

        calls, outputs = case.folder / "calls.pt", case.folder / "outputs.pt"
        torch.save(case.calls, calls)
        request = {"artifact": str(case.artifact), "calls": str(calls), "outputs": str(outputs)}
        process = case.fresh.ask("run", **request, threads=torch.get_num_threads())["process"]
        require(process != os.getpid(), "The fresh process is this one.")
        _require_equal(case, case.results, torch.load(outputs, weights_only=True), "loaded in a fresh process")

    @promise
    def test_forward_equals_eager(self, case: Case) -> None:
        """Every graph gives what its eager module gives, padded or not, within the tolerance that is declared."""
        from neuronkit.testing.calls import differences

        atol, relative = case.tolerance
        for one, got in zip(case.references, case.results, strict=True):
            where = f"Graph {one.graph.name!r} at {dict(one.sizes)}"
            require(list(got) == list(one.outputs), f"{where} gives {list(got)}, and declares {list(one.outputs)}.")
            for name, wanted in one.outputs.items():
                shapes = tuple(got[name].shape), tuple(wanted.shape)
                require(shapes[0] == shapes[1], f"{where}: {name} has shape {shapes[0]}, eager gives {shapes[1]}.")
            for difference in differences(one.outputs, got, atol, relative=relative):
                require(
                    difference.found <= difference.allowed,
                    f"{where}: {difference.output} differs from eager by {difference.found:.3g}, and the tolerance is "
                    f"{difference.allowed:.3g}.",
                )

    @promise
    def test_remove_padding_undoes_pad(self, case: Case) -> None:
        """Whatever is padded to a bucket's sizes and cut back is what it was, on either side."""
        from neuronkit.testing.padding import find_mistakes as find_padding_mistakes

        mistakes = find_padding_mistakes(case.session)
        require(not mistakes, "\n".join(mistakes))

    @promise
    def test_result_has_the_documented_form(self, case: Case) -> None:
        """The pipeline turns one raw input into a result of the documented form."""
        task = case.session.manifest.task
        form = DOCUMENTED.get(task) if self.result is None else self.result
        require(
            form is not None,
            f"No form is documented for results of {task!r}.\n"
            f'Try: result = [{{"label": str, "score": float}}] in {type(self).__name__}, or whatever it gives.',
        )
        problem = mismatch(case.pipeline(**self.raw()), form)
        require(problem is None, f"{problem}.")

    @promise
    def test_bad_input_is_refused(self, case: Case) -> None:
        """Input that does not fit raises a `neuronkit.NeuronkitError`, from graphs, from the pipeline and from compile."""
        for what, graph, tensors in case.bad_calls():
            _require_refusal(lambda g=graph, t=tensors: case.session.forward(g, t), f"graph {graph!r} with {what}")
        raw = dict(self.raw())
        bad = [{}, {**raw, "no_such_input_or_option": 1}, *self.bad_raw()]
        for given in bad:
            _require_refusal(lambda given=given: case.pipeline(**given), f"the pipeline with {given!r}")
        output = case.folder / "refused"
        _require_refusal(lambda: case.compile(output, no_such_option="?"), "compile with no_such_option")
        require(not output.exists(), "A refused compile left a directory.")

    def test_every_promise_was_checked(self, request: pytest.FixtureRequest) -> None:
        """Nothing was left out: not by a skip, an override, or an expected failure that names no promise."""
        owner = type(self)
        promises = promises_of(PluginConformance)
        unknown = sorted(set(owner.expected_failures) - set(promises))
        require(not unknown, f"expected_failures names no promises: {', '.join(unknown)}. There are: {promises}.")
        empty = sorted(name for name, reason in owner.expected_failures.items() if not reason.strip())
        require(not empty, f"expected_failures needs reasons: {', '.join(empty)}.")
        replaced = [
            name
            for name in promises
            if getattr(owner, f"test_{name}") is not getattr(PluginConformance, f"test_{name}")
        ]
        require(not replaced, f"{owner.__name__} replaces promises: {', '.join(replaced)}.")
        own = [item for item in request.session.items if isinstance(item, pytest.Function) and item.cls is owner]
        marked = sorted(
            item.name for item in own for mark in ("skip", "skipif", "xfail") if item.get_closest_marker(mark)
        )
        require(not marked, f"Marked to be skipped or to fail: {', '.join(marked)}. Try: expected_failures.")
        collected = {item.originalname for item in own}
        chosen = [name for name in promises if f"test_{name}" in collected]
        chosen_by_hand = any(request.config.getoption(name, None) for name in ("keyword", "lf", "stepwise"))
        if not chosen_by_hand and not hasattr(request.config, "workerinput"):
            require(chosen == promises, f"Not collected: {', '.join(sorted(set(promises) - set(chosen)))}.")
            missing = sorted(set(chosen) - owner.checks_run)
            require(not missing, f"{len(missing)} of {len(chosen)} promises did not run: {', '.join(missing)}.")


def _changed(what: str, first: Any, second: Any) -> str:
    lines = [json.dumps(item, indent=1, sort_keys=True).splitlines() for item in (first, second)]
    pairs = [f"  {one.strip()}  /  {other.strip()}" for one, other in zip(*lines, strict=False) if one != other]
    return "\n".join([f"{what} declare different things:", *pairs[:8]])


def _misfit(declared: Any, tensors: Mapping[str, torch.Tensor], sizes: Mapping[str, int]) -> str | None:
    """Return how a tensor differs from an `Input` or `Output`, or None."""
    from neuronkit.export.axes import tensor_shape

    tensor = tensors.get(declared.name)
    if tensor is None:
        return f"there is no {declared.name!r}."
    wanted = tensor_shape(declared.axes, sizes)
    if tensor.shape != wanted:
        return f"{declared.name} has shape {tuple(tensor.shape)}, and its axes say {wanted}."
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype != getattr(declared, "dtype", dtype):
        return f"{declared.name} is {dtype}, and is declared {declared.dtype}."
    return None


def _require_equal(case: Case, first: Sequence[Any], second: Sequence[Any], how: str) -> None:
    for one, outputs, others in zip(case.references, first, second, strict=True):
        for name, tensor in outputs.items():
            where = f"Graph {one.graph.name!r} at {dict(one.sizes)}, {how}: {name}"
            require(tensor.equal(others[name]), f"{where} has other bits.")


def _require_refusal(call: Any, what: str) -> None:
    try:
        call()
    except neuronkit.NeuronkitError:
        return
    except Exception as error:
        raise BrokenPromiseError(f"{what} raised {type(error).__name__}, no neuronkit error: {error}") from error
    raise BrokenPromiseError(f"{what} was accepted.")
