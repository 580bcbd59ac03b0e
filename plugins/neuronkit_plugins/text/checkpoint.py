"""Checkpoints through transformers: a model of its weights, or one error that says why they are none."""

from __future__ import annotations

import inspect
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
    TypeError,
    SafetensorError,
    StrictDataclassError,
    UnpicklingError,
)
"""What transformers ends with where files are missing, damaged or contradict each other."""


def _load_checkpoint(
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
        _reading(source, auto_class_name, path),
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


def load_model(source: Source, auto_class_name: str, *, folder: Path | None = None, **kwargs: Any) -> torch.nn.Module:
    """
    Load a checkpoint in float32 and eval mode, and make sure that none of its weights had to be invented.

    Args:
        source: The checkpoint.
        auto_class_name: transformers' auto class (``"AutoModelForQuestionAnswering"``).
        folder: Where the weights lie, if not in ``source.model_path``.
        **kwargs: For `from_pretrained`.

    Raises:
        SourceError: The checkpoint cannot be loaded, or lacks weights that the class needs, so that its results would be random.
    """
    model, missing = _load_checkpoint(source, auto_class_name, folder, kwargs)
    if missing:
        shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
        raise SourceError(
            f"{source.model} has no weights for {type(model).__name__}: {shown} would be random.\n"
            f"Try: a checkpoint that was fine-tuned for the task (this one holds {source.config.get('architectures')})."
        )
    return model


def load_backbone(
    source: Source,
    auto_class_name: str = "AutoModel",
    *,
    folder: Path | None = None,
    pooler: bool = True,
    **kwargs: Any,
) -> torch.nn.Module:
    """
    Load a model without a head.

    Args:
        source: The checkpoint.
        auto_class_name: transformers' auto class.
        folder: Where the weights lie, if not in ``source.model_path``.
        pooler: Keep the pooler, if the checkpoint has weights for it; many have none.
        **kwargs: For `from_pretrained`.

    Raises:
        SourceError: The checkpoint cannot be loaded, or lacks other weights than the pooler's.
    """
    if pooler:
        model, missing = _load_checkpoint(source, auto_class_name, folder, kwargs)
        if not missing:
            return model
    parameters = inspect.signature(model_class(source, auto_class_name, folder)).parameters
    without = {"add_pooling_layer": False} if "add_pooling_layer" in parameters else {}
    return load_model(source, auto_class_name, folder=folder, **without, **kwargs)


def model_class(source: Source, auto_class_name: str, folder: Path | None = None) -> Any:
    """Return the class that an auto class would load, without loading it."""
    import transformers
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    path = folder or source.model_path
    if source.trust_remote_code and (reference := source.config.get("auto_map", {}).get(auto_class_name)):
        return get_class_from_dynamic_module(reference, path)
    with _reading(source, auto_class_name, path):
        config = transformers.AutoConfig.from_pretrained(path, trust_remote_code=source.trust_remote_code)
    found = getattr(transformers, auto_class_name)._model_mapping[type(config)]
    return found[0] if isinstance(found, (list, tuple)) else found


@contextmanager
def _reading(source: Source, auto_class_name: str, path: Path) -> Iterator[None]:
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
        if damage := _damaged_file(path):
            reason = f"{damage} ({reason})"
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


def _damaged_file(directory: Path) -> str | None:
    """Say what the matter is with the first file of safetensors that cannot be read; the error of transformers names none."""
    for file in sorted(directory.glob("*.safetensors")):
        try:
            file.open("rb").close()  # safe_open says of a file without permission that there is none
            with safe_open(file, "pt"):
                pass
        except OSError as error:
            return f"{file} cannot be read: {error.strerror}"
        except SafetensorError:
            return f"{file} is truncated, or the pointer of a file that was not downloaded"
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
