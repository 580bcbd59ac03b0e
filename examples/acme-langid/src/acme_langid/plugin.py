"""The plugin: how neuronkit compiles a `ByteConv`, what it is fed with, and what its scores mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import torch

from acme_langid.model import ByteConv
from acme_langid.tokenizer import PAD, VOCABULARY, ByteTokenizer, pad, split
from neuronkit import InputError, hookimpl
from neuronkit.export import ExportConfig, Graph, Input, Output
from neuronkit.export.source import Source
from neuronkit.options import option
from neuronkit.processors import Processors


@attrs.frozen(kw_only=True)
class LanguageOptions:
    """What a call accepts beside the text."""

    top_k: int | None = option(1, stage="call", minimum=1, help="How many languages to name; none names all of them.")


@attrs.frozen
class Texts:
    """
    What `postprocess` must know of the texts.

    Args:
        labels: Names of the languages.
        windows: The number of bytes of each window of each text.
        is_list: Whether a list was given.
    """

    labels: list[str]
    windows: list[list[int]]
    is_list: bool


class LanguageIdentification:
    """The languages of texts. A text of any length is read, in windows of the compiled length."""

    @hookimpl
    def options(self) -> type:
        """Return the class of the options."""
        return LanguageOptions

    @hookimpl
    def default_shapes(self) -> dict[str, list[int]]:
        """Read 256 bytes at a time, unless the caller says otherwise."""
        return {"sequence_length": [256]}

    @hookimpl
    def export_config(self, source: Source) -> ExportConfig:
        """Declare one graph, from bytes to the score of every language."""
        model = ByteConv.load(source.path)
        graph = Graph(
            name="classifier",
            kind="encoder",
            inputs=[
                Input("byte_ids", ["batch", "sequence"], pad_value=PAD, table_size=VOCABULARY),
                Input("mask", ["batch", "sequence"], default=1),
            ],
            outputs=[Output("logits", ["batch", len(model.config.labels)])],
        )
        return ExportConfig(load=lambda: model, graphs=[graph])

    @hookimpl
    def preprocess(self, inputs: Mapping[str, Any], processors: Processors) -> tuple[dict[str, torch.Tensor], Texts]:
        """
        Turn ``text``, or a list of them, into windows of bytes.

        Raises:
            InputError: Something else was given, or a text is empty.
        """
        unknown = sorted(set(inputs) - {"text"})
        if unknown or "text" not in inputs:
            given = f" (got {', '.join(unknown)})" if unknown else ""
            raise InputError(f"Language identification takes text=..., a text or a list of texts{given}.")
        is_list = not isinstance(inputs["text"], str)
        texts = list(inputs["text"]) if is_list else [inputs["text"]]
        if not texts:
            raise InputError("text is an empty list.")
        tokenizer = ByteTokenizer.load(processors.path)
        windows = []
        for number, text in enumerate(texts):
            ids = tokenizer.encode(text) if isinstance(text, str) else []
            if not ids:
                raise InputError(
                    f"text{f' {number}' if is_list else ''} must be a text that is not empty (got {text!r})."
                )
            windows.append(split(ids, processors.limits["sequence"]))
        byte_ids, mask = pad([window for own in windows for window in own])
        lengths = [[len(window) for window in own] for own in windows]
        return {"byte_ids": byte_ids, "mask": mask}, Texts(processors.config["labels"], lengths, is_list)

    @hookimpl
    def postprocess(self, outputs: Any, context: Texts, options: LanguageOptions) -> Any:
        """
        Return ``{"label", "score"}`` of the likeliest language; a list of them, the likeliest first, for another `top_k`
        than 1; for a list of texts a list of what each of them gives. Windows count by their bytes.
        """
        results: list[Any] = []
        windows = iter(outputs.logits.softmax(-1))
        for lengths in context.windows:
            scores = sum(length * next(windows) for length in lengths) / sum(lengths)
            order = scores.argsort(descending=True, stable=True)[: options.top_k].tolist()
            ranked = [{"label": context.labels[index], "score": float(scores[index])} for index in order]
            results.append(ranked[0] if options.top_k == 1 else ranked)
        return results if context.is_list else results[0]


plugin = LanguageIdentification()
