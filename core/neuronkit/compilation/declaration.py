"""What there is to compile of a model: from a checkpoint and options to what its plugin declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import nn

from neuronkit.backends.base import Capabilities
from neuronkit.buckets import Bucket, make_buckets, memory_bound_bucket
from neuronkit.compilation.shapes import Shapes, default_shapes
from neuronkit.compilation.suggestion import resolve_for
from neuronkit.errors import ExportConfigError, NeuronkitError, OptionError, SourceError
from neuronkit.export.config import ExportConfig, Graph
from neuronkit.export.source import Source, resolve_source
from neuronkit.manager import ask, blaming, make_manager, options_class
from neuronkit.options import CompileOptions, Parsed, SourceOptions, names, split_options, unknown_shape_error
from neuronkit.paths import named_directory
from neuronkit.plugins import active_extensions
from neuronkit.shape_names import AXES_OF_SHAPES, SHAPE_NAMES, shape_of
from neuronkit.tasks import canonical_task, infer_task

_ARGUMENTS = ("model", "output", "task", "backend")
_COMMON = ("batch_size", "sequence_length")
"""Shapes that every model may be given, for what compiles many kinds of them; one without the axis does nothing with it."""


@attrs.frozen
class Request:
    """
    What a caller asked for, understood.

    Args:
        source: The checkpoint.
        key: The registry's key, possibly qualified by a package.
        loaded: The plugin and its record.
        hook: The hooks of the plugin, the core and the extensions.
        parsed: Shapes and options, told apart.
    """

    source: Source
    key: str
    loaded: Any
    hook: Any
    parsed: Parsed


def read_request(model: str | Path, task: str | None, given: Mapping[str, Any]) -> Request:
    """
    Find the checkpoint and its plugin, and sort what was given.

    Raises:
        SourceError: There is no such model, or it cannot be read.
        OptionError: Options are unknown or have values that they cannot have.
        neuronkit_registry.PluginError: No plugin can export it.
    """
    try:
        options = split_options(given, None).source
    except OptionError as error:
        raise _with_those_of_the_plugin(error, model, task, given) from None
    return _understand(model, options, task, given)


def _understand(model: str | Path, options: SourceOptions, task: str | None, given: Mapping[str, Any]) -> Request:
    source = resolve_source(model, options)
    key = resolve_key(source, task)
    loaded = resolve_for(source, key)
    hook = make_manager(loaded.plugin, active_extensions()).hook
    return Request(source, key, loaded, hook, split_options(given, options_class(hook)))


def _with_those_of_the_plugin(
    error: OptionError, model: str | Path, task: str | None, given: Mapping[str, Any]
) -> OptionError:
    """Return the error of all options; that of the core's own where the plugin cannot be found, or not without a download."""
    location = {name: given[name] for name in names(SourceOptions) if name in given}
    if named_directory(model, "The model", SourceError).exists():
        with suppress(NeuronkitError):
            options = split_options(location, None).source
            try:
                _understand(model, options, task, given)
            except OptionError as complete:
                return complete
    return error


def declare(request: Request) -> tuple[dict[str, list[int]], ExportConfig, nn.Module]:
    """
    Ask the plugin for its graphs, and load the model.

    Returns:
        The shapes, the export config, and the eager model.

    Raises:
        OptionError: A shape is one that no graph has, or one that is required has no value.
        ExportConfigError: What the plugin declares contradicts itself.
        neuronkit_registry.PluginContractError: A hook returned what it must not.
    """
    shapes, config = declare_graphs(request.source, request.hook, request.parsed)
    with blaming(request.hook, "export_config", "load"):
        return shapes, config, load_eager(config)


