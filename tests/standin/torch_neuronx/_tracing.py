"""``trace``: from a module and example tensors to a TorchScript module that runs only where there is a device."""

from __future__ import annotations

import io
import json
import shlex
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch_neuronx import _compiler, _runtime, _settings

_OPTIONS = {
    "input_output_aliases": None,
    "compiler_workdir": None,
    "compiler_args": None,
    "partitioner_config": None,
    "inline_weights_to_neff": True,
    "cpu_backend": False,
}


def trace(func: Any, example_inputs: Any, *extra: Any, **options: Any) -> torch.jit.ScriptModule:
    """
    Compile a module or function for the shapes and dtypes of its example inputs.

    See the documented signature: only `func` and `example_inputs` are positional.
    """
    if extra:
        if len(extra) > 5:
            raise RuntimeError("trace() takes two positional arguments (simulated)")
        warnings.warn("Pass everything but func and example_inputs as keywords.", stacklevel=2)
        options = {**dict(zip(_OPTIONS, extra, strict=False)), **options}
    for name in sorted(set(options) - set(_OPTIONS)):
        warnings.warn(f"trace() ignores the unknown argument {name!r}.", UserWarning, stacklevel=2)
    chosen = {name: options.get(name, default) for name, default in _OPTIONS.items()}
    arguments = chosen["compiler_args"] or []
    words = shlex.split(arguments) if isinstance(arguments, str) else list(arguments)
    if chosen["cpu_backend"] and "--target" not in words:
        # Documented as two words; AWS's public libraries look for the first as it stands.
        raise RuntimeError(
            "If you want to compile on CPU, please supply compiler argument target, with one of options trn1, inf2, "
            'trn1n, or trn2. Ex: "--target trn1" (simulated)'
        )
    flags = _compiler.parse(words)
    target = flags.get("--target")
    if not chosen["cpu_backend"] and _settings.device() is None:
        raise RuntimeError(
            "Bad StatusOr access: INVALID_ARGUMENT: PJRT_Client_Create: error condition !(num_devices > 0) (simulated): "
            "without cpu_backend=True tracing needs a Neuron device"
        )
    examples = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    module = func if isinstance(func, nn.Module) else _Function(func)
    tensors = [leaf for example in examples for leaf in _input_leaves(example)]
    with torch.no_grad():
        result = module(*examples)
    flat = _Flat(module, examples)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inner = torch.jit.trace(flat, tuple(tensors), strict=False, check_trace=False)
    _warn_of_unused(inner, tensors)
    config = chosen["partitioner_config"]
    if config is not None:
        config.check(inner.inlined_graph)
    with tempfile.TemporaryDirectory(prefix="neuron-standin-") as temporary:
        workdir = Path(chosen["compiler_workdir"] or temporary)
        _compiler.compile(inner.inlined_graph, flags, workdir, partitioned=config is not None)
    aliases = _aliases(chosen["input_output_aliases"] or {}, flat, _leaves(result))
    inline = bool(chosen["inline_weights_to_neff"])
    names = [] if inline else [name for name, _ in _memory(flat) if name not in aliases]
    record = {
        "simulated": True,
        "version": _settings.__version__,
        "target": target,
        "lnc": int(flags.get("--lnc", 2 if target == "trn2" else 1)),
        "flags": flags,
        "inputs": [[list(tensor.shape), str(tensor.dtype)] for tensor in tensors],
        "inline": inline,
        "weights": names,
        "aliases": aliases,
        "bytes": sum(tensor.numel() * tensor.element_size() for _, tensor in _memory(flat)),
    }
    shell = _shell(record, inner, flat, examples, result)
    if not chosen["cpu_backend"] and _settings.device() is not None:
        _runtime.MODELS[shell.model.handle].place(-1, -1)
    return shell


class _Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self._function = function

    def forward(self, *inputs: Any) -> Any:
        """Call it."""
        return self._function(*inputs)


