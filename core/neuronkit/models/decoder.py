"""The base of the public classes that generate text."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from functools import cached_property, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from transformers import GenerationConfig
from transformers.generation import GenerationMixin

from neuronkit.errors import InputError
from neuronkit.generation import defaults, loop, random_numbers, refusals
from neuronkit.generation.bridge import Bridge
from neuronkit.generation.loop import NewToken, Record
from neuronkit.generation.prompts import Prompts, as_ids, read_prompts, vocabulary_of
from neuronkit.generation.results import as_output, join
from neuronkit.generation.rows import CacheRows
from neuronkit.generation.selection import TokenSelector
from neuronkit.generation.values import require_kinds
from neuronkit.models.base import NeuronBaseModel

_EXTRAS = (
    "logits_processor",
    "prefix_allowed_tokens_fn",
    "streamer",
    "tokenizer",
    "assistant_model",
    "assistant_tokenizer",
)
"""Arguments that are no fields of a generation config."""
_LENGTHS = ("max_length", "max_new_tokens")
_ONE_BY_ONE = ("greedy_search", "sample")
_BEAMS = ("beam_search", "beam_sample")


class NeuronDecoderModel(NeuronBaseModel):
    """A compiled decoder with a cache of fixed length: one token after the other, for any number of prompts."""

    graph_name: ClassVar[str] = "decoder"

    @cached_property
    def generation_config(self) -> Any:
        """The checkpoint's defaults for generation; may be changed and assigned. `save_pretrained` writes them."""
        return defaults.read(self.model_save_dir, self.config)

    @cached_property
    def rows(self) -> CacheRows:
        """The rows of the cache."""
        return CacheRows(self.session, self.graph_name)

    @property
    def limits(self) -> dict[str, int]:
        """The number of rows (``batch``) and of tokens in one (``sequence``)."""
        found = super().limits
        return {**found, "sequence": found["cache"]}

    def can_generate(self) -> bool:
        """Tell that `generate` works."""
        return True

    def bridge(self) -> Bridge:
        """Return the model as transformers' `GenerationMixin` sees it."""
        refusals.require_own_config(self.generation_config)
        return Bridge(self.config, self.generation_config, self.rows)

    def _save_own(self, directory: Path) -> None:
        if defaults.plain(self.generation_config) != defaults.read(self.model_save_dir, self.config):
            defaults.write(self.generation_config, directory)

    def compute_transition_scores(
        self,
        sequences: torch.Tensor,
        scores: tuple[torch.Tensor, ...],
        beam_indices: torch.Tensor | None = None,
        normalize_logits: bool = False,
    ) -> torch.Tensor:
        """
        Return the scores of the tokens that `generate` chose; see transformers' method of that name.

        Args:
            sequences: ``[prompts, width + new tokens]``, as `generate` returned them.
            scores: Those of every step, with ``return_dict_in_generate`` and ``output_scores``.
            beam_indices: Of a beam search.
            normalize_logits: Take log probabilities.

        Returns:
            ``[prompts, new tokens]``.
        """
        return self.bridge().compute_transition_scores(sequences, scores, beam_indices, normalize_logits)

    @property
    def vocabulary(self) -> int | None:
        """The number of tokens that the model knows."""
        return vocabulary_of(self.config)

    @torch.no_grad()
    def generate(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        generation_config: Any = None,
        stopping_criteria: Any = None,
        **kwargs: Any,
    ) -> Any:
        """
        Generate text.

        More prompts than the model was compiled for are scheduled over its rows. Without sampling, and without functions of the
        caller's, every prompt gets the result that it would have alone, whatever its neighbours and its padding. A call from
        another thread waits until this one has ended.

        A caller's processors and criteria see all rows at every step, padding included, as in transformers, where the prompts fit
        the rows. Elsewhere they see some rows at a time, and must neither remember anything nor tell rows apart by their number.

        Args:
            input_ids: ``[prompts, width]``; None begins with the model's bos token.
            attention_mask: 1 for tokens, 0 for padding on either side; None asks the pad token, as transformers does. A
                `GenerationConfig` in this place is taken for `generation_config`, whose place it is in transformers.
            generation_config: What to do; None takes the checkpoint's defaults.
            stopping_criteria: transformers' `StoppingCriteriaList`.
            **kwargs: Fields of `GenerationConfig`, and ``logits_processor``, ``prefix_allowed_tokens_fn``, ``streamer``,
                ``tokenizer`` (the model's own, for ``stop_strings``; None takes the artifact's), ``assistant_model`` and, where
                its vocabulary is another, ``assistant_tokenizer``, ``seed`` (a whole number of 64 bits, for the random
                numbers of this call alone; None draws from torch's global generator).

        Returns:
            ``[prompts, width + new tokens]``, padded after the end of a text; with ``return_dict_in_generate`` what
            transformers returns.

        Raises:
            InputError: A prompt is empty or does not fit, there is none, or an option cannot be served.
        """
        call = self._call(input_ids, attention_mask, generation_config, stopping_criteria, kwargs)
        if call.mode not in _ONE_BY_ONE:
            return self._search(call)
        prompts = call.prompts.repeated(call.config.num_return_sequences)
        streamer = call.extras.get("streamer")
        if streamer is not None:
            streamer.put(prompts.input_ids)
        record = None
        if call.config.return_dict_in_generate:
            record = Record({} if call.config.output_scores else None, {} if call.config.output_logits else None)
        requests = loop.make_requests(prompts, call.selector, self.rows)
        loop.start(requests, call.selector, self.rows)
        with self.session.turns.begin():
            for found in loop.run(requests, call.selector, self.rows, record):
                if streamer is not None:
                    tokens = torch.full((len(requests),), call.selector.pad_token_id)
                    for new in found:
                        tokens[new.index] = new.token_id
                    streamer.put(tokens)
        if streamer is not None:
            streamer.end()
        sequences = join(prompts, [request.new_tokens for request in requests], call.selector.pad_token_id)
        return sequences if record is None else as_output(sequences, record, len(requests))

    @torch.no_grad()
    def generate_iter(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        generation_config: Any = None,
        stopping_criteria: Any = None,
        **kwargs: Any,
    ) -> Iterator[NewToken]:
        """
        Generate text, and yield every token as it is chosen.

        The model has one cache: a call that begins before this one has ended takes it away.

        Args:
            input_ids: As for `generate`.
            attention_mask: As for `generate`.
            generation_config: As for `generate`.
            stopping_criteria: As for `generate`.
            **kwargs: As for `generate`, without ``streamer`` and searches.

        Raises:
            InputError: As `generate`, before the first token; later, where another call took the cache.
        """
        call = self._call(input_ids, attention_mask, generation_config, stopping_criteria, kwargs)
        if call.mode not in _ONE_BY_ONE:
            raise InputError(
                f"generate_iter yields tokens as they are chosen, and {call.mode} chooses them at its end."
            )
        if "streamer" in call.extras:
            raise InputError("streamer: generate_iter yields the tokens itself. Try: generate, which takes a streamer.")
        prompts = call.prompts.repeated(call.config.num_return_sequences)
        requests = loop.make_requests(prompts, call.selector, self.rows)
        loop.start(requests, call.selector, self.rows)
        steps = loop.run(requests, call.selector, self.rows)
        return (new for found in steps for new in found)

    @torch.no_grad()
    def generate_tokens(
        self,
        input_ids: torch.Tensor,
        selector: TokenSelector,
        batch_size: int,
        attention_mask: torch.Tensor | None = None,
        **model_kwargs: Any,
    ) -> torch.Tensor:
        """
        Generate text with a selector that was made before.

        Args:
            input_ids: ``[prompts, width]``.
            selector: From `TokenSelector.create`.
            batch_size: The number of prompts.
            attention_mask: 1 for tokens, 0 for padding.
            **model_kwargs: None are known.

        Raises:
            InputError: `batch_size` is not the number of prompts, or as `generate`.
        """
        if model_kwargs:
            raise InputError(f"generate_tokens does not take {sorted(model_kwargs)[0]!r}.")
        prompts = read_prompts(input_ids, attention_mask, self.vocabulary)
        if batch_size != len(prompts.texts):
            raise InputError(f"batch_size is {batch_size}, and input_ids has {len(prompts.texts)} prompts.")
        requests = loop.make_requests(prompts, selector, self.rows)
        loop.start(requests, selector, self.rows)
        with self.session.turns.begin():
            for _ in loop.run(requests, selector, self.rows):
                pass
        return join(prompts, [request.new_tokens for request in requests], selector.pad_token_id)

    def _call(
        self,
        input_ids: Any,
        attention_mask: Any,
        generation_config: Any,
        stopping_criteria: Any,
        kwargs: dict[str, Any],
    ) -> _Call:
        kwargs = dict(kwargs)
        generator = random_numbers.own(kwargs.pop("seed", None))
        if isinstance(attention_mask, GenerationConfig) and generation_config is None:
            attention_mask, generation_config = None, attention_mask  # the second place in transformers
        if (inputs := kwargs.pop("inputs", None)) is not None:
            if input_ids is not None:
                raise InputError("generate takes input_ids or inputs, which are the same, and got both.")
            input_ids = inputs
        refusals.require_config(generation_config)
        refusals.require_watermark(kwargs.get("watermarking_config"))
        extras = {name: kwargs.pop(name) for name in _EXTRAS if name in kwargs}
        for ignored in ("use_cache", "synced_gpus"):
            kwargs.pop(ignored, None)
        asked = [name for name in refusals.OUTPUTS if kwargs.get(name) or getattr(generation_config, name, None)]
        given = generation_config is not None and any(getattr(generation_config, name) is not None for name in _LENGTHS)
        given = given or any(kwargs.get(name) is not None for name in _LENGTHS)
        bridge = self.bridge()
        require_kinds(kwargs)
        with refusals.explained():
            config, unknown = bridge._prepare_generation_config(generation_config, **kwargs)
        require_kinds(vars(config))
        refusals.require_known(unknown, _EXTRAS)
        config.num_return_sequences = config.num_return_sequences or 1
        refusals.require_servable(config, asked, extras)
        refusals.require_known_tokens(config, self.vocabulary)
        for name in refusals.OUTPUTS:
            setattr(config, name, False)
        config.num_beams = config.num_beams or 1
        if input_ids is None:
            if config.bos_token_id is None:
                raise InputError("generate needs input_ids: the model has no bos token to begin with.")
            input_ids = torch.tensor([[config.bos_token_id]])
        input_ids = as_ids(input_ids)
        if attention_mask is None and input_ids.dim() == 2 and input_ids.numel():
            bridge.prepare_special_tokens(config)
            attention_mask = bridge._prepare_attention_mask_for_generation(input_ids, config, {})
        prompts = read_prompts(input_ids, attention_mask, self.vocabulary)
        if config.token_healing:
            prompts = self._healed(prompts, extras.get("tokenizer") or self.tokenizer, generator)
            config.token_healing = False
        needs_tokenizer = config.stop_strings is not None or extras.get("assistant_tokenizer") is not None
        if extras.get("tokenizer") is None and needs_tokenizer:
            extras["tokenizer"] = self.tokenizer
        extras = {name: value for name, value in extras.items() if value is not None}
        mode = config.get_generation_mode(extras.get("assistant_model"))
        if "streamer" in extras:
            count = len(prompts.texts) * config.num_return_sequences
            refusals.require_streamable(str(mode.value), count, self.rows.count)
        with refusals.explained():
            bridge._validate_generation_mode(mode, config, extras)
        selector = TokenSelector(
            _plain(config),
            bridge,
            self.rows.length,
            stopping_criteria=stopping_criteria,
            logits_processor=extras.get("logits_processor"),
            prefix_allowed_tokens_fn=extras.get("prefix_allowed_tokens_fn"),
            tokenizer=extras.get("tokenizer"),
            length_is_given=given,
            generator=generator,
        )
        return _Call(prompts, config, str(mode.value), selector, bridge, extras, stopping_criteria)

    def _healed(self, prompts: Prompts, tokenizer: Any, generator: torch.Generator | None) -> Prompts:
        """Return prompts whose last tokens transformers' healing chose anew; it calls `generate` for one token each."""
        generates = SimpleNamespace(generate=partial(self.generate, seed=generator))
        healed = GenerationMixin.heal_tokens(generates, prompts.input_ids.clone(), tokenizer)
        if prompts.mask is not None and healed.shape != prompts.input_ids.shape:
            raise InputError(
                f"token_healing: the tokenizer makes {tuple(healed.shape)} tokens of the prompts, and the attention mask is of "
                f"{tuple(prompts.input_ids.shape)}.\nTry: one prompt a call."
            )
        return read_prompts(healed, prompts.mask, self.vocabulary)

    def _search(self, call: _Call) -> Any:
        """Run a search of transformers, in as many groups of prompts of one length as the rows hold."""
        config, prompts = call.config, call.prompts
        if call.mode == "assisted_generation":
            call.bridge.require_all_logits("Assisted generation")
        elif call.mode not in _BEAMS:
            raise InputError(f"{call.mode} is not supported. Try: greedy, sampling, num_beams, or assistant_model.")
        needed = max(config.num_beams, config.num_return_sequences)
        if needed > self.rows.count:
            raise InputError(
                f"num_beams={config.num_beams} with num_return_sequences={config.num_return_sequences} needs {needed} rows, "
                f"and the model was compiled for {self.rows.count}.\nTry: compile with batch_size={needed}."
            )
        together = self.rows.count // needed if prompts.are_even and call.mode in _BEAMS else 1
        starts = range(0, len(prompts.texts), together)
        if config.return_dict_in_generate and len(starts) > 1:
            raise InputError(
                f"return_dict_in_generate: a search returns it for {together} prompts at most (got {len(prompts.texts)})."
            )
        probes = loop.make_requests(prompts, call.selector, self.rows)
        counts = [
            call.selector.max_length(probe) - probe.prompt_length for probe in probes
        ]  # checked before anything runs
        call.selector.rules(probes[:1], counts[0] + probes[0].prompt_length, together=True)  # so are the options
        generator = call.selector.generator
        draws = config.do_sample or generator is not None
        new_tokens: list[list[int]] = []
        for start in starts:
            group = prompts.only(start, start + together)
            settings = _plain(config)
            width = group.input_ids.shape[1]
            settings.max_new_tokens, settings.max_length = counts[start], None
            extras = dict(call.extras)
            if (allowed := extras.get("prefix_allowed_tokens_fn")) is not None:
                extras["prefix_allowed_tokens_fn"] = _numbered_from(start, allowed)
            user = object()
            with self.session.turns.begin(user), random_numbers.lent(generator) if draws else nullcontext():
                found = call.bridge.search(
                    group.input_ids, generation_config=settings, stopping_criteria=call.criteria, **extras
                )
                with self.session.turns.resume(user):
                    pass  # a criterion that called the model took the cache from the search
            if config.return_dict_in_generate:
                return found
            new_tokens += found[:, width:].tolist()
        selector = call.selector
        pad_token_id = selector.beam_pad_token_id if call.mode in _BEAMS else selector.pad_token_id
        return join(prompts.repeated(config.num_return_sequences), new_tokens, pad_token_id)


class _Call:
    """One call of `generate`, its arguments sorted out."""

    def __init__(
        self,
        prompts: Prompts,
        config: Any,
        mode: str,
        selector: TokenSelector,
        bridge: Bridge,
        extras: Mapping[str, Any],
        criteria: Any,
    ) -> None:
        self.prompts = prompts
        self.config = config
        self.mode = mode
        self.selector = selector
        self.bridge = bridge
        self.extras = extras
        self.criteria = criteria


def _numbered_from(start: int, allowed: Callable[[int, Any], Any]) -> Callable[[int, Any], Any]:
    """Let a function of a prompt's number serve some of the prompts, which a search counts from 0."""
    return lambda number, tokens: allowed(start + number, tokens)


def _plain(config: Any) -> Any:
    """Return a copy of a config without the tensors that transformers hangs on it."""
    copied = copy.copy(config)
    for name in [name for name in vars(copied) if name.endswith("_token_tensor")]:
        delattr(copied, name)
    return copied
