"""The base of the encoders' public classes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import torch

from neuronkit.errors import InputError
from neuronkit.export import Input
from neuronkit.models import NeuronBaseModel
from neuronkit.processors import Processors
from neuronkit_plugins.text.encoder_graph import PER_LAYER, regroup
from neuronkit_plugins.text.guards import GIVEN


class NeuronEncoderModel(NeuronBaseModel):
    """A compiled encoder: called as the eager model is, and returning what it returns."""

    auto_model_class_name: ClassVar[str]
    input_modalities = ("text",)
    accepts_loss_kwargs = False
    """Says to transformers' Trainer that nothing about a loss is to be passed."""

    def forward(  # type: ignore[override]  # positional, as the eager model takes them
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        labels: None = None,
        **others: Any,
    ) -> Any:
        """
        Run the model.

        Args:
            input_ids: ``[batch, sequence]``; for multiple choice all inputs are ``[batch, num_choices, sequence]``.
            attention_mask: 1 for tokens and 0 for padding, in any dtype; None counts what the eager model counts: every token, and
                for XLM and FlauBERT as many of a row's first as are not the padding token.
            token_type_ids: None makes every token the first kind. Dropped where the architecture has none: some
                tokenizers make them all the same.
            output_attentions: Only for a model compiled with them; False leaves them out.
            output_hidden_states: As `output_attentions`.
            return_dict: False returns a tuple; None does not, whatever the configuration says.
            labels: Refused: a compiled model computes no loss. By its name a Trainer knows what its `compute_loss_func` compares
                with the outputs.
            **others: What else the eager model takes must be None here.

        Returns:
            The output class of the eager model.

        Raises:
            InputError: A tensor is missing, empty, of a wrong rank or dtype, or longer than the largest bucket; it holds a
                number that stands for no token; or an argument was given that the graph does not take.
        """
        names = self._input_names
        given = others.pop(GIVEN, None)
        if labels is not None:
            raise InputError(
                "labels are for training: a compiled model computes no loss.\n"
                "Try: without them; a Trainer evaluates with compute_loss_func=f, where f(outputs, labels, num_items_in_batch) "
                "returns the loss."
            )
        self._refuse(others, names)
        tensors = {
            "input_ids": input_ids,
            "attention_mask": _as_flags(attention_mask),
            "token_type_ids": token_type_ids,
            GIVEN: given,
        }
        wanted = {"attentions": output_attentions, "hidden_states": output_hidden_states}
        outputs = self._outputs({name: tensor for name, tensor in tensors.items() if name in names}, wanted)
        if return_dict is False:
            return tuple(outputs.values())
        return self._output_class(**outputs)

    @property
    def _inputs(self) -> list[Input]:
        return [input for graph in self.session.graphs.values() for input in graph.graph.inputs]

    @cached_property
    def _input_names(self) -> frozenset[str]:
        return frozenset(input.name for input in self._inputs)

    @cached_property
    def _has_choices(self) -> bool:
        return "num_choices" in self.limits

    @cached_property
    def processors(self) -> Processors:
        """What turns raw input into tensors: texts padded as the graph pads them, if the tokenizer has no token for it."""
        return Processors(
            self.model_save_dir,
            self.limits,
            trust_remote_code=self.session.manifest.source.trust_remote_code,
            pad_token_id=next(int(input.pad_value) for input in self._inputs if input.name == "input_ids"),
        )

    def _outputs(self, tensors: Mapping[str, Any], wanted: Mapping[str, bool | None]) -> dict[str, Any]:
        given = {name: tensor for name, tensor in tensors.items() if tensor is not None}
        outputs = regroup(self.session.forward(self._graph, given), choices=self._has_choices)
        for name in PER_LAYER:
            if wanted[name] and name not in outputs:
                raise InputError(
                    f"The model was compiled without {name}.\n"
                    f"Try: compile with output_{name}=True, which adds outputs to the graph."
                )
            if wanted[name] is False:
                outputs.pop(name, None)
        return outputs

    def _refuse(self, others: Mapping[str, Any], names: frozenset[str]) -> None:
        """Refuse arguments that would change the result, but are not compiled in."""
        for name, value in others.items():
            if value is None or (name == "use_cache" and not value):
                continue
            known = ", ".join(sorted(names - {GIVEN}))
            raise InputError(f"{name}: a compiled {self.model_type} takes {known}, and no {name}.")


def _as_flags(mask: Any) -> Any:
    """Return a mask of floats as integers where nothing is lost; the graph refuses any other."""
    if isinstance(mask, torch.Tensor) and mask.is_floating_point() and bool(((mask == 0) | (mask == 1)).all()):
        return mask.to(torch.int64)
    return mask
