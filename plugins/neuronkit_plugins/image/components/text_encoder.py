"""CLIP's text encoders: the module that is traced, its graph, and the shell."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from neuronkit.errors import InputError
from neuronkit.export import CompilerHints, Graph, Input, Output, members, numbered
from neuronkit.shells import Shell
from neuronkit_plugins.image.components.conditions import refuse
from neuronkit_plugins.image.components.sizes import Sizes


class TextEncoder(nn.Module):
    """CLIP's text model with every hidden state, as `clip_skip` and SDXL need them."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """
        Run the encoder.

        Args:
            input_ids: ``[batch, sequence]``.
            attention_mask: ``[batch, sequence]``, for the few checkpoints that use one.

        """
        returned = self.encoder(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
        states = numbered("hidden_states", returned.hidden_states)
        pooled = "text_embeds" if "text_embeds" in returned else "pooler_output"
        return {pooled: returned[pooled], "last_hidden_state": returned.last_hidden_state, **states}


def text_encoder_graph(name: str, encoder: Any, sizes: Sizes) -> Graph:
    """
    Declare a CLIP text encoder.

    Args:
        name: Of the component in the pipeline.
        encoder: ``CLIPTextModel`` or ``CLIPTextModelWithProjection``.
        sizes: What to compile for.

    """
    from transformers import CLIPTextModelWithProjection

    config = encoder.config
    length = config.max_position_embeddings
    inputs = [Input("input_ids", ["batch", length], table_size=encoder.get_input_embeddings().num_embeddings)]
    if getattr(config, "use_attention_mask", False):
        inputs.append(Input("attention_mask", ["batch", length], default=1))
    projected = isinstance(encoder, CLIPTextModelWithProjection)
    pooled = (
        Output("text_embeds", ["batch", config.projection_dim])
        if projected
        else Output("pooler_output", ["batch", config.hidden_size])
    )
    states = ["last_hidden_state", *numbered("hidden_states", range(config.num_hidden_layers + 1))]
    return Graph(
        name,
        inputs,
        [pooled, *(Output(state, ["batch", length, config.hidden_size]) for state in states)],
        kind="text_encoder",
        wrap=lambda components: TextEncoder(components[name]),
        sizes={"batch": list(sizes.prompts)},
        hints=CompilerHints(dynamic_axes=("batch",)),
    )


class TextEncoderShell(Shell):
    """A CLIP text encoder; its last normalisation stays real, for `clip_skip` applies it to an earlier state."""

    @classmethod
    def kept(cls, module: nn.Module) -> list[str]:
        """Return the path of the last normalisation, which depends on the release of transformers."""
        return [path for path, _ in module.named_modules() if path.rpartition(".")[2] == "final_layer_norm"]

    def __getattr__(self, name: str) -> Any:
        """Answer for the level `text_model`, which transformers 5 dropped and diffusers asks for."""
        try:
            return super().__getattr__(name)  # type: ignore[misc]  # of the real class, which stands beside this one
        except AttributeError:
            if name != "text_model":
                raise
            return SimpleNamespace(final_layer_norm=self.final_layer_norm)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **other: Any,
    ) -> Any:
        """Run the graph; returns the class that the encoder itself returns."""
        from transformers.modeling_outputs import BaseModelOutputWithPooling
        from transformers.models.clip.modeling_clip import CLIPTextModelOutput

        refuse(self.component, position_ids=position_ids, **other)
        if "attention_mask" not in self.input_names(self.component):
            if attention_mask is not None and not bool(attention_mask.all()):
                raise InputError(
                    f"{self.component} was compiled without attention_mask: its configuration does not use one.\n"
                    "Try: no masked tokens; libraries that weight prompts can leave words out instead of masking them."
                )
            attention_mask = None
        outputs = self.run(self.component, {"input_ids": input_ids, "attention_mask": attention_mask})
        states = [outputs.pop(name) for name in members("hidden_states", outputs)]
        kind = CLIPTextModelOutput if "text_embeds" in outputs else BaseModelOutputWithPooling
        found = kind(**outputs, hidden_states=tuple(states) if output_hidden_states else None)
        return found.to_tuple() if return_dict is False else found