def declare_graphs(source: Source, hook: Any, parsed: Parsed) -> tuple[dict[str, list[int]], ExportConfig]:
    """
    Ask the plugin for its graphs; no model is loaded.

    Args:
        source: The checkpoint.
        hook: The hooks of the plugin.
        parsed: Shapes and options, told apart.

    Raises:
        OptionError: A shape is one that no graph has, or one that is required has no value.
        ExportConfigError: What the plugin declares contradicts itself.
        neuronkit_registry.PluginContractError: A hook returned what it must not.
    """
    defaults = ask(hook, "default_shapes", source=source) or {}
    shapes = default_shapes(source, {**defaults, **parsed.shapes})
    own = Shapes({name: list(sizes) for name, sizes in shapes.items()})  # a plugin may change what it is given
    config: ExportConfig = ask(hook, "export_config", source=source, shapes=own, options=parsed.plugin)
    known = _check_shapes(config, parsed)
    if unknown := sorted(set(defaults).difference(known, SHAPE_NAMES)):
        raise ExportConfigError(
            f"default_shapes gives sizes that no graph has: {', '.join(unknown)}.\nTry: some of {', '.join(known)}."
        )
    for name, sizes in config.shapes.items():
        shapes.setdefault(name, list(sizes))
    return shapes, config


def load_eager(config: ExportConfig) -> nn.Module:
    """
    Load the model of an export config, in float32, in eval mode and without gradients.

    Raises:
        ExportConfigError: `load` is no function that returns a module, or the module is without its weights.
    """
    model = config.load if isinstance(config.load, nn.Module) else config.load()
    if model is config.load or not isinstance(model, nn.Module):
        raise ExportConfigError(
            f"load of an ExportConfig must be a function that returns an nn.Module (got a {type(model).__name__}).\n"
            "Try: load=lambda: model"
        )
    # What torch.compile makes keeps the module there; to import its class takes longer than to bind a sibling's weights.
    if isinstance(model, torch.jit.ScriptModule) or isinstance(getattr(model, "_orig_mod", None), nn.Module):
        raise ExportConfigError(
            f"load of an ExportConfig returned a {type(model).__name__}, which is compiled already, so that its steps cannot be "
            "seen.\nTry: the module that it was made of."
        )
    _require_weights(model)
    given = {input.dtype for graph in config.graphs for input in graph.inputs if not input.state}
    if not given & {"bfloat16", "float16"}:
        _change_tensors(model, _in_fp32)
    _change_tensors(model, _spread)
    return model.eval().requires_grad_(False)


def _require_weights(model: nn.Module) -> None:
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if tensor.is_meta:
            raise ExportConfigError(
                f"load of an ExportConfig returned a module whose {name} is on the meta device: it has no values.\n"
                "Try: load the checkpoint's weights into it, or make it outside torch.device('meta')."
            )


def _in_fp32(tensor: torch.Tensor) -> torch.Tensor:
    """Return what a checkpoint stores in half precision as float32: to compute in less is auto_cast's to say."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def _spread(tensor: torch.Tensor) -> torch.Tensor:
    """Return an expanded tensor with a place for each of its values, as it has in a file of weights."""
    expanded = any(stride == 0 < size - 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True))
    return tensor.contiguous() if expanded else tensor


def _change_tensors(model: nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Put what a function makes of parameters and buffers in their places; tied ones stay tied."""
    changed: dict[torch.Tensor, torch.Tensor] = {}  # tensors are hashed by identity
    for module in model.modules():
        places: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for held in places:
            for name, tensor in list(held.items()):
                if tensor is None or (made := change(tensor)) is tensor:
                    continue
                if tensor not in changed:
                    own = made.detach()
                    changed[tensor] = nn.Parameter(own, False) if isinstance(tensor, nn.Parameter) else own
                setattr(module, name, changed[tensor])  # a recurrent layer has them in a list, too, and follows


