"""UNets: the module that is traced, its graph, and the shell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from neuronkit.errors import InputError
from neuronkit.export import CompilerHints, Graph, Input, Output, members, numbered, tensor_shape
from neuronkit.session import LoadedGraph
from neuronkit.shells import Shell
from neuronkit_plugins.image.components.conditions import refuse, refuse_attention_kwargs
from neuronkit_plugins.image.components.sizes import MOST_IMAGES, Sizes

ADAPTED = "ip_image_proj"
"""What a UNet with IP-Adapters has as its `encoder_hid_dim_type`."""


class UNet(nn.Module):
    """A UNet whose optional conditions are tensors by name."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        timestep_cond: torch.Tensor | None = None,
        text_embeds: torch.Tensor | None = None,
        time_ids: torch.Tensor | None = None,
        **lists: torch.Tensor,
    ) -> tuple[torch.Tensor]:
        """
        Predict the noise.

        Args:
            sample: Noisy latents, ``[batch, channels, height, width]``.
            timestep: ``[batch]``.
            encoder_hidden_states: The prompt, ``[batch, sequence, hidden]``.
            timestep_cond: The guidance that an LCM was distilled with, ``[batch, features]``.
            text_embeds: SDXL's pooled prompt, ``[batch, features]``.
            time_ids: SDXL's sizes and crops, ``[batch, numbers]``.
            **lists: ``image_embeds_0`` and so on, one per IP-Adapter, ``[batch, images, ...]``; ``down_residual_0`` and so on
                and ``mid_residual``, what ControlNets add, ``[batch, channels, height, width]``.

        """
        added: dict[str, Any] = {}
        if text_embeds is not None:
            added |= {"text_embeds": text_embeds, "time_ids": time_ids}
        if adapters := members("image_embeds", lists):
            added["image_embeds"] = [lists[name] for name in adapters]
        down = tuple(lists[name] for name in members("down_residual", lists))
        predicted = self.unet(
            sample,
            timestep,
            encoder_hidden_states,
            timestep_cond=timestep_cond,
            added_cond_kwargs=added or None,
            down_block_additional_residuals=down or None,
            mid_block_additional_residual=lists.get("mid_residual"),
            return_dict=False,
        )
        return (predicted[0],)


def unet_graph(
    unet: Any,
    sizes: Sizes,
    sequence: int,
    pooled: int | None,
    ip_adapters: Sequence[Sequence[int]] = (),
    *,
    controlled: bool = False,
) -> Graph:
    """
    Declare a UNet.

    Args:
        unet: ``UNet2DConditionModel``.
        sizes: What to compile for.
        sequence: Tokens of a prompt.
        pooled: Features of SDXL's pooled prompt; None for other UNets.
        ip_adapters: Shape of one row of each IP-Adapter's image embeddings.
        controlled: Take what ControlNets add; without it, nothing is added.

    """
    config = unet.config
    latent = ["height", "width"]
    inputs = conditions(unet, sequence, pooled)
    inputs += [Input(name, ["batch", *row], "float32") for name, row in numbered("image_embeds", ip_adapters).items()]
    if controlled:
        inputs += [Input(name, axes, "float32", default=0) for name, axes in residuals(unet)]
    return Graph(
        "unet",
        inputs,
        [Output("sample", ["batch", config.out_channels, *latent])],
        kind="unet",
        wrap=lambda components: UNet(components["unet"]),
        sizes={"batch": sizes.rows, **sizes.latents},
        hints=CompilerHints(
            dynamic_axes=("batch",),
            channels_last=True,
            max_batch=MOST_IMAGES,
        ),
    )


def conditions(unet: Any, sequence: int, pooled: int | None) -> list[Input]:
    """
    Declare the inputs that a UNet and its ControlNets have in common.

    Args:
        unet: ``UNet2DConditionModel``, or a ``ControlNetModel``, which is the first half of one.
        sequence: Tokens of a prompt.
        pooled: Features of SDXL's pooled prompt; None for other UNets.

    """
    config = unet.config
    inputs = [
        Input("sample", ["batch", config.in_channels, "height", "width"], "float32"),
        Input("timestep", ["batch"], "float32"),
        Input("encoder_hidden_states", ["batch", sequence, text_features(unet)], "float32"),
    ]
    if config.get("time_cond_proj_dim") is not None:
        inputs.append(Input("timestep_cond", ["batch", config.time_cond_proj_dim], "float32"))
    if pooled is not None:
        numbers = (unet.add_embedding.linear_1.in_features - pooled) // config.addition_time_embed_dim
        inputs += [Input("text_embeds", ["batch", pooled], "float32"), Input("time_ids", ["batch", numbers], "float32")]
    return inputs


def timestep_of_rows(timestep: torch.Tensor | float, sample: torch.Tensor) -> torch.Tensor:
    """Return the timestep of every row, ``[batch]``, of one for all or one for each, whole or not."""
    return torch.as_tensor(timestep, dtype=torch.float32).reshape(-1).expand(sample.shape[0])


def residuals(unet: Any) -> list[tuple[str, list[str | int]]]:
    """
    Return name and axes of what ControlNets add to a UNet: to what each layer on the way down passes across, and to the middle.

    Args:
        unet: ``UNet2DConditionModel``, or a ``ControlNetModel``, which is the first half of one.

    """
    level = ["height", "width"]
    shapes: list[list[str | int]] = [[unet.conv_in.out_channels, *level]]
    for block in unet.down_blocks:
        for layer in block.resnets:
            shapes.append([layer.out_channels, *level])
        for _ in block.downsamplers or ():
            level = [f"({axis}+1)/2" for axis in level]  # a convolution in steps of two with one pixel of padding
            shapes.append([block.resnets[-1].out_channels, *level])
    named = {**numbered("down_residual", shapes), "mid_residual": shapes[-1]}
    return [(name, ["batch", *shape]) for name, shape in named.items()]


