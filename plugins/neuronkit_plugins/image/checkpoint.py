"""The eager pipeline of a checkpoint, changed as the compile options say, and what of it lies beside the graphs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from neuronkit.errors import OptionError, SourceError
from neuronkit.export.source import Source
from neuronkit.paths import named_directory
from neuronkit.shells import KEPT_FILE
from neuronkit_plugins.image.components.controlnet import COMPONENT as CONTROLNET
from neuronkit_plugins.image.components.unet import ADAPTED
from neuronkit_plugins.image.lora_file import MODULE_PATHS, read
from neuronkit_plugins.image.merging import ScaledLora, merge
from neuronkit_plugins.image.options import AdaptedOptions, ControlledOptions, as_pairs, per_item
from neuronkit_plugins.image.shells import SHELLS


def load_pipeline(source: Source, pipeline_class: Any, variant: str | None = None, **parts: Any) -> Any:
    """
    Load a checkpoint with diffusers in float32.

    Args:
        source: The checkpoint: a directory or a single file.
        pipeline_class: diffusers' own class.
        variant: Which of the checkpoint's weights to take.
        **parts: Components to use in place of the checkpoint's.

    Raises:
        SourceError: diffusers cannot load the checkpoint as that class, or the class leaves out a model that it needs.
        OptionError: A single file has no variants.

    """
    _require_all_models(source, pipeline_class)
    if source.file is not None and not hasattr(pipeline_class, "from_single_file"):
        raise SourceError(
            f"{source.model} is a single file, and diffusers reads none as {pipeline_class.__name__}.\n"
            "Try: a directory with a model_index.json."
        )
    if source.file is not None and variant is not None:
        raise OptionError(f"variant: {source.model} is a single file and has no variants (got {variant!r}).")
    with quiet():
        try:
            if source.file is None:
                pipeline = pipeline_class.from_pretrained(source.path, variant=variant, **parts)
            else:
                pipeline = pipeline_class.from_single_file(
                    str(source.file), config=str(source.path), local_files_only=True, **parts
                )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise SourceError(
                f"{source.model} cannot be loaded as {pipeline_class.__name__}: {error}{_variant_hint(source, variant)}"
            ) from error
        if pipeline.dtype != torch.float32:
            pipeline.to(torch.float32)
    return pipeline


def _require_all_models(source: Source, pipeline_class: Any) -> None:
    """Refuse a class that leaves out a model of the checkpoint: diffusers notes it, and the others fail at the first call."""
    taken, _ = pipeline_class._get_signature_keys(pipeline_class)
    held = {name for name in MODULE_PATHS if any(source.config.get(name) or ())}
    if spare := sorted(held.difference(taken)):
        raise SourceError(
            f"{source.model} is a {source.config.get('_class_name')} with {', '.join(spare)}, which {pipeline_class.__name__} "
            "does not run.\n"
            "Try: neuronkit.compile without a task, which picks the plugin, and neuronkit.load, which picks the class."
        )


def _variant_hint(source: Source, variant: str | None) -> str:
    """Return which variant to try, where the checkpoint has weights of others than the one that was asked for."""
    names = (file.name.split(".") for file in source.path.glob("*/*"))
    found = {parts[1] for parts in names if len(parts) == 3 and parts[2] in ("bin", "safetensors")}
    return "".join(f"\nTry: --variant {name} (variant={name!r})" for name in sorted(found - {variant}))


def load_adapted(source: Source, pipeline_class: Any, options: AdaptedOptions) -> Any:
    """
    Load a checkpoint, and apply the options that change weights or graphs.

    Args:
        source: The checkpoint.
        pipeline_class: diffusers' own class.
        options: The plugin's.

    Raises:
        SourceError: diffusers cannot load the checkpoint as that class.
        OptionError: An option does not fit the others or the checkpoint.

    """
    if options.fuse_qkv_projections and options.ip_adapter_ids:
        raise OptionError(
            "fuse_qkv_projections: diffusers has no fused projections for ip_adapter_ids. Try: one of the two."
        )
    with quiet():
        pipeline = load_pipeline(source, pipeline_class, options.variant, **_replacements(options))
        _teach_tokens(pipeline, options)
        _merge_loras(pipeline, pipeline_class, options)
        _add_ip_adapters(pipeline, options)
    if options.freeu is not None:
        pipeline.enable_freeu(**_freeu(options))
    if options.fuse_qkv_projections:
        pipeline.fuse_qkv_projections()
    return pipeline


def _replacements(options: AdaptedOptions) -> dict[str, Any]:
    import diffusers

    found: dict[str, Any] = {}
    if options.unet_id is not None:
        found["unet"] = _load_component("unet_id", options.unet_id, "unet", diffusers.UNet2DConditionModel)
    if options.vae_id is not None:
        found["vae"] = _load_component("vae_id", options.vae_id, "vae", diffusers.AutoencoderKL)
    if isinstance(options, ControlledOptions) and options.controlnet_ids:
        nets = [
            _load_component("controlnet_ids", model, CONTROLNET, diffusers.ControlNetModel)
            for model in options.controlnet_ids
        ]
        found[CONTROLNET] = nets if len(nets) > 1 else nets[0]
    return found


def _load_component(option: str, model: str, name: str, kind: Any) -> Any:
    """Return a component from a directory or a hub id of its own, or from its folder in a whole pipeline's directory."""
    folder = name if (named_directory(model, option) / name / "config.json").is_file() else None
    try:
        own = kind.load_config(model, subfolder=folder).get("_class_name")
        if own in (None, kind.__name__):  # diffusers would load another class's, and leave out what this one lacks
            return kind.from_pretrained(model, subfolder=folder)
    except (OSError, ValueError) as error:
        raise OptionError(f"{option}: {model} cannot be loaded as {kind.__name__}: {error}") from error
    raise OptionError(f"{option}: {model} is of class {own}, and must be of {kind.__name__}.")


