"""Methods of diffusers' pipelines that look at a call's arguments, with errors of neuronkit's."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from neuronkit.errors import InputError


def requiring_steps(choose: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse a strength that leaves none of the steps."""

    @functools.wraps(choose)
    def checked(self: Any, num_inference_steps: int, strength: float, *args: Any, **kwargs: Any) -> Any:
        timesteps, count = choose(self, num_inference_steps, strength, *args, **kwargs)
        if not len(timesteps) and kwargs.get("denoising_start") is None:  # which takes the strength's place
            raise InputError(
                f"strength of {strength} leaves none of {num_inference_steps} steps.\n"
                "Try: a greater strength, or more steps: strength x steps must be 1 or more."
            )
        return timesteps, count

    return checked


def raising_own(check: Callable[..., None]) -> Callable[..., None]:
    """Turn what diffusers says of a call's arguments into an error of neuronkit's, which is told from what nobody foresaw."""

    @functools.wraps(check)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            check(self, *args, **kwargs)
        except (TypeError, ValueError) as error:
            raise InputError(str(error)) from error

    return checked
