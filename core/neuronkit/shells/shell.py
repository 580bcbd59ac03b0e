"""
A shell: a real transformers or diffusers class without weights, whose forward runs a compiled graph.

Pipelines ask a component for its class, configuration, dtype and device, and call it; a shell answers all of that. What
would change a graph that is fixed is refused, with the compile option that does it; what only saves memory is accepted and
noted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

import torch
from torch import nn

from neuronkit.errors import FixedGraphError, InputError
from neuronkit.models.moves import Moves

if TYPE_CHECKING:
    from neuronkit.session import Session

KEPT_FILE = "kept.safetensors"
"""The weights of the small modules that stay eager inside a shell, in the component's folder."""

IGNORED = (
    "disable_attention_slicing",
    "disable_forward_chunking",
    "disable_slicing",
    "disable_tiling",
    "disable_xformers_memory_efficient_attention",
    "enable_attention_slicing",
    "enable_forward_chunking",
    "enable_group_offload",
    "enable_slicing",
    "enable_tiling",
    "enable_xformers_memory_efficient_attention",
    "reset_attention_backend",
    "set_attention_backend",
    "set_attention_slice",
    "set_attn_implementation",
    "set_default_attn_processor",
    "set_use_memory_efficient_attention_xformers",
)
"""Methods that trade memory for speed: a compiled graph has settled that."""
_LORAS = "lora_model_ids, or inline_weights=False, with which the pipeline swaps LoRAs"
REFUSED = {
    "add_adapter": _LORAS,
    "delete_adapter": _LORAS,
    "delete_adapters": _LORAS,
    "disable_adapters": _LORAS,
    "disable_freeu": "freeu",
    "disable_lora": _LORAS,
    "enable_adapters": _LORAS,
    "enable_freeu": "freeu",
    "enable_gradient_checkpointing": None,
    "enable_layerwise_casting": "auto_cast",
    "enable_lora": _LORAS,
    "fuse_lora": "lora_model_ids and lora_scales",
    "fuse_qkv_projections": "fuse_qkv_projections",
    "gradient_checkpointing_enable": None,
    "load_adapter": _LORAS,
    "load_attn_procs": _LORAS,
    "load_lora_adapter": _LORAS,
    "load_state_dict": None,
    "resize_token_embeddings": "textual_inversion",
    "set_adapter": _LORAS,
    "set_adapters": _LORAS,
    "set_attn_processor": None,
    "set_input_embeddings": "textual_inversion",
    "unfuse_lora": "lora_model_ids and lora_scales",
    "unfuse_qkv_projections": "fuse_qkv_projections",
    "unload_lora": _LORAS,
}
"""Methods that change the graph or its weights, and the compile option that does the same."""
ASKED = {
    "active_adapter": "get_active_adapters()",
    "active_adapters": "get_active_adapters()",
    "get_adapter_state_dict": "get_list_adapters()",
}
"""Questions about LoRAs, and what answers them on the pipeline, which has them."""


