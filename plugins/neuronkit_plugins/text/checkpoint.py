"""Checkpoints through transformers: a model of its weights, or one error that says why they are none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open

from neuronkit.errors import SourceError
from neuronkit.export.source import ADAPTER_FILE, Source, adapter_advice

_FAILURES = (
    OSError,
    ValueError,
    LookupError,
    RuntimeError,
    ImportError,
    SafetensorError,
    StrictDataclassError,
    UnpicklingError,
)
"""What transformers ends with where files are missing, damaged or contradict each other."""


def load_checkpoint(
    source: Source, auto_class_name: str, folder: Path | None, kwargs: Mapping[str, Any]
) -> tuple[torch.nn.Module, list[str]]:
    """
    Load a checkpoint in float32 and eval mode; what the model returns is for its calls to say, not for the configuration.

    Args:
        source: The checkpoint.
        auto_class_name: transformers' auto class (``"AutoModelForQuestionAnswering"``).
        folder: Where the weights lie, if not in ``source.model_path``.
        kwargs: For `from_pretrained`.

    Returns:
        The model, and the names of the weights that it needs and the checkpoint lacks.

    Raises:
        SourceError: The checkpoint is quantized, has no weights, or some that cannot be read or are of another shape.
    """
    import transformers

    _refuse_quantized(source)
    path = folder or source.model_path
    with (
        reading(source, auto_class_name, path),
        _quiet(),
    ):  # missing is an error, and what is left over is another head's
        model, info = getattr(transformers, auto_class_name).from_pretrained(
            path,
            dtype=torch.float32,
            trust_remote_code=source.trust_remote_code,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, by name
            **kwargs,
        )
    if other := sorted(info["mismatched_keys"]):
        name, held, needed = other[0]
        more = f" (and {len(other) - 1} more)" if len(other) > 1 else ""
        raise SourceError(
            f"{source.model} has weights of another shape than {type(model).__name__} needs: {name} is {list(held)}, and its "
            f"configuration makes it {list(needed)}{more}.\n"
            "Try: the config.json that the weights were saved with."
        )
    model.config.return_dict = True
    model.config.output_attentions = model.config.output_hidden_states = False
    return model.eval(), sorted(info["missing_keys"])


@contextmanager
def reading(source: Source, auto_class_name: str, path: Path) -> Iterator[None]:
    """
    Turn what transformers ends with when it reads a directory into an error that names the checkpoint.

    Raises:
        SourceError: It says what the matter is, and what to type next.
    """
    try:
        yield
    except _FAILURES as error:
        reason = " ".join(" ".join(str(error).splitlines()[:2]).split())
        if isinstance(error, KeyError) or not reason:
            reason = f"{type(error).__name__} {reason}".rstrip()
        advice = "the configuration and the weights as they were saved; download or copy the checkpoint again"
        if damaged := _damaged_file(path):
            reason = f"{damaged} is truncated, or the pointer of a file that was not downloaded ({reason})"
            advice = "download or copy it again"
        elif (path / ADAPTER_FILE).is_file():
            advice = adapter_advice(path)
        elif isinstance(error, UnpicklingError):
            reason, advice = (
                "its pickled weights hold other objects than tensors",
                "a checkpoint with model.safetensors",
            )
        elif isinstance(error, ImportError):
            advice = "install what it asks for"
        elif isinstance(error, OSError):
            advice = (
                "a checkpoint with its weights: model.safetensors, or all files that model.safetensors.index.json names"
            )
        raise SourceError(
            f"{source.model} cannot be loaded as {auto_class_name}: {reason.rstrip('.')}.\nTry: {advice}."
        ) from error


def _refuse_quantized(source: Source) -> None:
    settings = source.config.get("quantization_config")
    if not settings:
        return
    method = settings.get("quant_method") if isinstance(settings, Mapping) else None
    raise SourceError(
        f"{source.model} is quantized{f' with {method}' if method else ''}, and graphs are made of weights as they were before.\n"
        "Try: the checkpoint that it was quantized from; for text-generation, --weights int8 quantizes that one."
    )


def _damaged_file(directory: Path) -> Path | None:
    """Return the first file of safetensors whose header does not describe it; the error of transformers does not name it."""
    for file in sorted(directory.glob("*.safetensors")):
        try:
            with safe_open(file, "pt"):
                pass
        except SafetensorError:
            return file
    return None


@contextmanager
def _quiet() -> Iterator[None]:
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
