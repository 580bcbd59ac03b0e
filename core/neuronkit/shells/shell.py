"""
A shell: a real transformers or diffusers class without weights, whose forward runs a compiled graph.

Pipelines ask a component for its class, configuration, dtype and device, and call it; a shell answers all of that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

import torch
from torch import nn

from neuronkit.errors import FixedGraphError
from neuronkit.models.fixed import FixedModule, refusing, unchanging

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


class Shell(FixedModule):
    """What every shell has; it stands before the real class in the order of inheritance."""

    session: Any  # a Session; transformers evaluates the annotations of its subclasses
    component: str
    real_class: Any
    _folder: Path

    @classmethod
    def kept(cls, module: nn.Module) -> list[str]:
        """Return the paths of a component's small submodules that stay eager inside its shell, with their weights."""
        return []

    @classmethod
    def build(cls, kind: Any, folder: Path, session: Session) -> Any:
        """
        Return the real class without weights.

        Args:
            kind: The class, with the shell before it.
            folder: Holds its ``config.json``.
            session: The loaded artifact.

        """
        if hasattr(kind, "load_config"):
            return kind.from_config(kind.load_config(folder))
        return kind(kind.config_class.from_pretrained(folder))

    def complete(self) -> None:
        """Add what the configuration does not say; called once, when everything else is in place."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Be copied and pickled as what it was made from: its class exists in this process only."""
        shell, base = type(self).__bases__
        return make_shell, (shell, base, self._folder, self.session, self.component)

    @property
    def _described(self) -> str:
        """What messages call it."""
        return self.component

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

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode."""
        if mode:
            self._refuse_change("train")
        return self

    def save_pretrained(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: a component alone is no artifact."""
        raise FixedGraphError(
            f"{self.component} is one component of a compiled pipeline, and is not saved alone.\n"
            "Try: pipeline.save_pretrained(directory), which writes the whole artifact."
        )


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
        module: Any = shell.build(kind, folder, session)
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


def _fixed_methods(base: type) -> dict[str, Any]:
    methods = {
        **{name: unchanging(name) for name in IGNORED},
        **{name: refusing(name, option) for name, option in REFUSED.items()},
        **{name: _referring(name, question) for name, question in ASKED.items()},
    }
    return {name: method for name, method in methods.items() if hasattr(base, name)}


def _referring(name: str, question: str) -> Callable[..., NoReturn]:
    def method(self: Any, *_: Any, **__: Any) -> NoReturn:
        raise FixedGraphError(
            f"{self.component} is compiled and has no LoRAs of its own, so that {name} has no answer.\n"
            f"Try: pipeline.{question}."
        )

    return method


def _materialise(module: nn.Module, folder: Path, kept: list[str]) -> None:
    from safetensors.torch import load_file

    tensors = load_file(folder / KEPT_FILE)
    for path in kept:
        own = {name.removeprefix(f"{path}."): tensor for name, tensor in tensors.items() if name.startswith(f"{path}.")}
        module.get_submodule(path).load_state_dict(own, assign=True)