class _Flat(nn.Module):
    """Takes and returns tensors without structure."""

    def __init__(self, module: nn.Module, examples: tuple[Any, ...]) -> None:
        super().__init__()
        self.module = module
        self._examples = examples
        self.training = module.training

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Put the tensors where the examples had theirs, call, flatten."""
        remaining = list(tensors)
        return tuple(_leaves(self.module(*_rebuild(self._examples, remaining))))


def _memory(flat: _Flat) -> list[tuple[str, Tensor]]:
    return [
        *flat.named_parameters(),
        *((name, tensor) for name, tensor in flat.named_buffers() if name in flat.state_dict()),
    ]


def _leaves(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        if not all(isinstance(item, Tensor) for item in value.values()):
            raise RuntimeError("A dict may hold tensors only (simulated)")
        return list(value.values())
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in _leaves(item)]
    raise RuntimeError(f"Only tensors, tuples and lists of tensors can be traced (got {type(value).__name__}).")


def _input_leaves(value: Any) -> list[Tensor]:
    if isinstance(value, Mapping):
        raise RuntimeError("Only tensors, tuples and lists of tensors can be traced (got a dict).")
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in _input_leaves(item)]
    return _leaves(value)


def _rebuild(example: Any, remaining: list[Tensor]) -> Any:
    if isinstance(example, Tensor):
        return remaining.pop(0)
    return type(example)([_rebuild(item, remaining) for item in example])


def _warn_of_unused(inner: Any, tensors: Sequence[Tensor]) -> None:
    values = list(inner.inlined_graph.inputs())[1:]
    for index, (value, tensor) in enumerate(zip(values, tensors, strict=True)):
        if not value.uses():
            warnings.warn(
                "Received an input tensor that was unused or used in a non-static way when traced so the tensor will "
                f"be ignored. (index={index}, shape={tensor.shape}, dtype={tensor.dtype})",
                UserWarning,
                stacklevel=3,
            )


def _aliases(given: Mapping[Tensor, int], flat: _Flat, outputs: list[Tensor]) -> dict[str, int]:
    parameters = {id(tensor): name for name, tensor in flat.named_parameters()}
    found = {}
    for tensor, index in given.items():
        if id(tensor) not in parameters:
            raise RuntimeError("A key of input_output_aliases must be a parameter of the module (simulated)")
        if not 0 <= index < len(outputs) or outputs[index].shape != tensor.shape:
            raise RuntimeError(f"Output {index} does not fit the parameter that it is aliased to (simulated)")
        found[parameters[id(tensor)]] = index
    return found


def _shell(
    record: dict[str, Any], inner: Any, flat: _Flat, examples: tuple[Any, ...], result: Any
) -> torch.jit.ScriptModule:
    file = io.BytesIO()
    torch.jit.save(inner, file)
    blob = torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)
    handle = _runtime.register(json.loads(json.dumps(record)), blob)
    model = torch.jit.script(
        _runtime.Model(json.dumps(record), torch.tensor(_runtime.DEFAULT_FLAGS, dtype=torch.int64), blob, handle)
    )
    outer = nn.Module()
    outer.model = model
    memory = dict(_memory(flat))
    outer.weights, outer.states = nn.Module(), nn.Module()
    for group, names in ((outer.weights, record["weights"]), (outer.states, record["aliases"])):
        for name in names:
            parameter = nn.Parameter(memory[name].detach().clone(), requires_grad=False)
            group.register_parameter(_mangled(name), parameter)
    shell = torch.jit._recursive.create_script_module(outer, lambda _: [], share_types=False)
    shell.define(_source(record, examples, result))
    return shell


def _mangled(name: str) -> str:
    return name.removeprefix("module.").replace(".", "__")


def _source(record: dict[str, Any], examples: tuple[Any, ...], result: Any) -> str:
    parameters, leaves = [], []
    for index, example in enumerate(examples):
        parameters.append(f"tensor_{index}: {_annotation(example)}")
        leaves += _accesses(f"tensor_{index}", example)
    weights = [f"self.weights.{_mangled(name)}" for name in record["weights"]]
    kept = iter(range(len(_leaves(result))))
    aliased = set(record["aliases"].values())
    numbers = iter([None if index in aliased else next(kept) for index in range(len(_leaves(result)))])
    return (
        f"def forward(self, {', '.join(parameters)}):\n"
        f"    inputs: List[Tensor] = [{', '.join(leaves)}]\n"
        f"    weights: List[Tensor] = [{', '.join(weights)}]\n"
        "    outputs = self.model.forward(inputs, weights)\n"
        f"    return {_construction(result, numbers)}\n"
    )


def _annotation(example: Any) -> str:
    if isinstance(example, Tensor):
        return "Tensor"
    if isinstance(example, list):
        return f"List[{_annotation(example[0])}]"
    return f"Tuple[{', '.join(map(_annotation, example))}]"


def _accesses(path: str, example: Any) -> list[str]:
    if isinstance(example, Tensor):
        return [path]
    return [leaf for index, item in enumerate(example) for leaf in _accesses(f"{path}[{index}]", item)]


def _construction(result: Any, numbers: Any) -> str | None:
    if isinstance(result, Tensor):
        number = next(numbers)
        return None if number is None else f"outputs[{number}]"
    if isinstance(result, Mapping):
        pairs = [(name, _construction(value, numbers)) for name, value in result.items()]
        return "{" + ", ".join(f"{name!r}: {item}" for name, item in pairs if item is not None) + "}"
    items = [item for item in (_construction(value, numbers) for value in result) if item is not None]
    if isinstance(result, list):
        return f"[{', '.join(items)}]"
    return f"({', '.join(items)},)"