def text_features(unet: Any) -> int:
    """Return how many features a token of a prompt must have for a UNet or a ControlNet."""
    wide = unet.config.encoder_hid_dim if unet.config.encoder_hid_dim_type in ("text_proj", "text_image_proj") else None
    features = wide or unet.config.cross_attention_dim
    return features if isinstance(features, int) else features[0]


class UNetShell(Shell):
    """A UNet with the conditions that it was compiled for."""

    def complete(self) -> None:
        """Answer for the IP-Adapters, whose projections run in the graph: pipelines ask how many there are and of which kind."""
        from diffusers.models.embeddings import ImageProjection, IPAdapterPlusImageProjection

        inputs = {input.name: input for input in self.session.graphs["unet"].graph.inputs}
        adapters = [inputs[name] for name in members("image_embeds", inputs)]
        if not adapters:
            return
        with torch.device("meta"):
            layers = [
                ImageProjection() if len(input.axes) == 3 else IPAdapterPlusImageProjection() for input in adapters
            ]
        self.__dict__["encoder_hid_proj"] = SimpleNamespace(image_projection_layers=layers)
        self.register_to_config(encoder_hid_dim_type=ADAPTED)  # type: ignore[attr-defined]  # of the real class

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | float,
        encoder_hidden_states: torch.Tensor,
        class_labels: torch.Tensor | None = None,
        timestep_cond: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        cross_attention_kwargs: Mapping[str, Any] | None = None,
        added_cond_kwargs: Mapping[str, Any] | None = None,
        down_block_additional_residuals: Sequence[torch.Tensor] | None = None,
        mid_block_additional_residual: torch.Tensor | None = None,
        down_intrablock_additional_residuals: Sequence[torch.Tensor] | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        return_dict: bool = True,
    ) -> Any:
        """
        Predict the noise.

        Raises:
            InputError: A condition that the graph was compiled without, or one that it needs and did not get.

        """
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

        refuse(
            "unet",
            class_labels=class_labels,
            attention_mask=attention_mask,
            encoder_attention_mask=encoder_attention_mask,
            down_intrablock_additional_residuals=down_intrablock_additional_residuals,
        )
        refuse_attention_kwargs("unet", cross_attention_kwargs)
        _require_length(self.session.graphs["unet"], encoder_hidden_states)
        tensors = {
            "sample": sample,
            "timestep": timestep_of_rows(timestep, sample),
            "encoder_hidden_states": encoder_hidden_states,
            "timestep_cond": timestep_cond,
            **self._added(added_cond_kwargs or {}),
            **self._residuals(sample, down_block_additional_residuals, mid_block_additional_residual),
        }
        predicted = self.run("unet", tensors)["sample"]
        return UNet2DConditionOutput(sample=predicted) if return_dict else (predicted,)

    def _residuals(
        self, sample: torch.Tensor, down: Sequence[torch.Tensor] | None, middle: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        """Return what ControlNets add, by the graph's names; one that was averaged over the image is spread over it again."""
        if down is None or middle is None:
            refuse("unet", down_block_additional_residuals=down, mid_block_additional_residual=middle)
            return {}
        sizes = {"batch": sample.shape[0], "height": sample.shape[2], "width": sample.shape[3]}
        inputs = {input.name: input for input in self.session.graphs["unet"].graph.inputs}
        given = {**numbered("down_residual", down), "mid_residual": middle}
        taken = len(members("down_residual", inputs))
        if taken != len(down):
            hint = "" if taken else "\nTry: compile with controlnet_ids, as stable-diffusion-control-net."
            raise InputError(
                f"The unet was compiled for {taken or 'no'} residuals of a ControlNet (got {len(down)}).{hint}"
            )
        return {
            name: tensor.expand(tensor_shape(inputs[name].axes, sizes)) if tensor.shape[-2:] == (1, 1) else tensor
            for name, tensor in given.items()
        }

    def _added(self, given: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        names = self.input_names("unet")
        added = {name: tensor for name, tensor in given.items() if name in names and name != "image_embeds"}
        embeds = given.get("image_embeds")
        listed = [] if embeds is None else embeds if isinstance(embeds, (list, tuple)) else [embeds]
        adapters = members("image_embeds", names)
        if len(listed) > len(adapters):
            raise InputError(
                "The unet was compiled without an IP-Adapter for these image embeddings.\n"
                "Try: compile with ip_adapter_ids."
            )
        if len(listed) < len(adapters):
            raise InputError(
                "The unet was compiled with IP-Adapters, and there are not as many image embeddings.\n"
                "Try: ip_adapter_image=... (or ip_adapter_image_embeds=...), a list with an item for each."
            )
        return added | numbered("image_embeds", listed)


def _require_length(unet: LoadedGraph, embeddings: torch.Tensor) -> None:
    """Refuse embeddings of prompts that have another length than the one that was compiled."""
    size = next(input for input in unet.graph.inputs if input.name == "encoder_hidden_states").axes[1]
    if isinstance(size, int) and embeddings.shape[1] != size:
        raise InputError(
            f"The embeddings of the prompts have {embeddings.shape[1]} tokens, and the unet was compiled for {size}.\n"
            f"Try: prompts truncated to {size} tokens (truncate_long_prompts=True of compel)."
        )