def choose_buckets(
    graph: Graph, shapes: Mapping[str, list[int]], capabilities: Capabilities, *, static: bool, optlevel: int
) -> tuple[Bucket, ...]:
    """
    Return the buckets that a backend compiles a graph for.

    Args:
        graph: The graph.
        shapes: Sizes by shape name.
        capabilities: The backend's. Where state is on the device, one bucket of a graph with state serves all calls: the
            smallest, or the pieces of the graph's hints, which are never longer than the largest.
        static: No axis stays dynamic, whatever the backend can do.
        optlevel: At 1 nothing is gained by a bucket for memory-bound calls beside a dynamic one; nor where weights are inside,
            which would be there twice.
    """
    dynamic = capabilities.dynamic_axes and not static
    buckets = make_buckets(graph, shapes, dynamic)
    if graph.state and capabilities.state_on_device:
        smallest, largest = buckets[0], buckets[-1]
        pieces = {axis: min(size, largest.sizes[axis]) for axis, size in graph.hints.pieces.items()}
        return (Bucket({**smallest.sizes, **pieces}),)
    if not dynamic or optlevel == 1 or graph.hints.inline_weights:
        return buckets
    own = memory_bound_bucket(graph, buckets[0], capabilities.few_rows)
    return (own, *buckets) if own else buckets


def refuse_shared_states(graphs: Sequence[Graph], capabilities: Capabilities) -> None:
    """
    Refuse graphs that share a state where each keeps its own on the device.

    Raises:
        ExportConfigError: Two graphs declare a state of the same name, and the backend's graphs cannot share one.
    """
    if not capabilities.state_on_device:
        return
    owners: dict[str, str] = {}
    for graph in graphs:
        for state in graph.state:
            if (first := owners.setdefault(state.name, graph.name)) != graph.name:
                raise ExportConfigError(
                    f"Graphs {first!r} and {graph.name!r} share the state {state.name!r}, and on this backend every graph keeps "
                    "states of its own on the device, which no other can read.\n"
                    "Try: one graph that does the work of both, or an output of the first that is an input of the second."
                )


def resolve_key(source: Source, task: str | None) -> str:
    """Return the registry's key, possibly qualified by a package, for a checkpoint and a task, which may be a whole key."""
    name, _, package = (task or infer_task(source, or_only=True)).partition("@")
    key = name if "." in name else f"{source.architecture}.{canonical_task(name)}"
    return f"{key}@{package}" if package else key


def _check_shapes(config: ExportConfig, parsed: Parsed) -> list[str]:
    """Return the names of the shapes that the graphs have, once those that were given are found to be among them."""
    _require_free_names(config, parsed)
    axes = {axis for graph in config.graphs for axis in graph.axes}
    own = {shape for shape, axis in AXES_OF_SHAPES.items() if axis in axes} | set(config.shapes)
    known = sorted(own) + sorted(axes - set(AXES_OF_SHAPES.values()) - own)
    problems = [unknown_shape_error(name, known) for name in parsed.unknown_shapes if name not in known]
    for name in parsed.shapes:
        if name not in (*known, *parsed.unknown_shapes, *_COMMON):
            problems.append(f"{name}: the model has no such size. It has: {', '.join(known)}.")
    overridden = {axis for graph in config.graphs for axis in graph.sizes}
    for axis in config.required_axes:
        shape = shape_of(axis)
        if shape not in parsed.shapes and axis not in overridden:
            problems.append(f"{shape}: required, because the plugin needs the size of the axis {axis!r}.")
    if problems:
        raise OptionError("\n".join(problems))
    return known


def _require_free_names(config: ExportConfig, parsed: Parsed) -> None:
    axes = {axis for graph in config.graphs for axis in graph.axes if axis not in graph.sizes}
    own = {*AXES_OF_SHAPES, *AXES_OF_SHAPES.values()}  # always shapes, whatever a call's options are named
    shapes = {*config.shapes, *axes} - own
    taken = {*_ARGUMENTS, *names(CompileOptions), *names(SourceOptions), *names(type(parsed.plugin))}
    if clashes := sorted(shapes & taken):
        raise ExportConfigError(
            f"The sizes of these axes could not be given, because they are named like options: {', '.join(clashes)}.\n"
            "Try: other names for the axes."
        )