def _merge_loras(pipeline: Any, pipeline_class: Any, options: AdaptedOptions) -> None:
    models = options.lora_model_ids or []
    items = "lora_model_ids", len(models)
    files = per_item("lora_weight_names", options.lora_weight_names, *items, None)
    per_item("lora_adapter_names", options.lora_adapter_names, *items, None)  # names matter to nothing else
    scales = per_item("lora_scales", options.lora_scales, *items, 1.0)
    modules = {name: pipeline.components[name] for name in MODULE_PATHS if pipeline.components.get(name) is not None}
    if models:
        try:
            loras = [
                ScaledLora(
                    read(pipeline_class, model, {} if file is None else {"weight_name": file}, pipeline.unet.config),
                    scale,
                )
                for model, file, scale in zip(models, files, scales, strict=True)
            ]
            merge(pipeline_class, modules, loras)
        except (OSError, ValueError) as error:
            raise OptionError(f"lora_model_ids: {error}") from error


def _teach_tokens(pipeline: Any, options: AdaptedOptions) -> None:
    for token, file in as_pairs("textual_inversion", options.textual_inversion).items():
        try:
            _teach_token(pipeline, token, file)
        except (OSError, ValueError) as error:
            raise OptionError(f"textual_inversion: {file} cannot be taught as {token!r}: {error}") from error


def _teach_token(pipeline: Any, token: str, file: str) -> None:
    from safetensors.torch import load_file

    state = load_file(file) if str(file).endswith(".safetensors") else {}
    if "clip_g" in state:
        for key, suffix in (("clip_l", ""), ("clip_g", "_2")):
            encoder = getattr(pipeline, f"text_encoder{suffix}")
            tokenizer = getattr(pipeline, f"tokenizer{suffix}")
            if encoder is not None:
                pipeline.load_textual_inversion(state[key], token=token, text_encoder=encoder, tokenizer=tokenizer)
    else:
        pipeline.load_textual_inversion(str(file), token=token)


