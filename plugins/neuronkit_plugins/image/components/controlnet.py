"""ControlNets: the module that is traced, its graph, and the shell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, MultiControlNetModel
from torch import nn

from neuronkit.errors import InputError, OptionError
from neuronkit.export import CompilerHints, Graph, Input, Output
from neuronkit.shells import Shell, make_shell
from neuronkit_plugins.image.components.conditions import refuse, refuse_attention_kwargs
from neuronkit_plugins.image.components.sizes import MOST_IMAGES, Sizes
from neuronkit_plugins.image.components.unet import conditions, residuals, text_features, timestep_of_rows

COMPONENT = "controlnet"
"""What pipelines call it, be it one or several."""


class ControlNet(nn.Module):
    """A ControlNet at full strength, with names for what it adds to the UNet."""

    def __init__(self, controlnet: nn.Module) -> None:
        super().__init__()
        self.controlnet = controlnet

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        controlnet_cond: torch.Tensor,
        text_embeds: torch.Tensor | None = None,
        time_ids: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """
        Return what is added to the UNet: on its way down, layer by layer, and in its middle.

        Args:
            sample: Noisy latents, ``[batch, channels, height, width]``.
            timestep: ``[batch]``.
            encoder_hidden_states: The prompt, ``[batch, sequence, hidden]``.
            controlnet_cond: The image that controls, ``[batch, 3, height * factor, width * factor]``, from 0 to 1.
            text_embeds: SDXL's pooled prompt, ``[batch, features]``.
            time_ids: SDXL's sizes and crops, ``[batch, numbers]``.

        """
        down, middle = self.controlnet(
            sample,
            timestep,
            encoder_hidden_states,
            controlnet_cond,
            added_cond_kwargs=None if text_embeds is None else {"text_embeds": text_embeds, "time_ids": time_ids},
            return_dict=False,
        )
        return (*down, middle)


def controlnet_graph(name: str, controlnet: Any, sizes: Sizes, sequence: int, pooled: int | None) -> Graph:
    """
    Declare a ControlNet.

    Args:
        name: Of the graph.
        controlnet: ``ControlNetModel``.
        sizes: What to compile for.
        sequence: Tokens of a prompt.
        pooled: Features of SDXL's pooled prompt; None for other ControlNets.

    """
    config = controlnet.config
    picture = [f"{axis}*{sizes.factor}" for axis in ("height", "width")]
    averaged = bool(config.global_pool_conditions)
    return Graph(
        name,
        [
            *conditions(controlnet, sequence, pooled if config.addition_embed_type == "text_time" else None),
            Input("controlnet_cond", ["batch", config.conditioning_channels, *picture], "float32"),
        ],
        [Output(own, [*axes[:2], 1, 1] if averaged else axes) for own, axes in residuals(controlnet)],
        kind="unet",
        wrap=lambda components: ControlNet(components[name]),
        sizes={"batch": sizes.rows, **sizes.latents},
        hints=CompilerHints(dynamic_axes=("batch",), channels_last=True, max_batch=MOST_IMAGES),
    )


def require_fitting(name: str, controlnet: Any, unet: Any) -> None:
    """
    Refuse a ControlNet for another model.

    Args:
        name: Of the ControlNet.
        controlnet: ``ControlNetModel``.
        unet: ``UNet2DConditionModel``.

    Raises:
        OptionError: The prompts that it takes or the layers that it adds to are of other sizes than the UNet's.

    """
    own, wanted = text_features(controlnet), text_features(unet)
    if own != wanted:
        raise OptionError(
            f"controlnet_ids: {name} takes prompts of {own} features, and the unet of {wanted}: it is for another model."
        )
    if residuals(controlnet) != residuals(unet):
        raise OptionError(
            f"controlnet_ids: {name} adds to other layers than the unet has: it is for another model.\n"
            "Try: a ControlNet that was made from a UNet of this kind."
        )


def controlnets_of(controlnet: Any) -> dict[str, Any]:
    """
    Return the ControlNets of a pipeline by the folders that diffusers saves them in, which are also the graphs' names.

    Args:
        controlnet: The component: one, several as one, or None.

    """
    if controlnet is None:
        return {}
    nets = controlnet.nets if isinstance(controlnet, MultiControlNetModel) else [controlnet]
    return dict(zip(_names(), nets, strict=False))


def _names() -> Iterator[str]:
    yield COMPONENT
    yield from (f"{COMPONENT}_{number}" for number in count(1))


class MultiControlNetShell(Shell):
    """Several ControlNets as one: the real class adds up what each of its shells returns."""

    @classmethod
    def build(cls, kind: Any, folder: Path, session: Any) -> Any:
        """Return it over a shell for each of the session's ControlNets."""
        names = takewhile(lambda name: name in session.graphs, _names())
        return kind(
            [make_shell(ControlNetShell, ControlNetModel, folder.with_name(name), session, name) for name in names]
        )

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | float,
        encoder_hidden_states: torch.Tensor,
        controlnet_cond: Sequence[torch.Tensor],
        conditioning_scale: Sequence[float],
        **other: Any,
    ) -> Any:
        """
        Return what is added to the UNet.

        Raises:
            InputError: There are fewer strengths than ControlNets, of which diffusers would leave out the last.

        """
        nets = len(self.nets)  # type: ignore[attr-defined]  # of the real class
        if len(conditioning_scale) != nets:
            raise InputError(
                f"There are {nets} ControlNets, and each needs a strength (got {len(conditioning_scale)}).\n"
                "Try: controlnet_conditioning_scale=[...] with one for each, or a float for all."
            )
        return super().forward(  # type: ignore[misc]  # of the real class
            sample, timestep, encoder_hidden_states, controlnet_cond, conditioning_scale, **other
        )


class ControlNetShell(Shell):
    """A ControlNet; its strength, one for each layer in guess mode, is applied on the host."""

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | float,
        encoder_hidden_states: torch.Tensor,
        controlnet_cond: torch.Tensor,
        conditioning_scale: float = 1.0,
        class_labels: torch.Tensor | None = None,
        timestep_cond: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        added_cond_kwargs: Mapping[str, Any] | None = None,
        cross_attention_kwargs: Mapping[str, Any] | None = None,
        guess_mode: bool = False,
        return_dict: bool = True,
    ) -> Any:
        """
        Return what is added to the UNet.

        Raises:
            InputError: A condition that the graph was compiled without, or one that it needs and did not get.

        """
        from diffusers.models.controlnets.controlnet import ControlNetOutput

        refuse(self.component, class_labels=class_labels, timestep_cond=timestep_cond, attention_mask=attention_mask)
        refuse_attention_kwargs(self.component, cross_attention_kwargs)
        added = {
            name: tensor
            for name, tensor in (added_cond_kwargs or {}).items()
            if name in self.input_names(self.component)
        }
        tensors = {
            "sample": sample,
            "timestep": timestep_of_rows(timestep, sample),
            "encoder_hidden_states": encoder_hidden_states,
            "controlnet_cond": controlnet_cond,
            **added,
        }
        found = list(self.run(self.component, tensors).values())
        averaged = self.config.global_pool_conditions  # type: ignore[attr-defined]  # of the real class
        if guess_mode and not averaged:
            strengths = torch.logspace(-1, 0, len(found)) * conditioning_scale  # from a tenth at the first layer
            found = [tensor * strength for tensor, strength in zip(found, strengths, strict=True)]
        else:
            found = [tensor * conditioning_scale for tensor in found]
        *down, middle = found
        if not return_dict:
            return down, middle
        return ControlNetOutput(down_block_res_samples=tuple(down), mid_block_res_sample=middle)