class Shell(Moves):
    """What every shell has; it stands before the real class in the order of inheritance."""

    session: Any  # a Session; transformers evaluates the annotations of its subclasses
    component: str
    real_class: Any
    _folder: Path

    @classmethod
    def kept(cls, module: nn.Module) -> list[str]:
        """Return the paths of a component's small submodules that stay eager inside its shell, with their weights."""
        return []

    def complete(self) -> None:
        """Add what the configuration does not say; called once, when everything else is in place."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Be copied and pickled as what it was made from: its class exists in this process only."""
        shell, base = type(self).__bases__
        return make_shell, (shell, base, self._folder, self.session, self.component)

    @property
    def device(self) -> torch.device:
        """Where tensors are taken from and put, whatever runs the graph."""
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of inputs and outputs; the graph casts inside."""
        return torch.float32

    def run(self, graph: str, tensors: Mapping[str, torch.Tensor | None]) -> dict[str, torch.Tensor]:
        """
        Run a graph; what is None counts as missing.

        Args:
            graph: Its name.
            tensors: By input name, of any float dtype and strides; a graph takes float32, contiguous.

        """
        given = {
            name: (tensor.float() if tensor.is_floating_point() else tensor).contiguous()
            for name, tensor in tensors.items()
            if tensor is not None
        }
        return self.session.forward(graph, given)

    def input_names(self, graph: str) -> frozenset[str]:
        """Return the names of a graph's inputs."""
        return frozenset(input.name for input in self.session.graphs[graph].graph.inputs)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """
        Accept the device and dtype that the component has.

        Raises:
            InputError: Another device or dtype was asked for.

        """
        device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
        if device is not None and device.type != "cpu":
            raise InputError(
                f"{self.component} is compiled: it takes and gives CPU tensors, and cannot be moved to {device}."
            )
        if dtype not in (None, self.dtype):
            raise InputError(
                f"{self.component} is compiled and keeps its dtype ({self.dtype}).\n"
                "Try: compile with auto_cast and auto_cast_type."
            )
        return self

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode."""
        if mode:
            self._refuse("train")
        return self

    def save_pretrained(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: a component alone is no artifact."""
        raise FixedGraphError(
            f"{self.component} is one component of a compiled pipeline, and is not saved alone.\n"
            "Try: pipeline.save_pretrained(directory), which writes the whole artifact."
        )

    def _refuse(self, method: str) -> NoReturn:
        option = REFUSED.get(method)
        hint = f"\nTry: compile with {option}." if option else ""
        raise FixedGraphError(f"{self.component} is compiled, and {method} would change it.{hint}")

    def _note(self, method: str) -> None:
        noted: set[str] = self.__dict__.setdefault("_noted", set())
        if method not in noted:
            noted.add(method)
            print(f"note: {method} changes nothing: {self.component} is compiled", file=sys.stderr)  # noqa: T201


def make_shell(shell: type[Shell], base: type[nn.Module], folder: Path, session: Session, component: str) -> Any:
    """
    Return a shell around the graphs of one component.

    Args:
        shell: What the component's forward does.
        base: The real class. The shell's own class is named after it, so that pipelines and saved configurations see it.
        folder: Holds the component's ``config.json`` and the weights of its `Shell.kept`.
        session: The loaded artifact.
        component: Its name in the pipeline.

    """
    kind: Any = type(base.__name__, (shell, base), {"__module__": base.__module__, **_fixed_methods(base)})
    with torch.device("meta"):
        module: Any = (
            kind.from_config(kind.load_config(folder))
            if hasattr(kind, "load_config")
            else _from_transformers(kind, folder)
        )
    module.__dict__.update(session=session, component=component, real_class=base, _folder=folder, training=False)
    module.requires_grad_(False)
    if kept := shell.kept(module):
        _materialise(module, folder, kept)
    module.complete()
    for path, child in module.named_modules():
        if path and any(parameter.is_meta for parameter in child.parameters(recurse=False)):
            child.register_forward_pre_hook(_refusing_alone(component, path))
    return module


def _refusing_alone(component: str, path: str) -> Callable[..., NoReturn]:
    """Return a hook for a part of a component that has no weights here: run by itself it would give whatever memory holds."""

    def hook(*_: Any) -> NoReturn:
        raise FixedGraphError(
            f"{component}.{path} is a part of a compiled component, and does not run by itself.\nTry: {component}(...)."
        )

    return hook


def _from_transformers(kind: Any, folder: Path) -> nn.Module:
    return kind(kind.config_class.from_pretrained(folder))


def _fixed_methods(base: type) -> dict[str, Any]:
    def ignoring(name: str) -> Any:
        def method(self: Any, *_: Any, **__: Any) -> None:
            self._note(name)

        return method

    def refusing(name: str) -> Any:
        def method(self: Any, *_: Any, **__: Any) -> None:
            self._refuse(name)

        return method

    def referring(name: str) -> Any:
        def method(self: Any, *_: Any, **__: Any) -> None:
            raise FixedGraphError(
                f"{self.component} is compiled and has no LoRAs of its own, so that {name} has no answer.\n"
                f"Try: pipeline.{ASKED[name]}."
            )

        return method

    kinds = ((IGNORED, ignoring), (REFUSED, refusing), (ASKED, referring))
    return {name: make(name) for names, make in kinds for name in names if hasattr(base, name)}


def _materialise(module: nn.Module, folder: Path, kept: list[str]) -> None:
    from safetensors.torch import load_file

    tensors = load_file(folder / KEPT_FILE)
    for path in kept:
        own = {name.removeprefix(f"{path}."): tensor for name, tensor in tensors.items() if name.startswith(f"{path}.")}
        module.get_submodule(path).load_state_dict(own, assign=True)
