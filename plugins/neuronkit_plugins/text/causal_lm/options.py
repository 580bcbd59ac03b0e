"""The options of text generation."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from neuronkit.options import option
from neuronkit_plugins.text.causal_lm.graph import PREFILL_CHUNK

_OWN = ("weights", "all_logits", "prefill_chunk", "stream", "seed", "return_full_text")


@attrs.frozen(kw_only=True)
class CausalLMOptions:
    """What a compile and a call may set. What is None is left to the checkpoint's generation config."""

    weights: str | None = option(None, stage="compile", choices=("int8",), help="Store linear layers in eight bits.")
    all_logits: bool = option(
        False, stage="compile", help="Return the logits of every position, which assisted generation needs."
    )
    prefill_chunk: int = option(
        PREFILL_CHUNK,
        stage="compile",
        minimum=1,
        help="Tokens of a prompt that go through a Neuron graph together; no matter on cpu.",
    )
    max_new_tokens: int | None = option(None, stage="call", minimum=1, help="Tokens to generate at most.")
    min_new_tokens: int | None = option(None, stage="call", minimum=0, help="Tokens to generate at least.")
    max_length: int | None = option(None, stage="call", minimum=1, help="Tokens of prompt and answer at most.")
    min_length: int | None = option(None, stage="call", minimum=0, help="Tokens of prompt and answer at least.")
    do_sample: bool | None = option(None, stage="call", help="Draw tokens instead of taking the likeliest.")
    temperature: float | None = option(None, stage="call", help="Above 1 flattens the distribution, below sharpens it.")
    top_k: int | None = option(None, stage="call", help="Draw among this many tokens.")
    top_p: float | None = option(None, stage="call", help="Draw among the likeliest tokens of this probability.")
    min_p: float | None = option(None, stage="call", help="Least probability, relative to the likeliest token's.")
    typical_p: float | None = option(None, stage="call", help="Draw among the typical tokens of this probability.")
    repetition_penalty: float | None = option(None, stage="call", help="Above 1 makes repetition less likely.")
    no_repeat_ngram_size: int | None = option(None, stage="call", help="No sequence of this many tokens twice.")
    num_beams: int | None = option(None, stage="call", minimum=1, help="Beams of a beam search.")
    length_penalty: float | None = option(None, stage="call", help="Above 0 favours longer beams, below shorter ones.")
    early_stopping: bool | Literal["never"] | None = option(
        None, stage="call", help="true ends a beam search with the first texts, never when none better can come."
    )
    num_return_sequences: int | None = option(None, stage="call", minimum=1, help="Answers a prompt.")
    eos_token_id: list[int] | int | None = option(None, stage="call", help="Tokens that end the answer.")
    stop_strings: str | list[str] | None = option(
        None, stage="call", help="A text that ends the answer, commas and all, or a list of such texts."
    )
    seed: int | None = option(None, stage="call", help="Of the random numbers, 64 bits at most.")
    stream: bool = option(False, stage="call", help="Return an iterator of pieces of text, for one prompt.")
    return_full_text: bool = option(True, stage="call", help="Begin the result with the prompt.")

    def generation(self) -> dict[str, Any]:
        """Return the fields of `GenerationConfig` that were set."""
        values = attrs.asdict(self, filter=lambda field, value: field.name not in _OWN and value is not None)
        return values if self.seed is None else {**values, "seed": self.seed}
