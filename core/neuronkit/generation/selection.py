"""The choice of the next token, by transformers' own logits processors and stopping criteria."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig
from transformers.generation import (
    EosTokenCriteria,
    EpsilonLogitsWarper,
    EtaLogitsWarper,
    LogitsProcessorList,
    MaxLengthCriteria,
    MinPLogitsWarper,
    StoppingCriteriaList,
    SynthIDTextWatermarkLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from neuronkit.errors import InputError
from neuronkit.generation import random_numbers, refusals
from neuronkit.generation.bridge import Bridge
from neuronkit.generation.prompts import vocabulary_of
from neuronkit.generation.values import require_kinds

if TYPE_CHECKING:
    from neuronkit.generation.loop import Record, Request

_TEXTLESS = (
    EpsilonLogitsWarper,
    EtaLogitsWarper,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)
"""Processors that do not look at the text: rows of any lengths go through them together."""
_PIPELINE_DEFAULT = 256
"""The new tokens that transformers' text-generation pipeline asks for itself, which cannot be told from a caller's."""


class Rules:
    """
    What applies to requests whose prompts have one length, and which may become equally long.

    Args:
        processors: Change the scores.
        criteria: Say when to stop, apart from length and end-of-sequence tokens, which the loop counts itself.
        max_length: Of prompt and new tokens together.
        together: They are all requests of the call, and go through processors and criteria together, ended ones too, as in
            transformers: these may tell rows apart, and remember them.
    """

    def __init__(
        self, processors: LogitsProcessorList, criteria: StoppingCriteriaList, max_length: int, together: bool
    ) -> None:
        self.processors = processors
        self.criteria = criteria
        self.max_length = max_length
        self.together = together
        self.needs_text = any(type(processor) not in _TEXTLESS for processor in processors)


class TokenSelector:
    """
    Chooses tokens as a generation config says.

    Args:
        config: With all defaults filled in.
        bridge: Makes transformers' processors and criteria.
        max_seq_length: Slots of the cache.
        stopping_criteria: The caller's own.
        logits_processor: The caller's own.
        prefix_allowed_tokens_fn: From a prompt's number and its tokens to the tokens that may follow.
        tokenizer: For stop strings.
        length_is_given: The caller named a length: more than the cache holds is then an error and no limit.
        generator: Gives the random numbers; None draws from torch's global one.

    Raises:
        InputError: Processors or criteria are not lists of functions.
    """

    def __init__(
        self,
        config: GenerationConfig,
        bridge: Bridge,
        max_seq_length: int,
        stopping_criteria: StoppingCriteriaList | None = None,
        logits_processor: LogitsProcessorList | None = None,
        prefix_allowed_tokens_fn: Callable[[int, torch.Tensor], list[int]] | None = None,
        tokenizer: Any = None,
        length_is_given: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        self.config = config
        self.generator = generator
        self.max_seq_length = max_seq_length
        self._bridge = bridge
        self._criteria = StoppingCriteriaList(refusals.functions("stopping_criteria", stopping_criteria))
        self._processors = LogitsProcessorList(refusals.functions("logits_processor", logits_processor))
        self._prefix = prefix_allowed_tokens_fn
        self._tokenizer = tokenizer
        self._length_is_given = length_is_given
        self._configs: dict[int, GenerationConfig] = {}
        ends = [] if config.eos_token_id is None else torch.as_tensor(config.eos_token_id).flatten().tolist()
        self.eos_token_ids = frozenset(ends)
        # The caller's criteria take the place of those of the same class that the config asks for, as in transformers.
        self._ends = frozenset() if any(type(one) is EosTokenCriteria for one in self._criteria) else self.eos_token_ids
        own = [criterion.max_length for criterion in self._criteria if type(criterion) is MaxLengthCriteria]
        self._own_length = min(own, default=None)
        pad = config.pad_token_id
        self.pad_token_id = int(pad if pad is not None else ends[0] if ends else 0)
        known = vocabulary_of(bridge.config)
        # What the model is given for a row whose text has ended.
        self.idle_token_id = self.pad_token_id if known is None or 0 <= self.pad_token_id < known else 0
        self.beam_pad_token_id = int(pad or (ends[0] if ends else 0))  # transformers' beams take 0 for none
        self.do_sample = bool(config.do_sample)

    @classmethod
    def create(
        cls,
        input_ids: torch.Tensor,
        generation_config: GenerationConfig,
        model: Any,
        max_seq_length: int,
        stopping_criteria: StoppingCriteriaList | None = None,
        **kwargs: Any,
    ) -> TokenSelector:
        """
        Make a selector.

        Args:
            input_ids: The prompts, ``[prompts, width]``.
            generation_config: What to do.
            model: A `neuronkit.models.decoder.NeuronDecoderModel`, for the defaults that its checkpoint sets.
            max_seq_length: Slots of the cache that may be used.
            stopping_criteria: More reasons to stop.
            **kwargs: ``logits_processor``, ``prefix_allowed_tokens_fn``, ``tokenizer``.

        Raises:
            InputError: The config asks for a search (beams, an assistant) and not for one token after the other, or has a value
                that cannot be served.
        """
        refusals.require_config(generation_config)
        bridge = model.bridge()
        with refusals.explained():
            config, _ = bridge._prepare_generation_config(copy.deepcopy(generation_config))
        require_kinds(vars(config))
        refusals.require_counts(config)
        refusals.require_known_tokens(config, model.vocabulary)
        mode = config.get_generation_mode()
        if mode not in ("greedy_search", "sample"):
            raise InputError(
                f"A TokenSelector chooses greedily or samples; the generation config asks for {mode.value}."
            )
        given = generation_config.max_new_tokens is not None or generation_config.max_length is not None
        slots = min(max_seq_length, model.rows.length)
        return cls(config, bridge, slots, stopping_criteria=stopping_criteria, length_is_given=given, **kwargs)

    @property
    def calls_back(self) -> bool:
        """Whether functions of the caller's see the texts."""
        return bool(self._criteria or self._processors or self._prefix is not None)

    @property
    def tells_prompts_apart(self) -> bool:
        """Whether the processors are made for certain prompts, and serve no others of the same length."""
        config = self.config
        return self._prefix is not None or bool(
            config.encoder_repetition_penalty not in (None, 1.0) or config.encoder_no_repeat_ngram_size
        )

    def rules(self, requests: Sequence[Request], max_length: int, *, together: bool) -> Rules:
        """
        Make the rules for requests of one prompt length.

        Args:
            requests: Which.
            max_length: How long each may become.
            together: See `Rules`.

        Raises:
            InputError: An option has a wrong value; or a processor remembers rows, and they do not go through it together.
        """
        length = requests[0].prompt_length
        config = copy.copy(self._config_for(length))
        copies, config.num_return_sequences = config.num_return_sequences or 1, 1
        if self._own_length is None:
            config.max_length = max_length
        numbers = [request.index // copies for request in requests]
        prefix = self._prefix
        masks = [request.mask for request in requests if request.mask is not None]
        with refusals.explained():
            processors = self._bridge._get_logits_processor(
                generation_config=config,
                input_ids_seq_length=length,
                encoder_input_ids=torch.cat([request.history[:, :length] for request in requests]),
                prefix_allowed_tokens_fn=None if prefix is None else lambda row, ids: prefix(numbers[row], ids),
                logits_processor=self._processors,
                device="cpu",
                model_kwargs={"attention_mask": torch.cat(masks)} if masks else {},
            )
            criteria = self._bridge._get_stopping_criteria(
                generation_config=config, stopping_criteria=self._criteria, tokenizer=self._tokenizer
            )
        if not together and any(isinstance(item, SynthIDTextWatermarkLogitsProcessor) for item in processors):
            raise InputError(
                "watermarking_config: SynthID remembers every row, and prompts of several lengths, or more of them than the "
                "model's rows, do not go through it together.\nTry: one prompt a call."
            )
        own = {id(criterion) for criterion in self._criteria}
        counted = (EosTokenCriteria, MaxLengthCriteria)
        extra = [criterion for criterion in criteria if not isinstance(criterion, counted) or id(criterion) in own]
        return Rules(processors, StoppingCriteriaList(extra), max_length, together)

    def _config_for(self, prompt_length: int) -> GenerationConfig:
        """Return the config with the lengths that it comes to for prompts of one length."""
        if prompt_length not in self._configs:
            config = copy.deepcopy(self.config)
            if config.max_length is None and config.max_new_tokens is None:  # None was asked for
                config.max_new_tokens = config._get_default_generation_params()["max_length"]
            self._bridge.prepare_special_tokens(config)
            is_default = config.max_new_tokens is not None or not self._length_is_given
            config = self._bridge.prepare_length(config, prompt_length, is_default=is_default)
            config.max_length = math.ceil(config.max_length)
            self._configs[prompt_length] = config
        return self._configs[prompt_length]

    def max_length(self, request: Request) -> int:
        """
        Return how long a prompt and its new tokens may become: as long as was asked for, or as the cache allows.

        Raises:
            InputError: The prompt, or the prompt and the new tokens that were asked for, do not fit the cache.
        """
        max_length = self._config_for(request.prompt_length).max_length
        given = self._length_is_given
        if self._own_length is not None:
            max_length, given = max(self._own_length, request.prompt_length + 1), True
        length, room = request.prompt_length, self.max_seq_length - request.text.shape[0]
        if room < 1:
            raise InputError(
                f"Prompt {request.index} has {request.text.shape[0]} tokens and the cache has {self.max_seq_length} slots: "
                f"there is no room for a new token.\nTry: a shorter prompt, or compile with a larger sequence_length."
            )
        if max_length <= length:
            raise InputError(
                f"Prompt {request.index} has {length} tokens, and max_length={max_length} leaves no room for a new one.\n"
                f"Try: max_new_tokens."
            )
        wanted = max_length - length
        if wanted > room and given:
            whose = (
                " transformers' pipeline asks for 256 where no length is given." if wanted == _PIPELINE_DEFAULT else ""
            )
            shorter = f"max_new_tokens={room}" if self._own_length is None else f"MaxLengthCriteria({length + room})"
            raise InputError(
                f"Prompt {request.index} has {request.text.shape[0]} tokens; with {wanted} new ones it needs "
                f"{request.text.shape[0] + wanted} slots, and the cache has {self.max_seq_length}.{whose}\n"
                f"Try: {shorter}, a shorter prompt, or compile with a larger sequence_length."
            )
        return length + min(wanted, room)

    def scores(self, requests: Sequence[Request], logits: torch.Tensor) -> torch.Tensor:
        """
        Return processed scores; the logits stay as they are.

        Args:
            requests: One a row.
            logits: ``[rows, vocabulary]``.

        Raises:
            InputError: A processor returns scores of another shape.
        """
        found = self._processed(requests, logits)
        if found.shape != logits.shape:
            raise InputError(
                f"logits_processor must return scores of the shape that it is given, {tuple(logits.shape)} "
                f"(got {tuple(found.shape)})."
            )
        return found

    def _processed(self, requests: Sequence[Request], logits: torch.Tensor) -> torch.Tensor:
        first = requests[0].rules
        if all(request.rules is first for request in requests) and not first.processors:
            return logits
        if all(not request.rules.needs_text for request in requests):
            return first.processors(requests[0].seen, logits.clone())
        groups = _alike(requests)
        if len(groups) == 1:
            found: torch.Tensor = first.processors(torch.cat([request.seen for request in requests]), logits.clone())
            return found
        scores = torch.empty_like(logits)
        for rows in groups:
            text = torch.cat([requests[row].seen for row in rows])
            scores[rows] = requests[rows[0]].rules.processors(text, logits[rows]).to(scores.dtype)
        return scores

    def select(self, scores: torch.Tensor) -> list[int]:
        """
        Return the next token of every row of processed scores.

        Raises:
            InputError: The options leave a row no token to draw.
        """
        if not self.do_sample:
            # NumPy's takes a tenth of the time of torch's, which was a fifth of all that happens between two steps.
            best: list[int] = scores.float().numpy().argmax(axis=-1).tolist()
            return best
        try:
            drawn: list[int] = random_numbers.draw(torch.softmax(scores, dim=-1), self.generator).tolist()
        except RuntimeError:
            refusals.require_drawable(scores, self.config)
            raise
        return drawn

    def stopped(self, requests: Sequence[Request], record: Record | None) -> list[bool]:
        """
        Tell which requests stop after the token that was just added to each.

        Args:
            requests: Which.
            record: Has the scores, if any are kept: criteria see all steps of those, as in transformers.
        """
        found = [request.last in self._ends or request.count >= request.rules.max_length for request in requests]
        if not any(request.rules.criteria for request in requests):
            return found
        for rows in _alike(requests):
            criteria = requests[rows[0]].rules.criteria
            if criteria:
                group = [requests[row] for row in rows]
                scores = None if record is None else record.steps(group)
                for row, stop in zip(
                    rows, criteria(torch.cat([one.seen for one in group]), scores).tolist(), strict=True
                ):
                    found[row] = found[row] or stop
        return found


def _alike(requests: Sequence[Request]) -> list[list[int]]:
    """Group rows whose texts have equal lengths and equal rules: these go through transformers' code together."""
    groups: dict[tuple[int, int], list[int]] = {}
    for row, request in enumerate(requests):
        groups.setdefault((request.count, id(request.rules)), []).append(row)
    return list(groups.values())
