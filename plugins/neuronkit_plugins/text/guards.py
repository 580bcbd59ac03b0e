"""
Guards: modules around architectures whose forward mixes neighbours or looks at values; the model is left as it is.

A bucket adds positions behind those of the caller. Attention masks keep them apart, but a convolution, or an embedding
of three neighbours, looks past the mask: there the added positions are set to what the edge of a tensor is, zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import torch
from torch import nn

from neuronkit.export import Input, Probe

GIVEN = "given_positions"
"""Input of a graph in which neighbours mix: 1 for the positions that a caller gave, 0 for those that a bucket added."""
ABSENT = -1
"""A token type, and a mask, that stand for none at all."""


class GivenPositions(nn.Module):
    """
    A model that looks past the mask, kept from seeing what a bucket added.

    Args:
        model: Any head over the architecture.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._given: torch.Tensor | None = None
        self.attach()

    def attach(self) -> None:
        """Hook into what looks past the mask: here the summaries of a row that count from its end."""
        for summary in _summaries(self.model):
            summary.register_forward_pre_hook(self._summarize)

    def _summarize(self, module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Hand a summary the one position that it would come to without what a bucket added."""
        if self._given is None:
            return None
        states = arguments[0]
        if module.summary_type == "last":
            weights = nn.functional.pad(self._given, (0, 1))
            weights = (weights[:, :-1] - weights[:, 1:]).clamp(min=0)
        else:
            weights = self._given
        weights = weights.unsqueeze(-1).to(states.dtype)
        return ((states * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True), *arguments[1:])

    def forward(self, given_positions: torch.Tensor, **inputs: torch.Tensor) -> Any:
        """Run the model; the hooks are idle outside of this."""
        self._given = given_positions.flatten(0, -2)  # choices are rows inside the model
        try:
            return self.model(**inputs)
        finally:
            self._given = None


class ConvBert(GivenPositions):
    """ConvBERT: two convolutions in every layer."""

    def attach(self) -> None:
        """Zero what enters the separable convolution, and what the span convolution unfolds."""
        super().attach()
        from transformers.models.convbert.modeling_convbert import ConvBertSelfAttention

        for module in self.model.modules():
            if isinstance(module, ConvBertSelfAttention):
                module.key_conv_attn_layer.register_forward_pre_hook(self._zero_input)
                module.conv_out_layer.register_forward_hook(self._zero_output)

    def _zero_input(self, module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        if self._given is None:
            return None
        return (arguments[0] * self._given.unsqueeze(1).to(arguments[0].dtype),)

    def _zero_output(self, module: nn.Module, arguments: Any, output: torch.Tensor) -> torch.Tensor:
        return output if self._given is None else output * self._given.unsqueeze(2).to(output.dtype)


class Deberta(GivenPositions):
    """DeBERTa of both kinds: a masked position attends to all alike, and its states are returned, by heads read too."""

    def attach(self) -> None:
        """Spread the attention of masked positions over the caller's positions alone."""
        super().attach()
        from transformers.models.deberta import modeling_deberta
        from transformers.models.deberta_v2 import modeling_deberta_v2

        attentions = (modeling_deberta.DisentangledSelfAttention, modeling_deberta_v2.DisentangledSelfAttention)
        self._mask: torch.Tensor | None = None
        for module in self.model.modules():
            if isinstance(module, attentions):
                module.dropout.register_forward_hook(self._spread)

    def forward(self, given_positions: torch.Tensor, **inputs: torch.Tensor) -> Any:
        """Run the model."""
        self._mask = inputs["attention_mask"].flatten(0, -2)
        try:
            return super().forward(given_positions, **inputs)
        finally:
            self._mask = None

    def _spread(self, module: nn.Module, arguments: Any, probabilities: torch.Tensor) -> torch.Tensor:
        if self._given is None or self._mask is None:
            return probabilities
        given = self._given.to(probabilities.dtype)
        alike = (given / given.sum(-1, keepdim=True))[:, None, None, :]
        return torch.where(self._mask[:, None, :, None] == 0, alike, probabilities)


class MobileBert(GivenPositions):
    """
    MobileBERT: every embedding is put beside those of its neighbours.

    The model cuts the tensor for it, by which ``torch.export`` loses the length 2; a padded one is cut here instead.
    """

    def attach(self) -> None:
        """Take the neighbours' embeddings at the entrance of the layer that mixes them."""
        super().attach()
        from transformers.models.mobilebert.modeling_mobilebert import MobileBertEmbeddings

        # In a tuple: as an attribute it would be a second submodule of the same parameters.
        self._embeddings = tuple(module for module in self.model.modules() if isinstance(module, MobileBertEmbeddings))
        if self._embeddings[0].trigram_input:
            self._embeddings[0].embedding_transformation.register_forward_pre_hook(self._mix)

    def forward(self, given_positions: torch.Tensor, **inputs: torch.Tensor) -> Any:
        """Run the model with its own mixing switched off."""
        (embeddings,) = self._embeddings
        if not embeddings.trigram_input:
            return super().forward(given_positions, **inputs)
        size = embeddings.embedding_size
        # Another size than the hidden one makes the model call the layer also where both are equal.
        embeddings.trigram_input, embeddings.embedding_size = False, -1
        try:
            return super().forward(given_positions, **inputs)
        finally:
            embeddings.trigram_input, embeddings.embedding_size = True, size

    def _mix(self, module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        if self._given is None:
            return None
        own = arguments[0] * self._given.unsqueeze(2).to(arguments[0].dtype)
        around = nn.functional.pad(own, (0, 0, 1, 1))
        return (torch.cat([around[:, 2:], own, around[:, :-2]], dim=2),)


class Xlm(nn.Module):
    """
    XLM and FlauBERT: token types are looked up among the words, so that none at all differs from all of the first type.

    Nor is no mask one of all positions: as many of a row's first positions count as hold another token than the padding.
    Their check of the lengths against the tensor's is a branch on a value, and is answered before it is asked.

    Args:
        model: Any head over the architecture.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._active = False
        from transformers.models.flaubert.modeling_flaubert import FlaubertModel
        from transformers.models.xlm.modeling_xlm import XLMModel

        (backbone,) = (module for module in model.modules() if isinstance(module, (XLMModel, FlaubertModel)))
        backbone.register_forward_pre_hook(self._embed, with_kwargs=True)

    def forward(self, **inputs: torch.Tensor) -> Any:
        """Run the model; the hook is idle outside of this."""
        self._active = True
        try:
            return self.model(**inputs)
        finally:
            self._active = False

    def _embed(
        self, backbone: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if not self._active:
            return None
        keywords = dict(keywords)
        ids = arguments[0] if arguments else keywords.pop("input_ids")
        types = keywords.pop("token_type_ids")
        embeddings = backbone.embeddings(ids)
        embedded_types = backbone.embeddings(types.clamp(min=0)) * (types != ABSENT).unsqueeze(-1).to(embeddings.dtype)
        mask = keywords.pop("attention_mask")
        lengths = ((mask == ABSENT) & (ids != backbone.pad_index)).sum(1, keepdim=True)
        first = (torch.arange(ids.shape[1], device=ids.device) < lengths).to(mask.dtype)
        keywords |= {
            "attention_mask": torch.where(mask == ABSENT, first, mask),
            "inputs_embeds": embeddings + embedded_types,
            "lengths": _Fitting(ids),
        }
        return (), keywords


class _Fitting:
    """Stands for the lengths of rows that are known to fit; the attention mask says what counts."""

    def __init__(self, ids: torch.Tensor) -> None:
        self.rows = ids.shape[0]
        self.device = ids.device

    def size(self, dim: int) -> Any:
        """Return the number of rows."""
        return self.rows

    def max(self) -> _Fitting:
        """Return the largest length: this object."""
        return self

    def item(self) -> int:
        """Return a length that always fits."""
        return 0


_GUARDS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "convbert": ConvBert,
    "deberta": Deberta,
    "deberta-v2": Deberta,
    "flaubert": Xlm,
    "mobilebert": MobileBert,
    "xlm": Xlm,
}


def guard(model: nn.Module) -> nn.Module:
    """Return what is traced of a model: itself, or a guard around it."""
    kind = _guard_of(model)
    guarded = kind(model) if kind else model
    return GivenPositions(guarded) if _summaries(model) and not isinstance(guarded, GivenPositions) else guarded


def guard_inputs(model: nn.Module, inputs: tuple[Input, ...]) -> tuple[Input, ...]:
    """Return the inputs of a model's graph, after those that its guard adds or changes."""
    kind = _guard_of(model)
    if kind is Xlm:
        changed: dict[str, dict[str, Any]] = {
            "attention_mask": {"default": ABSENT},
            "token_type_ids": {"default": ABSENT, "pad_value": ABSENT},
        }
        inputs = tuple(attrs.evolve(input, **changed.get(input.name, {})) for input in inputs)
    if kind in (ConvBert, Deberta, MobileBert) or _summaries(model):
        return (*inputs, Input(GIVEN, inputs[0].axes, default=1))
    return inputs


def _guard_of(model: nn.Module) -> Callable[[nn.Module], nn.Module] | None:
    return _GUARDS.get(str(getattr(model.config, "model_type", None)))


def _summaries(model: nn.Module) -> list[Any]:
    """Return the modules that make one vector of a row by its last position, or by all of them."""
    return [module for module in model.modules() if getattr(module, "summary_type", None) in ("last", "mean")]


def neutral(inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a graph's inputs as the unwrapped model takes them, without what only the guards know."""
    return {
        name: tensor
        for name, tensor in inputs.items()
        if name != GIVEN and not (name != "input_ids" and bool((tensor == ABSENT).all()))
    }


def probe(inputs: tuple[Input, ...], expected: Callable[[Any, Mapping[str, Any]], Mapping[str, Any]]) -> Probe:
    """
    Say how a graph is compared with the unwrapped model.

    Args:
        inputs: The graph's.
        expected: From the loaded model and the inputs that it takes to the outputs.
    """
    axes = {input.name: input.axes for input in inputs}

    def given(sizes: Mapping[str, int], _: Any) -> dict[str, torch.Tensor]:
        if GIVEN not in axes:
            return {}
        shape = [sizes[axis] if isinstance(axis, str) else axis for axis in axes[GIVEN]]
        return {
            GIVEN: torch.ones(shape, dtype=torch.int64)
        }  # none but the caller's: the unwrapped model knows no others

    return Probe(inputs=given, expected=lambda model, tensors: expected(model, neutral(tensors)))
