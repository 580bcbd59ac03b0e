"""From token embeddings to one embedding a text: a sentence-transformers checkpoint as one traceable module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import nn

from neuronkit.errors import SourceError
from neuronkit.export.source import MODULES_FILE, optional_settings, read_module_list

TRANSFORMER_CONFIGS = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)
"""Where sentence-transformers keeps the settings of its Transformer module, over the years."""
TRANSFORMER_SETTINGS: dict[str, Any] = {
    "transformer_task": "feature-extraction",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "module_output_name": "token_embeddings",
    "processing_kwargs": {},
    "processor_kwargs": {},
    "tokenizer_args": {},
    "query_length": None,
    "document_length": None,
    "query_expansion": None,
}
"""What its settings say where it returns the hidden states of a text's tokens, cut to its ``max_seq_length``."""

LEGACY_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Fields of older pooling configurations, in the order in which their embeddings are put side by side."""


def cls(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the first token that counts: tokens ``[batch, sequence, hidden]`` -> ``[batch, hidden]``."""
    return _pick(tokens, mask.to(torch.int32).argmax(1))


def lasttoken(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the last token that counts; shapes as for `cls`."""
    positions = torch.arange(mask.shape[1], device=mask.device, dtype=torch.int32)
    return _pick(tokens, (mask.to(torch.int32) * positions).argmax(1))


def max(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the largest value of every feature; shapes as for `cls`."""
    return tokens.masked_fill(mask.unsqueeze(-1) == 0, torch.finfo(tokens.dtype).min).amax(1)


def mean(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean of the tokens; shapes as for `cls`."""
    return _weighted_sum(tokens, mask.float(), power=1.0)


def mean_sqrt_len_tokens(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the sum of the tokens over the root of their number; shapes as for `cls`."""
    return _weighted_sum(tokens, mask.float(), power=0.5)


def weightedmean(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean of the tokens, the first weighted 1, the second 2 and so on; shapes as for `cls`."""
    weights = mask.float().cumsum(1) * mask
    return _weighted_sum(tokens, weights, power=1.0)


def _pick(tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    index = positions.view(-1, 1, 1).expand(-1, 1, tokens.shape[-1])
    return tokens.gather(1, index).squeeze(1)


def _weighted_sum(tokens: torch.Tensor, weights: torch.Tensor, *, power: float) -> torch.Tensor:
    total = (tokens.float() * weights.unsqueeze(-1)).sum(1)
    return (total / weights.sum(1, keepdim=True).clamp(min=1e-9) ** power).to(tokens.dtype)


POOLINGS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    pooling.__name__: pooling for pooling in (cls, max, mean, mean_sqrt_len_tokens, weightedmean, lasttoken)
}


class Pooling(nn.Module):
    """
    Pool token embeddings, in several ways side by side.

    Args:
        modes: Names out of `POOLINGS`.
    """

    def __init__(self, modes: Sequence[str]) -> None:
        super().__init__()
        self.modes = list(modes)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Pool ``[batch, sequence, hidden]`` under a mask ``[batch, sequence]`` to ``[batch, modes * hidden]``."""
        return torch.cat([POOLINGS[mode](tokens, mask) for mode in self.modes], dim=-1)


class Normalize(nn.Module):
    """Scale embeddings to unit length."""

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Normalize ``[batch, features]``."""
        return nn.functional.normalize(embeddings, p=2, dim=-1)


class SentenceEncoder(nn.Module):
    """
    An encoder with the modules behind it.

    Args:
        encoder: Returns `last_hidden_state`.
        pooling: Makes one embedding of it.
        head: Runs on the embedding.
    """

    def __init__(self, encoder: nn.Module, pooling: Pooling, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        self.head = head

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **others: Any) -> dict[str, Any]:
        """
        Encode texts.

        Args:
            input_ids: ``[batch, sequence]``.
            attention_mask: ``[batch, sequence]``; what is not 0 counts.
            **others: The encoder's other inputs, and flags that make it return more.

        Returns:
            `token_embeddings` ``[batch, sequence, hidden]`` and `sentence_embedding` ``[batch, features]``, and what
            the encoder returns of each layer.
        """
        returned = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **others)
        tokens = returned["last_hidden_state"]
        layers = {name: returned[name] for name in ("hidden_states", "attentions") if returned.get(name) is not None}
        embedding = self.head(self.pooling(tokens, attention_mask != 0))
        return {"token_embeddings": tokens, "sentence_embedding": embedding, **layers}


@attrs.frozen
class SentenceModules:
    """
    What a checkpoint says about its sentence embeddings.

    Args:
        transformer: Directory of the encoder.
        pooling: How token embeddings are pooled.
        head: What runs on the pooled embedding, in order.
    """

    transformer: Path
    pooling: Pooling
    head: nn.Sequential

    def wrap(self, encoder: nn.Module) -> SentenceEncoder:
        """Return the encoder with the modules behind it."""
        return SentenceEncoder(encoder, self.pooling, self.head).eval()


def read_modules(path: Path) -> SentenceModules:
    """
    Read the modules of a checkpoint; one without ``modules.json`` is mean-pooled and not normalized.

    Args:
        path: Directory of the checkpoint.

    Raises:
        SourceError: A module, or a setting of one, is not among those that can be compiled, or a file is malformed.
    """
    file = path / MODULES_FILE
    if not file.is_file():
        return SentenceModules(path, Pooling(["mean"]), nn.Sequential())
    transformer: Path | None = None
    pooling: Pooling | None = None
    head: list[nn.Module] = []
    for module in read_module_list(path):
        package, _, name = module.type.rpartition(".")
        folder = path / module.path
        known = package.partition(".")[0] == "sentence_transformers"
        if known and name == "Transformer" and transformer is None:
            _check_transformer(folder)
            transformer = folder
        elif known and name == "Pooling" and transformer and not pooling:
            pooling = _pooling(folder)
        elif known and name == "Normalize" and pooling:
            _check_names(folder)
            head.append(Normalize())
        elif known and name == "Dense" and pooling:
            head += _dense(folder)
        else:
            raise SourceError(
                f"{file} has the module {module.type} in place {module.idx}, which cannot be compiled: a "
                f"Transformer is followed by a Pooling, and that by any of Dense and Normalize."
            )
    if transformer is None:
        raise SourceError(f"{file} names no Transformer module.")
    return SentenceModules(transformer, pooling or Pooling(["mean"]), nn.Sequential(*head))


def _check_transformer(folder: Path) -> None:
    """Refuse settings by which a Transformer module gives something else than the embeddings of a text's own tokens."""
    settings = next((found for name in TRANSFORMER_CONFIGS if (found := optional_settings(folder / name))), {})
    for name, plain in TRANSFORMER_SETTINGS.items():
        value = settings.get(name) or plain
        if value == plain:
            continue
        hint = "\nTry: --task text-classification." if value == "sequence-classification" else ""
        raise SourceError(
            f"{folder} has the setting {name}={value!r}, which changes embeddings and cannot be compiled.{hint}"
        )


def _pooling(folder: Path) -> Pooling:
    config = optional_settings(folder / "config.json")
    named = config.get("pooling_mode")
    legacy = [mode for field, mode in LEGACY_MODES.items() if config.get(field)]
    modes = [named] if isinstance(named, str) else list(named or legacy or ["mean"])
    unknown = [mode for mode in modes if mode not in POOLINGS]
    if unknown:
        raise SourceError(f"{folder} pools by {unknown[0]!r}, which is not known. Known: {', '.join(POOLINGS)}.")
    if not config.get("include_prompt", True):
        raise SourceError(
            f"{folder} leaves the prompt out of the pooling (include_prompt=false), which cannot be compiled."
        )
    return Pooling(modes)


def _dense(folder: Path) -> list[nn.Module]:
    """Return the linear layer of a Dense module and its activation."""
    config = optional_settings(folder / "config.json")
    _check_names(folder)
    if config.get("use_residual"):
        raise SourceError(f"{folder} has a residual connection (use_residual=true), which cannot be compiled.")
    missing = [name for name in ("in_features", "out_features") if not isinstance(config.get(name), int)]
    if missing:
        raise SourceError(f"The config.json of {folder} gives no number of {' and no number of '.join(missing)}.")
    linear = nn.Linear(config["in_features"], config["out_features"], bias=config.get("bias", True))
    weights = {name.removeprefix("linear."): tensor for name, tensor in _weights(folder).items()}
    try:
        linear.load_state_dict(weights)
    except RuntimeError as error:
        raise SourceError(f"The weights of {folder} do not fit its config.json: {error}") from error
    return [linear.float(), _activation(folder, config.get("activation_function") or "torch.nn.Tanh")]


def _activation(folder: Path, name: str) -> nn.Module:
    found = getattr(nn, name.rpartition(".")[2], None) if name.startswith("torch.nn.") else None
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise SourceError(f"{folder} has the activation function {name}, which is not one of torch.nn.")
    return found()


def _check_names(folder: Path) -> None:
    config = optional_settings(folder / "config.json")
    for field in ("module_input_name", "module_output_name"):
        name = config.get(field) or "sentence_embedding"
        if name != "sentence_embedding":
            raise SourceError(f"{folder} works on {name!r} ({field}), and only 'sentence_embedding' can be compiled.")


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor]
    if (folder / "model.safetensors").is_file():
        from safetensors.torch import load_file

        weights = load_file(folder / "model.safetensors")
    elif (folder / "pytorch_model.bin").is_file():
        weights = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    else:
        raise SourceError(f"{folder} has no weights: neither model.safetensors nor pytorch_model.bin.")
    return weights
