"""The text-generation plugin: one wrapper for every decoder that takes transformers' cache."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import torch

from neuronkit.errors import InputError, OptionError
from neuronkit.export import ExportConfig, Tolerance
from neuronkit.export.source import Source, read_generation_settings
from neuronkit.hooks import hookimpl
from neuronkit.processors import Processors
from neuronkit_plugins.text.causal_lm.architectures import longest_text, require_supported
from neuronkit_plugins.text.causal_lm.chats import Chat, as_chats, as_prompts, tokens_of, with_answer
from neuronkit_plugins.text.causal_lm.graph import decoder_graph
from neuronkit_plugins.text.causal_lm.model import NeuronModelForCausalLM
from neuronkit_plugins.text.causal_lm.options import CausalLMOptions
from neuronkit_plugins.text.causal_lm.pieces import text_pieces
from neuronkit_plugins.text.checkpoint import load_model
from neuronkit_plugins.text.raw_input import check_names

_PROMPT_NAMES = ("prompt", "text", "messages")
_INT8_TOLERANCE = Tolerance(fp32=0.1, bf16=0.15, fp16=0.15, relative=True)


@attrs.frozen
class Context:
    """
    What `postprocess` must know of the input.

    Args:
        prompts: The texts, or the chats.
        is_list: Whether a list of them was given.
        width: Tokens of the padded prompts.
        tokenizer: Turns tokens into text.
    """

    prompts: Sequence[str | Chat]
    is_list: bool
    width: int
    tokenizer: Any


class TextGeneration:
    """Every decoder that `AutoModelForCausalLM` loads and a cache of fixed length can serve."""

    @hookimpl
    def options(self) -> type:
        """Return the class of the options."""
        return CausalLMOptions

    @hookimpl
    def default_shapes(self, source: Source) -> dict[str, list[int]]:
        """Take all positions that the model has."""
        longest = longest_text(source.config)
        return {"sequence_length": [longest]} if longest else {}

    @hookimpl
    def export_config(self, source: Source, shapes: Mapping[str, list[int]], options: CausalLMOptions) -> ExportConfig:
        """
        Declare one graph, its cache sized by what the model itself caches.

        Raises:
            SourceError: The architecture cannot be served, or the generation config cannot be read.
            OptionError: Several batch sizes, or more positions than the model has.
        """
        from transformers.modeling_outputs import CausalLMOutput

        from neuronkit_plugins.text.causal_lm.quantization import with_int8_weights

        require_supported(source.config)
        read_generation_settings(source.model_path)
        lengths = shapes["sequence_length"]
        if len(set(shapes["batch_size"])) > 1:
            raise OptionError(
                f"batch_size: one size, because all graphs share one cache (got {shapes['batch_size']}). Fewer rows may be used."
            )
        longest = longest_text(source.config)
        if longest is not None and max(lengths) > longest:
            raise OptionError(f"sequence_length: the model has {longest} positions (got {max(lengths)}).")
        if max(lengths) < 2:
            raise OptionError("sequence_length: at least 2, for a prompt and a new token.")
        model = load_model(source, "AutoModelForCausalLM")
        graph = decoder_graph(
            model,
            lengths,
            rows=max(shapes["batch_size"]),
            pad_token_id=source.pad_token_id,
            all_logits=options.all_logits,
            prefill_chunk=options.prefill_chunk,
            wrap=with_int8_weights if options.weights == "int8" else None,
        )
        tolerance = _INT8_TOLERANCE if options.weights == "int8" else None
        return ExportConfig(load=lambda: model, graphs=[graph], output_class=CausalLMOutput, tolerance=tolerance)

    @hookimpl
    def shell(self, session: Any) -> NeuronModelForCausalLM:
        """Return the public class around a session."""
        return NeuronModelForCausalLM(session)

    @hookimpl
    def preprocess(
        self, inputs: Mapping[str, Any], processors: Processors, options: CausalLMOptions
    ) -> tuple[dict[str, torch.Tensor], Context]:
        """
        Tokenize `prompt`, which may also be called `text`, or `messages` where it is a chat.

        Raises:
            InputError: A name is unknown, `prompt` is missing, given by two names, neither text nor chat or without tokens,
                `messages` are no chat, there are several to stream, or the tokenizer cannot make a text of a chat.
        """
        check_names(inputs, _PROMPT_NAMES, options)
        given = [name for name in _PROMPT_NAMES if inputs.get(name) is not None]
        if not given:
            raise InputError("Text generation needs prompt=...: a text or a list of texts.")
        if len(given) > 1:
            raise InputError(
                f"{given[0]} and {given[1]} are the same, and both were given.\nTry: a list of texts as prompt."
            )
        (name,) = given
        prompts, is_list = as_chats(inputs[name]) if name == "messages" else as_prompts(inputs[name])
        if options.stream and is_list:
            raise InputError(
                "stream: one prompt at a time.\nTry: a call for each prompt, or without stream (--stream)."
            )
        tokenizer = processors.tokenizer
        texts = [tokens_of(prompt, tokenizer) for prompt in prompts]
        for number, (prompt, ids) in enumerate(zip(prompts, texts, strict=True)):
            if not ids:
                raise InputError(f"prompt{f' {number}' if is_list else ''} has no tokens (got {prompt!r}).")
        if not texts:
            return {}, Context([], is_list, 0, tokenizer)
        width = max(map(len, texts))
        pad = next((token for token in (tokenizer.pad_token_id, tokenizer.eos_token_id) if token is not None), 0)
        padded = [[pad] * (width - len(ids)) + ids for ids in texts]
        mask = [[0] * (width - len(ids)) + [1] * len(ids) for ids in texts]
        tensors = {"input_ids": torch.tensor(padded), "attention_mask": torch.tensor(mask)}
        return tensors, Context(prompts, is_list, width, tokenizer)

    @hookimpl
    def call(self, shell: Any, tensors: Mapping[str, torch.Tensor], options: CausalLMOptions) -> Any:
        """
        Generate; with ``stream`` return the tokens as they come.

        Raises:
            InputError: There are several answers or beams to stream, or as `generate`.
        """
        if not tensors:
            return ()
        if not options.stream:
            return shell.generate(**tensors, **options.generation(), return_dict_in_generate=False)
        answers = options.num_return_sequences or shell.generation_config.num_return_sequences or 1
        if answers > 1:
            raise InputError(
                f"stream: one answer at a time, and num_return_sequences is {answers}.\n"
                "Try: num_return_sequences=1 (--num-return-sequences 1), or without stream (--stream)."
            )
        beams = options.num_beams or shell.generation_config.num_beams or 1
        if beams > 1:
            raise InputError(
                f"stream: tokens as they are chosen, and with num_beams={beams} they are known at the end only.\n"
                "Try: num_beams=1 (--num-beams 1), or without stream (--stream)."
            )
        return shell.generate_iter(**tensors, **options.generation())

    @hookimpl
    def postprocess(
        self, outputs: Any, context: Context, options: CausalLMOptions
    ) -> dict[str, Any] | list[Any] | Iterator[str]:
        """
        Return ``{"generated_text"}``, a list for several prompts or several answers a prompt; streamed, pieces of text.

        The whole text of a chat is its messages and the answer's.
        """
        if not context.prompts:
            return []
        if options.stream:
            return text_pieces((new.token_id for new in outputs), context.tokenizer)
        results: list[Any] = []
        answers = len(outputs) // len(context.prompts)
        for row, tokens in enumerate(outputs[:, context.width :].tolist()):
            text = context.tokenizer.decode(tokens, skip_special_tokens=True)
            prompt = context.prompts[row // answers]
            results.append({"generated_text": with_answer(prompt, text) if options.return_full_text else text})
        if answers > 1:
            results = [results[start : start + answers] for start in range(0, len(results), answers)]
        return results if context.is_list else results[0]


plugin = TextGeneration()
