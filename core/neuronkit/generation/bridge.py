"""transformers' `GenerationMixin` over our cache: it makes processors and criteria, and runs beam and assisted search."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.cache_utils import Cache
from transformers.generation import GenerationMixin, LogitsProcessor, LogitsProcessorList
from transformers.utils import ModelOutput

from neuronkit.errors import InputError
from neuronkit.generation.refusals import require_drawable
from neuronkit.generation.rows import CacheRows

CACHE = next(
    name
    for name in ("cache", "past_key_values")
    if name in inspect.signature(GenerationMixin.prepare_inputs_for_generation).parameters
)
"""What the mixin calls the cache: transformers renamed it within version 5."""


class RowsCache(Cache):
    """
    What a search may do to the cache: count, reorder, take tokens back.

    Args:
        rows: The rows; a search uses the first of them.
    """

    is_croppable = True

    def __init__(self, rows: CacheRows) -> None:
        super().__init__(layers=[])
        self.rows = rows
        self.seen = 0

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return how many tokens each row holds."""
        return self.seen

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Let every beam go on from the one that it came from."""
        self.rows.reorder(beam_idx)

    def crop(self, max_length: int, *args: Any, **kwargs: Any) -> None:
        """Keep the first tokens; 0 or less says how many to take back."""
        self.seen = max_length if max_length > 0 else self.seen + max_length

    def activate_past_recording(self) -> None:
        """Do nothing: what was written stays until it is written over."""


class Bridge(GenerationMixin):
    """
    A model as the mixin sees it, with one even batch of prompts in the first rows of the cache.

    Args:
        config: The model's configuration.
        generation_config: The model's defaults.
        rows: Runs the tokens.
    """

    main_input_name = "input_ids"
    _is_stateful = False
    base_model_prefix = "model"

    def __init__(self, config: Any, generation_config: GenerationConfig, rows: CacheRows) -> None:
        self.config = config
        self.generation_config = generation_config
        self.device = torch.device("cpu")
        self.dtype = torch.float32
        self.hf_device_map: dict[str, Any] = {}
        self.rows = rows

    def get_experts_implementation(self) -> dict[str, str]:
        """Return nothing: whatever experts there are were compiled."""
        return {}

    def prepare_special_tokens(self, config: GenerationConfig) -> None:
        """Turn the special tokens of a config into tensors, as processors want them."""
        self._prepare_special_tokens(config, device=torch.device("cpu"))

    def prepare_length(self, config: GenerationConfig, prompt_length: int, *, is_default: bool) -> GenerationConfig:
        """Turn ``max_new_tokens`` and ``min_new_tokens`` into lengths."""
        ours = self.generation_config
        return self._prepare_generated_length(
            generation_config=config,
            has_default_max_length=is_default and ours.max_length is None,
            has_default_min_length=ours.min_length is None and not config.min_length,
            model_input_name="input_ids",
            input_ids_length=prompt_length,
            inputs_tensor=torch.empty(1, prompt_length),
        )

    def search(self, input_ids: torch.Tensor, generation_config: GenerationConfig, **kwargs: Any) -> Any:
        """
        Run `GenerationMixin.generate`.

        Args:
            input_ids: Prompts without padding; with their beams they must fit the rows.
            generation_config: With all defaults filled in; what is None in it stays None.
            **kwargs: For `generate`.

        Returns:
            What it returns, without the cache: that is the model's own.

        Raises:
            InputError: The graph gives the last position's logits only, and the search needs those of every position; or the
                options leave no token to draw.
        """
        search = _Search(self.config, self.generation_config, self.rows)
        mask = torch.ones_like(input_ids)
        with torch.no_grad():
            try:
                found = GenerationMixin.generate(search, input_ids, generation_config, attention_mask=mask, **kwargs)
            except RuntimeError:
                if generation_config.do_sample and search.last.scores is not None:
                    require_drawable(search.last.scores, generation_config)
                raise
        if isinstance(found, torch.Tensor):
            return found
        return type(found)(**{name: value for name, value in found.items() if name != CACHE})

    def _prepare_cache_for_generation(self, generation_config: Any, model_kwargs: dict[str, Any], *args: Any) -> None:
        model_kwargs[CACHE] = RowsCache(self.rows)

    def prepare_inputs_for_generation(
        self,
        input_ids: torch.Tensor,
        next_sequence_length: int | None = None,
        cache: Any = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Return the tokens that the cache does not hold yet."""
        cache = past_key_values if cache is None else cache
        return {"input_ids": input_ids[:, cache.get_seq_length() :], "cache": cache}

    def forward(
        self,
        input_ids: torch.Tensor,
        cache: RowsCache,
        return_dict: bool = True,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
    ) -> ModelOutput:
        """
        Run tokens that follow those in the cache.

        Drafts may go beyond the last slot by a token whose logits nobody reads: it goes to the spare one. Mask and positions
        follow from the cache; they are taken because the mixin makes them only for a model that does, and a draft model needs
        those that it makes.
        """
        count, tokens = input_ids.shape
        length = self.rows.length
        slots = torch.arange(cache.seen, cache.seen + tokens).clamp(max=length).repeat(count, 1)
        logits = self.rows.run(input_ids, slots, torch.full((count,), tokens - 1), min(cache.seen + tokens, length))
        cache.seen += tokens
        return ModelOutput({"logits": logits if self.rows.all_logits else logits[:, None], CACHE: cache})

    __call__ = forward

    def require_all_logits(self, what: str) -> None:
        """
        Refuse what needs the logits of every position.

        Raises:
            InputError: The graph returns one position a row.
        """
        if not self.rows.all_logits:
            raise InputError(
                f"{what} checks several tokens at once, and the model was compiled to return the logits of the last one.\n"
                f"Try: compile with all_logits=True (--all-logits)."
            )


class _LastScores(LogitsProcessor):
    """Keeps the scores that a search draws from next, and changes nothing."""

    def __init__(self) -> None:
        self.scores: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.scores = scores
        return scores


class _Search(Bridge):
    """Takes a generation config as it is, where the mixin would put the model's defaults in place of every None."""

    def __init__(self, config: Any, generation_config: GenerationConfig, rows: CacheRows) -> None:
        super().__init__(config, generation_config, rows)
        self.last = _LastScores()

    def _get_logits_processor(self, *args: Any, **kwargs: Any) -> LogitsProcessorList:
        return LogitsProcessorList([*super()._get_logits_processor(*args, **kwargs), self.last])

    def _prepare_generation_config(
        self, generation_config: GenerationConfig, **kwargs: Any
    ) -> tuple[GenerationConfig, dict[str, Any]]:
        config = copy.deepcopy(generation_config)
        config.prefill_chunk_size = None  # the rows take prompts of any length
        if config.length_penalty is None:
            config.length_penalty = config._get_default_generation_params()["length_penalty"]
        if config.eos_token_id is not None and not torch.as_tensor(config.eos_token_id).numel():
            config.eos_token_id = None
        return config, kwargs
