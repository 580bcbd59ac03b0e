"""What a plugin declares: the graphs of a model, their inputs, outputs and axes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar

import attrs

from neuronkit.conversion import as_sizes
from neuronkit.errors import ExportConfigError
from neuronkit.export.axes import base_axis, least_size
from neuronkit.shape_names import BATCH

DTYPES = ("bool", "int32", "int64", "float16", "bfloat16", "float32")
"""The dtypes that an input may declare."""

_USUALLY_DYNAMIC = ("batch", "sequence")
"""The axes that stay dynamic unless a plugin says otherwise, in graphs that have them."""
Axis = str | int
"""A named axis, or the fixed size of an unnamed one."""


T = TypeVar("T")


def _listed(value: Iterable[T], kind: type | tuple[type, ...], example: str) -> tuple[T, ...]:
    items = None if isinstance(value, (str, Mapping)) or not isinstance(value, Iterable) else tuple(value)
    if items is None or not all(isinstance(item, kind) for item in items):
        raise ExportConfigError(f"Expected a list like {example} (got {value!r}).")
    return items


def _axes(value: Sequence[Axis]) -> tuple[Axis, ...]:
    return _listed(value, object, '["batch", "sequence"]')


def _names(value: Sequence[str]) -> tuple[str, ...]:
    return _listed(value, str, '["batch", "sequence"]')


def _identifier(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not value.isidentifier():
        raise ExportConfigError(f"{attribute.name} of {type(instance).__name__} must be an identifier (got {value!r}).")


def _known_dtype(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if value not in DTYPES:
        name = type(instance).__name__
        raise ExportConfigError(f"{attribute.name} of {name} must be one of {', '.join(DTYPES)} (got {value!r}).")


def _at_least_one(instance: object, attribute: attrs.Attribute[int], value: int) -> None:
    if type(value) is not int or value < 1:
        raise ExportConfigError(f"{attribute.name} must be a whole number of at least 1 (got {value!r}).")


def _axis_sizes(instance: object, attribute: attrs.Attribute[tuple[Axis, ...]], value: tuple[Axis, ...]) -> None:
    for axis in value:
        if isinstance(axis, bool) or not isinstance(axis, (str, int)) or (isinstance(axis, int) and axis < 1):
            raise ExportConfigError(f"An axis must be a name or a size of at least 1 (got {axis!r} in {value!r}).")
    names = [axis for axis in value if isinstance(axis, str)]
    if len(names) != len(set(names)):
        raise ExportConfigError(f"A tensor cannot have the same axis twice (got {value!r}).")


def _known_axes(instance: object, attribute: attrs.Attribute[tuple[Axis, ...]], value: tuple[Axis, ...]) -> None:
    _axis_sizes(instance, attribute, value)
    for axis in value:
        if isinstance(axis, str):
            base_axis(axis)


@attrs.frozen
class Input:
    """
    A named input of a graph.

    Args:
        name: Keyword under which the module takes the tensor.
        axes: One entry per dimension: an axis name (``"batch"``, ``"sequence"``) or a fixed size; also what follows from the
            name of another input's axis, as for `Output` (``"height/2"``). The axis that it follows from is never dynamic.
        dtype: One of `DTYPES`. Integers and bools of other widths are converted, floats to integers never.
        pad_value: What fills the positions that are added along every axis but ``batch``.
        default: What a caller's missing tensor is filled with; None makes the input required. An integer input whose
            default is 1 is a mask, and is seeded as one when the compiled graph is validated.
        state: The graph changes the tensor in place and keeps it between calls (a KV cache). The session makes it, filled with
            zeros, and feeds it: a caller never gives it, and it is neither padded nor cut. Its axes are ``batch`` or fixed.
            Graphs of one session that declare a state of the same name share it; on Neuron that is refused. A floating state is
            kept in the precision that the graph is compiled for.
        high: Exclusive upper bound of the integers that validation may put in; None takes `table_size`, or the checkpoint's own
            (``vocab_size`` for ``input_ids``, ``type_vocab_size`` for ``token_type_ids``), or else 2.
        table_size: Size of the table that the integers are looked up in, as token ids are among embeddings. A call with a number
            that is negative, or `table_size` or more, is refused; without it such a number may end the process, for machine
            code cannot raise.
    """

    name: str = attrs.field(validator=_identifier)
    axes: tuple[Axis, ...] = attrs.field(converter=_axes, validator=_known_axes)
    dtype: str = attrs.field(default="int64", validator=_known_dtype)
    pad_value: int | float | bool = 0
    default: int | float | bool | None = None
    state: bool = False
    high: int | None = None
    table_size: int | None = attrs.field(default=None, validator=attrs.validators.optional(_at_least_one))

    def __attrs_post_init__(self) -> None:
        if self.table_size is not None and self.dtype not in ("int32", "int64"):
            raise ExportConfigError(f"table_size of {self.name!r} is for integers, and its dtype is {self.dtype!r}.")
        if self.state and any(axis != BATCH for axis in self.axes if isinstance(axis, str)):
            raise ExportConfigError(
                f"The axes of the state {self.name!r} must be 'batch' or sizes (got {self.axes!r})."
            )

    @property
    def is_mask(self) -> bool:
        """True when the tensor says which positions count."""
        return self.default == 1 and self.dtype in ("bool", "int32", "int64")


@attrs.frozen
class Output:
    """
    A named output of a graph.

    Args:
        name: Key in the module's output, and in ours.
        axes: One entry per dimension, a name or a size; also what follows from an input's axis by ``+``, ``-``, ``*`` and ``/``
            with whole numbers, where ``/`` rounds down: ``"height*8"``, ``"sequence/2"``, ``"(samples-400)/320+1"`` for a
            convolution of 400 in steps of 320, ``"((samples-10)/5+1-3)/2+1"`` for one after another. A call that is shorter
            than what is subtracted is refused.
    """

    name: str = attrs.field(validator=_identifier)
    axes: tuple[Axis, ...] = attrs.field(converter=_axes, validator=_known_axes)


@attrs.frozen
class CompilerHints:
    """
    What a plugin knows about compiling its graph; the caller's options win over it.

    Args:
        inline_weights: Freeze the weights into the graph. Apart, one copy serves every bucket, and a sibling checkpoint needs
            no compile.
        dynamic_axes: The axes that may stay dynamic on a backend that can do it.
        keep_fp32: Ignore auto-cast: the graph overflows in lower precision.
        channels_last: Store the weights of convolutions with their channels last, where weights are apart and the backend
            gains by it.
        max_batch: Bound of a dynamic batch, unless a larger one is asked for; more rows are split over several calls.
        pieces: Sizes of axes where the state is on the device and one bucket serves all calls: longer inputs go through it in
            pieces of that size. Without one, the smallest bucket does.
        memory_bound: Sizes of axes at which a call spends its time reading weights (one token a row). Where all rows together
            are few, a backend that gains by it compiles a graph for such calls beside a dynamic one, and stores weights that
            products take in a lower precision in that precision.
    """

    inline_weights: bool = False
    dynamic_axes: tuple[str, ...] = attrs.field(default=_USUALLY_DYNAMIC, converter=_names)
    keep_fp32: bool = False
    channels_last: bool = False
    max_batch: int = attrs.field(default=64, validator=_at_least_one)
    pieces: Mapping[str, int] = attrs.field(factory=dict)
    memory_bound: Mapping[str, int] = attrs.field(factory=dict)


def _hints(instance: object, attribute: attrs.Attribute[CompilerHints], value: CompilerHints) -> None:
    if not isinstance(value, CompilerHints):
        raise ExportConfigError(f"hints of a Graph must be a CompilerHints (got {value!r}).\nTry: CompilerHints(...)")


@attrs.frozen
class Tolerance:
    """
    The largest absolute difference from the eager model that still counts as equal, by the precision of the graph.

    In lower precision it is multiplied by the largest value of the output, where that is more than 1.

    Args:
        fp32: Without auto-cast.
        bf16: With any auto-cast to bfloat16.
        fp16: With any auto-cast to float16.
        relative: Multiply without auto-cast too, as weights stored in fewer bits call for.
    """

    fp32: float = 1e-4
    bf16: float = 5e-2
    fp16: float = 1e-2
    relative: bool = False


def _tolerance(value: Tolerance | float | None) -> Tolerance:
    if value is None:
        return Tolerance()
    if isinstance(value, Tolerance):
        return value
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ExportConfigError(
            f"tolerance of an ExportConfig must be a Tolerance or a number (got {value!r}).\nTry: Tolerance(fp32=1e-3, bf16=5e-2)"
        )
    return Tolerance(fp32=float(value))


def _by_name(value: Mapping[str, Any]) -> dict[str, list[int]]:
    """Return sizes by name, each as a list."""
    try:
        return {name: as_sizes(sizes) for name, sizes in value.items()}
    except (AttributeError, ValueError) as error:
        raise ExportConfigError(
            f"Sizes by name are wanted, each a whole number of at least 1 or a list of them (got {value!r})."
        ) from error


def _sizes(value: Sequence[Mapping[str, int]]) -> tuple[Mapping[str, int], ...]:
    return tuple(value)


@attrs.frozen
class Probe:
    """
    How a graph is checked whose inputs depend on each other, or whose traced module is not the model itself.

    Args:
        inputs: From the sizes of the axes and a generator to the values of some inputs, in place of seeded ones.
        expected: From the loaded model, untouched by `Graph.wrap`, and the graph's inputs to its outputs by name.
        sizes: Sizes of dynamic axes to check beside the usual ones; they are clamped to the bounds.
    """

    inputs: Callable[[Mapping[str, int], Any], Mapping[str, Any]]
    expected: Callable[[Any, Mapping[str, Any]], Mapping[str, Any]]
    sizes: tuple[Mapping[str, int], ...] = attrs.field(default=(), converter=_sizes)


def _inputs(value: Sequence[Input]) -> tuple[Input, ...]:
    return _listed(value, Input, "[Input(...)]")


def _outputs(value: Sequence[Output]) -> tuple[Output, ...]:
    return _listed(value, Output, "[Output(...)]")


@attrs.frozen
class Graph:
    """
    One traced function with named tensor inputs and outputs.

    Args:
        name: Unique within the model; the stem of the files in the artifact.
        inputs: In the order in which the compiled graph takes them.
        outputs: In the order in which it returns them.
        kind: Component kind (``"encoder"``, ``"decoder"``, ``"text_encoder"``, ``"unet"``, ``"transformer"``, ``"vae"``), which
            decides compiler flags.
        wrap: From the loaded module to the one that is traced, where the model's own forward is not a function of the inputs
            above to the outputs above. The traced module is called with the inputs as keywords and returns a mapping, a
            `ModelOutput` or a named tuple with the outputs' names, or a tuple in their order.
        sizes: Sizes of axes that follow from the shapes but do not equal them (``{"height": height // 8}``): an int or a list.
        hints: What the plugin knows about compiling this graph.
        probe: How to check it, where seeded inputs would be invalid or the wrapped module proves too little.
    """

    name: str = attrs.field(validator=_identifier)
    inputs: tuple[Input, ...] = attrs.field(converter=_inputs)
    outputs: tuple[Output, ...] = attrs.field(converter=_outputs)
    kind: str | None = None
    wrap: Callable[[Any], Any] | None = None
    sizes: Mapping[str, int | list[int]] = attrs.field(factory=dict, converter=_by_name)
    hints: CompilerHints = attrs.field(factory=CompilerHints, validator=_hints)
    probe: Probe | None = None

    def __attrs_post_init__(self) -> None:
        for what, items in (("input", self.inputs), ("output", self.outputs)):
            names = [item.name for item in items]
            if not names:
                raise ExportConfigError(f"Graph {self.name!r} has no {what}s.")
            if len(names) != len(set(names)):
                raise ExportConfigError(f"Graph {self.name!r} has two {what}s of the same name (got {names}).")
        named = {axis for output in self.outputs for axis in output.axes if isinstance(axis, str)}
        for what, axes in (("outputs", named), ("inputs", self._mentioned)):
            if unknown := sorted(axis for axis in axes if base_axis(axis) not in self.axes):
                raise ExportConfigError(
                    f"Graph {self.name!r} has {what} with axes that no input has: {', '.join(unknown)}."
                )
        for what, given in (
            ("sizes", self.sizes),
            ("dynamic_axes", {*self.hints.dynamic_axes}.difference(_USUALLY_DYNAMIC)),
        ):
            if unknown := sorted(set(given) - set(self.axes)):
                raise ExportConfigError(
                    f"Graph {self.name!r} has {what} for axes that no input has: {', '.join(unknown)}.\n"
                    f"Try: some of {', '.join(self.axes)}."
                )
        if BATCH in self.fixed_axes:
            raise ExportConfigError(
                f"Graph {self.name!r} has an input with an axis that follows from {BATCH!r}, along which calls are split.\n"
                f"Try: {BATCH!r} itself, and another axis for the rest."
            )

    @property
    def state(self) -> tuple[Input, ...]:
        """The inputs that the session keeps."""
        return tuple(input for input in self.inputs if input.state)

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of all axes, in the order in which the inputs mention them."""
        return tuple(axis for axis in self._mentioned if axis.isidentifier())

    def least_sizes(self, result: int = 1) -> dict[str, int]:
        """Return the smallest size of every axis with which no axis that follows from it has less than `result`."""
        tensors = [*(input.axes for input in self.inputs), *(output.axes for output in self.outputs)]
        following = {axis for axes in tensors for axis in axes if isinstance(axis, str)}
        return {
            name: max([1, *(least_size(axis, result) for axis in following if base_axis(axis) == name)])
            for name in self.axes
        }

    @property
    def fixed_axes(self) -> frozenset[str]:
        """Names of the axes that an input's axis follows from: a backend cannot leave them dynamic."""
        return frozenset(base_axis(axis) for axis in self._mentioned if not axis.isidentifier())

    @property
    def _mentioned(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(axis for input in self.inputs for axis in input.axes if isinstance(axis, str)))

    def wrapped(self, model: Any) -> Any:
        """
        Return the module that is traced: what `wrap` makes of the loaded model, or the model itself, in eval mode.

        Raises:
            ExportConfigError: `wrap` made something else of it than a module.
        """
        from torch import nn

        made = self.wrap(model) if self.wrap else model
        if not isinstance(made, nn.Module):
            raise ExportConfigError(
                f"wrap of graph {self.name!r} must return an nn.Module (got a {type(made).__name__}).\n"
                "Try: a class of nn.Module whose forward does it."
            )
        return made.eval()


def _graphs(value: Sequence[Graph]) -> tuple[Graph, ...]:
    return _listed(value, Graph, "[Graph(...)]")


@attrs.frozen
class ExportConfig:
    """
    All that the core must know to compile a model.

    Args:
        load: Returns the model as an ``nn.Module`` with its weights; the core calls it once, puts it in eval mode, and converts
            half precision to float32, unless an input is declared in half precision: less than that is ``auto_cast``'s to say.
        graphs: One or several.
        required_axes: Axes whose size the caller must give; a default is not enough.
        output_class: Class of the shell's outputs, called with the outputs as keywords (a `ModelOutput`), at the top of a
            module; None gives the core's own, with access by attribute and by key.
        tolerance: How far compiled may be from eager.
        shapes: Sizes, by shape name, of what the caller did not give: an int or a list.
        write_files: Writes into the artifact's directory what lies beside the graphs (configurations, tokenizers, parts that
            are not compiled); None copies the checkpoint's small files.
    """

    load: Callable[[], Any]
    graphs: tuple[Graph, ...] = attrs.field(converter=_graphs)
    required_axes: tuple[str, ...] = attrs.field(default=(), converter=_names)
    output_class: type | None = None
    tolerance: Tolerance = attrs.field(default=None, converter=_tolerance)
    shapes: Mapping[str, Sequence[int]] = attrs.field(factory=dict, converter=_by_name)
    write_files: Callable[[Path], None] | None = None

    def __attrs_post_init__(self) -> None:
        names = [graph.name for graph in self.graphs]
        if not names or len(names) != len(set(names)):
            raise ExportConfigError(f"An export config needs graphs with names of their own (got {names}).")
        known = {axis for graph in self.graphs for axis in graph.axes}
        unknown = sorted(set(self.required_axes) - known)
        if unknown:
            raise ExportConfigError(f"Required axes that no graph has: {', '.join(unknown)}.")
        if self.output_class is not None:
            _require_loadable(self.output_class)


def _require_loadable(output_class: type) -> None:
    found: Any = sys.modules.get(output_class.__module__)
    for part in output_class.__qualname__.split("."):
        found = getattr(found, part, None)
    if found is not output_class:
        name = f"{output_class.__module__}:{output_class.__qualname__}"
        raise ExportConfigError(
            f"The output class {name} is not what its module has under that name, so that no artifact could be loaded.\n"
            "Try: define it at the top of a module."
        )
