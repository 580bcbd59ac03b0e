"""Which shell stands for which class of component."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neuronkit.errors import OptionError
from neuronkit.session import Session
from neuronkit.shells import Shell, make_shell
from neuronkit_plugins.image.components.controlnet import ControlNetShell, MultiControlNetShell
from neuronkit_plugins.image.components.text_encoder import TextEncoderShell
from neuronkit_plugins.image.components.transformer import TransformerShell
from neuronkit_plugins.image.components.unet import ADAPTED, UNetShell
from neuronkit_plugins.image.components.vae import VaeShell
from neuronkit_plugins.image.components.vq import VqShell

SHELLS: dict[str, type[Shell]] = {
    "AutoencoderKL": VaeShell,
    "CLIPTextModel": TextEncoderShell,
    "CLIPTextModelWithProjection": TextEncoderShell,
    "ControlNetModel": ControlNetShell,
    "MultiControlNetModel": MultiControlNetShell,
    "UNet2DConditionModel": UNetShell,
    "UVit2DModel": TransformerShell,
    "VQModel": VqShell,
}
"""What stands for which class."""


def require_supported(components: Mapping[str, Any]) -> None:
    """
    Refuse components of classes that have no graph.

    Raises:
        OptionError: There is one; the message names those that have.

    """
    for name, component in components.items():
        if type(component).__name__ not in SHELLS:
            raise OptionError(
                f"{name} is of class {type(component).__name__}, and neuronkit compiles {', '.join(SHELLS)}.\n"
                f"Try: another checkpoint, or a {name} of one of these classes."
            )


def plain_config(shell: Any) -> dict[str, Any]:
    """Return the configuration that the real class can be built from: without IP-Adapters."""
    config = dict(shell.config)
    return config | {"encoder_hid_dim_type": None} if config.get("encoder_hid_dim_type") == ADAPTED else config


def make_shells(session: Session, classes: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """
    Return a shell for every component of a pipeline that is of a class with graphs: all of these are compiled.

    Args:
        session: The loaded artifact.
        classes: Library and class of every component, as ``model_index.json`` has them.

    """
    import diffusers
    import transformers

    libraries = {"diffusers": diffusers, "transformers": transformers}
    return {
        component: make_shell(
            SHELLS[name],
            getattr(libraries[library], name),
            session.artifact.path / component,
            session,
            component,
        )
        for component, (library, name) in classes.items()
        if name in SHELLS
    }
