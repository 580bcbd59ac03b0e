"""What the tasks of encoder-only models share: the graph's inputs, the loader, the checks of a call's raw input."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from neuronkit.errors import InputError, OptionError, SourceError, closest
from neuronkit.export import Input
from neuronkit.export.source import Source
from neuronkit.options import names as option_names
from neuronkit_plugins.text.checkpoint import load_checkpoint, reading

ENCODER_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def encoder_inputs(source: Source, model: torch.nn.Module) -> tuple[Input, ...]:
    """
    Return the inputs of an encoder's graph, all int64 of axes ``[batch, sequence]``.

    ``token_type_ids`` is among them where the model's own `forward` takes it, whatever its architecture.

    Args:
        source: Says which token pads.
        model: The loaded model.
    """
    taken = inspect.signature(model.forward).parameters
    inputs = (
        Input("input_ids", ["batch", "sequence"], pad_value=source.pad_token_id),
        Input("attention_mask", ["batch", "sequence"], default=1),
        Input("token_type_ids", ["batch", "sequence"], default=0),
    )
    return tuple(input for input in inputs if input.name in taken)


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
    model, missing = load_checkpoint(source, auto_class_name, folder, kwargs)
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
        model, missing = load_checkpoint(source, auto_class_name, folder, kwargs)
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
    with reading(source, auto_class_name, path):
        config = transformers.AutoConfig.from_pretrained(path, trust_remote_code=source.trust_remote_code)
    found = getattr(transformers, auto_class_name)._model_mapping[type(config)]
    return found[0] if isinstance(found, (list, tuple)) else found


def check_names(inputs: Mapping[str, Any], known: Sequence[str], options: Any = None) -> None:
    """
    Refuse names that a task does not take.

    Args:
        inputs: What a call gave beside its options.
        known: The task's inputs.
        options: The options of the call, whose names may have been meant too.

    Raises:
        InputError: A name is unknown; the message suggests the nearest input.
        OptionError: It is nearer to an option than to any input.
    """
    accepted = [*known, *(option_names(type(options), "call") if options is not None else ())]
    for name in inputs:
        if name not in known:
            close = closest(name, accepted)
            if close and close not in known:
                raise OptionError(f"{name}: unknown option. Did you mean {close}?")
            hint = f"Did you mean {close!r}?" if close else f"It takes: {', '.join(accepted)}."
            raise InputError(f"{name}: unknown input. {hint}")


def as_texts(name: str, value: Any) -> tuple[list[str], bool]:
    """
    Return texts as a list, and whether it was a list that was given.

    Raises:
        InputError: The value is neither a text nor a list of texts.
    """
    if isinstance(value, str):
        return [value], False
    if isinstance(value, Iterable) and not isinstance(value, (bytes, Mapping, torch.Tensor)):
        texts = list(value)
        wrong = sorted({type(item).__name__ for item in texts if not isinstance(item, str)})
        if wrong:
            raise InputError(f"{name} must be a text or a list of texts (it has an item of type {wrong[0]}).")
        return texts, True
    raise InputError(f"{name} must be a text or a list of texts (got {type(value).__name__}).")


def read_text(inputs: Mapping[str, Any], options: Any, task: str) -> tuple[list[str], bool]:
    """
    Return the texts of a call that takes nothing else, and whether a list was given.

    Args:
        inputs: What the call gave beside its options.
        options: The options of the call.
        task: Its name, for the message.

    Raises:
        InputError: A name is unknown, or `text` is missing or not text.
        OptionError: A name is nearer to an option than to `text`.
    """
    check_names(inputs, ["text"], options)
    if "text" not in inputs:
        raise InputError(f"{task} needs text=...: a text or a list of texts.")
    return as_texts("text", inputs["text"])
