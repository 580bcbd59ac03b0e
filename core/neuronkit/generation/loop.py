"""The loop: one token after the other in every row, and the next prompt where a text has ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import attrs
import torch

from neuronkit.generation.prompts import Prompts
from neuronkit.generation.rows import CacheRows
from neuronkit.generation.selection import Rules, TokenSelector


class Request:
    """
    One prompt on its way.

    Args:
        index: Its number in the call.
        text: Its tokens, ``[tokens]``.
        history: What processors and criteria see as the prompt, ``[1, length]``: the text, or the padded row.
        mask: As `history`, 0 for its padding; None where it has none.
    """

    def __init__(self, index: int, text: torch.Tensor, history: torch.Tensor, mask: torch.Tensor | None = None) -> None:
        self.index = index
        self.text = text
        self.history = history
        self.mask = mask
        self.prompt_length = history.shape[1]
        self.count = self._written = self.prompt_length
        self.new_tokens: list[int] = []
        self.last = -1
        self.finished = False
        self.rules: Rules

    def start(self, rules: Rules) -> None:
        """Take rules, and make room for as many tokens as they allow."""
        self.rules = rules
        room = self.history.new_empty(1, rules.max_length - self.prompt_length)
        self.history = torch.cat([self.history, room], dim=1)

    @property
    def seen(self) -> torch.Tensor:
        """Prompt and new tokens, ``[1, count]``."""
        if self._written < self.count:
            new = self.new_tokens[self._written - self.prompt_length :]
            self.history[0, self._written : self.count] = torch.tensor(new)
            self._written = self.count
        return self.history[:, : self.count]

    @property
    def slot(self) -> int:
        """Where the last token belongs in the cache."""
        return self.text.shape[0] + len(self.new_tokens) - 1

    def add(self, token: int) -> None:
        """Append a token."""
        self.count += 1
        self.new_tokens.append(token)
        self.last = token

    def pad(self, token: int, given: int) -> None:
        """Append padding, for which the model is given a token that it knows."""
        self.add(token)
        self.last = given


@attrs.frozen
class NewToken:
    """
    A token that was just chosen.

    Args:
        index: The number of its prompt; copies of a prompt (``num_return_sequences``) have numbers of their own.
        token_id: The token.
        is_last: Whether its text ends with it.
    """

    index: int
    token_id: int
    is_last: bool


@attrs.define
class Record:
    """
    What a call wants to keep beside the tokens.

    Args:
        scores: By prompt, one tensor ``[vocabulary]`` a step; None keeps none.
        logits: As `scores`, before processing.
    """

    scores: dict[int, list[torch.Tensor]] | None = None
    logits: dict[int, list[torch.Tensor]] | None = None

    def keep(self, requests: list[Request], logits: torch.Tensor, scores: torch.Tensor) -> None:
        """Note one step."""
        for kept, values in ((self.scores, scores), (self.logits, logits)):
            if kept is not None:
                for request, row in zip(requests, values, strict=True):
                    kept.setdefault(request.index, []).append(row.clone())

    def steps(self, requests: list[Request]) -> tuple[torch.Tensor, ...] | None:
        """Return the scores of every step of requests that began together, ``[requests, vocabulary]`` each, if they are kept."""
        if self.scores is None:
            return None
        return tuple(map(torch.stack, zip(*(self.scores[request.index] for request in requests), strict=True)))


def make_requests(prompts: Prompts, selector: TokenSelector, rows: CacheRows) -> list[Request]:
    """
    Return a request a prompt.

    Processors see a text without its padding, so that a prompt's result does not depend on its neighbours. In a batch that runs at
    once they see the padded row, as in transformers, if it is sampled, since its random numbers depend on the neighbours anyway;
    or if some are the caller's own, which may remember rows, or count new tokens from the width of the prompts.
    """
    if len(prompts.texts) > rows.count or not (selector.do_sample or selector.calls_back):
        return [Request(number, text, text.unsqueeze(0)) for number, text in enumerate(prompts.texts)]
    given = prompts.input_ids.split(1)
    masks = [None] * len(given) if prompts.mask is None else prompts.mask.split(1)
    return [Request(number, *parts) for number, parts in enumerate(zip(prompts.texts, given, masks, strict=True))]


def start(requests: list[Request], selector: TokenSelector, rows: CacheRows) -> None:
    """
    Give requests their rules, every length checked before anything runs.

    Those of equal lengths share them; where all do and fit the rows, they go through processors and criteria together.

    Raises:
        InputError: A prompt does not fit the cache with its new tokens, or a processor cannot serve these prompts.
    """
    groups: dict[tuple[int, int], list[Request]] = {}
    for request in requests:
        groups.setdefault((request.prompt_length, selector.max_length(request)), []).append(request)
    together = len(groups) == 1 and len(requests) <= rows.count
    for (_, max_length), group in groups.items():
        apart = not together and (selector.tells_prompts_apart or group[0].mask is not None)
        for part in [[request] for request in group] if apart else [group]:
            rules = selector.rules(part, max_length, together=together)
            for request in part:
                request.start(rules)


def run(
    requests: list[Request], selector: TokenSelector, rows: CacheRows, record: Record | None = None
) -> Iterator[list[NewToken]]:
    """
    Generate, yielding the new tokens of every step.

    Args:
        requests: Any number; they are changed.
        selector: Chooses the tokens.
        rows: Where the texts are kept.
        record: Filled with scores or logits.

    Raises:
        InputError: Another call used the rows between two steps.
    """
    run_all = _run_wave if len(requests) <= rows.count else _run_queue
    steps = run_all(requests, selector, rows, record)
    user = object()
    with rows.turns.begin(user):
        found = next(steps, None)
    while found is not None:
        yield found
        with rows.turns.resume(user):
            found = next(steps, None)


def _run_wave(
    requests: list[Request], selector: TokenSelector, rows: CacheRows, record: Record | None
) -> Iterator[list[NewToken]]:
    """Generate for as many prompts as fit; ended ones go on taking part in the sampling, as in transformers."""
    logits = rows.prefill([request.text for request in requests])
    while True:
        found = _choose(requests, selector, logits, record)
        yield found
        if all(request.finished for request in requests):
            return
        tokens = [request.last for request in requests]
        slots = [rows.length if one.finished and not one.rules.together else one.slot for one in requests]
        logits = rows.step(tokens, slots)


def _run_queue(
    requests: list[Request], selector: TokenSelector, rows: CacheRows, record: Record | None
) -> Iterator[list[NewToken]]:
    """Generate for more prompts than fit: a row whose text has ended takes the next prompt at once."""
    waiting = deque(requests)
    held: list[Request | None] = [None] * rows.count
    while True:
        for row in range(rows.count):
            while held[row] is None and waiting:
                request = waiting.popleft()
                yield _choose([request], selector, rows.prefill([request.text], row), record)
                held[row] = None if request.finished else request
        running = [request for request in held if request is not None]
        if not running:
            return
        used = max(row for row, request in enumerate(held) if request is not None) + 1
        tokens = [request.last if request else selector.idle_token_id for request in held[:used]]
        slots = [request.slot if request else rows.length for request in held[:used]]
        logits = rows.step(tokens, slots)
        if len(running) < used:
            logits = logits[[row for row in range(used) if held[row] is not None]]
        yield _choose(running, selector, logits, record)
        held = [None if request is None or request.finished else request for request in held]


def _choose(
    requests: list[Request], selector: TokenSelector, logits: torch.Tensor, record: Record | None
) -> list[NewToken]:
    """Choose a token for every request that has not ended, and see which end with it."""
    part = [row for row, request in enumerate(requests) if not request.finished or request.rules.together]
    chosen = [requests[row] for row in part]
    if len(part) == len(requests):
        scores = selector.scores(requests, logits)
    else:
        # Ended rows take part in the sampling with scores of their own, so that the others get the numbers that they would.
        scores = torch.zeros_like(logits)
        scores[part] = selector.scores(chosen, logits[part])
    if record is not None:
        record.keep(chosen, logits[part], scores[part])
    tokens = selector.select(scores)
    going = [request for request in chosen if not request.finished]
    for row, request in zip(part, chosen, strict=True):
        if request.finished:
            request.pad(selector.pad_token_id, selector.idle_token_id)
        else:
            request.add(tokens[row])
    stops = selector.stopped(chosen, record)
    for request, stop in zip(chosen, stops, strict=True):
        request.finished = request.finished or stop
    return [NewToken(request.index, request.last, request.finished) for request in going]