def _freeu(options: AdaptedOptions) -> dict[str, float]:
    given = as_pairs("freeu", options.freeu)
    if set(given) != {"b1", "b2", "s1", "s2"}:
        raise OptionError(f"freeu: needs s1, s2, b1 and b2 (got {', '.join(given) or 'none'}).")
    try:
        return {name: float(value) for name, value in given.items()}
    except (TypeError, ValueError) as error:
        raise OptionError(f"freeu: s1, s2, b1 and b2 must be numbers (got {options.freeu!r}).") from error


def _add_ip_adapters(pipeline: Any, options: AdaptedOptions) -> None:
    models = options.ip_adapter_ids or []
    items = "ip_adapter_ids", len(models)
    folders = per_item("ip_adapter_subfolders", options.ip_adapter_subfolders, *items, "")
    files = per_item("ip_adapter_weight_names", options.ip_adapter_weight_names, *items, None)
    scales = per_item("ip_adapter_scales", options.ip_adapter_scales, *items, 1.0)
    if not models:
        return
    if None in files:
        raise OptionError("ip_adapter_weight_names: required with ip_adapter_ids: the file name of each.")
    try:
        pipeline.load_ip_adapter(models, subfolder=folders, weight_name=files)
    except (OSError, ValueError) as error:
        raise OptionError(f"ip_adapter_ids: {', '.join(models)} cannot be loaded: {error}") from error
    pipeline.set_ip_adapter_scale(scales)


def write_files(source: Source, pipeline: Any, compiled: Mapping[str, Any], directory: Path) -> None:
    """
    Write what an artifact needs of a pipeline beside its graphs.

    That is ``model_index.json``, the configuration of every compiled component with the weights of its small eager parts,
    and everything else whole: tokenizers, scheduler, feature extractor, safety checker.

    Args:
        source: The checkpoint, whose settings that only another task's pipeline has are kept for it.
        pipeline: The eager pipeline.
        compiled: The components that are compiled, by folder.
        directory: The artifact's.

    """
    from safetensors.torch import save_file

    pipeline.save_config(directory)
    _keep_settings(directory / "model_index.json", source.config)
    for name, component in {**pipeline.components, **compiled}.items():
        if component is None:
            continue
        folder = directory / name
        if name not in compiled:
            component.save_pretrained(folder)
            continue
        save = getattr(component, "save_config", None) or component.config.save_pretrained
        save(folder)
        if (file := folder / "config.json").is_file():
            _drop_adapters(file)
        kept = SHELLS[type(component).__name__].kept(component)
        tensors = {
            f"{path}.{key}": tensor.detach().clone().contiguous()
            for path in kept
            for key, tensor in component.get_submodule(path).state_dict().items()
        }
        if tensors:
            save_file(tensors, folder / KEPT_FILE)


def _keep_settings(file: Path, config: Mapping[str, Any]) -> None:
    """Add what the checkpoint sets and the class that compiled it has no place for, such as a refiner's aesthetic score."""
    written = json.loads(file.read_text(encoding="utf-8"))
    settings = {name: value for name, value in config.items() if not (name.startswith("_") or isinstance(value, list))}
    file.write_text(json.dumps({**settings, **written}, indent=2) + "\n", encoding="utf-8")


def _drop_adapters(file: Path) -> None:
    """Write a UNet's configuration as it was before IP-Adapters: diffusers cannot build one with them from it."""
    config = json.loads(file.read_text(encoding="utf-8"))
    if config.get("encoder_hid_dim_type") == ADAPTED:
        config["encoder_hid_dim_type"] = None
        file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the progress bars of diffusers and transformers while a checkpoint is loaded."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = [library for library in (diffusers_logging, transformers_logging) if library.is_progress_bar_enabled()]
    for library in libraries:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in libraries:
            library.enable_progress_bar()
