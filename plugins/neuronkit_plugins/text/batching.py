"""Texts of mixed length, run in batches of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from neuronkit.errors import InputError
from neuronkit_plugins.text.encoder_graph import ENCODER_INPUTS
from neuronkit_plugins.text.guards import GIVEN

if TYPE_CHECKING:
    from neuronkit.processors import Processors
    from neuronkit.session import LoadedGraph


def plan(lengths: Sequence[int], batch_size: int, graph: LoadedGraph, others: Mapping[str, int]) -> list[list[int]]:
    """
    Divide texts into batches, the longest first.

    A graph of dynamic axes gets no more texts than it computes at once: more would be padded to the longest of them for nothing.
    With fixed buckets a batch ends where a smaller bucket would do, or where the largest batch is full; what a bucket
    has room for beyond that is filled with the next shorter texts, which cost nothing there.

    Args:
        lengths: Tokens of each text.
        batch_size: Texts of the largest batch.
        graph: What will run them.
        others: The sizes of the graph's axes besides ``batch`` and ``sequence``.

    Returns:
        Indices into `lengths`, every one once.

    Raises:
        InputError: A text is longer than the graph's largest bucket.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable").tolist()
    batches = []
    begin = 0
    while begin < len(order):
        rest = [lengths[index] for index in order[begin : begin + batch_size]]
        count = _fitting(rest, graph, others)
        batches.append(order[begin : begin + count])
        begin += count
    return batches


def _fitting(lengths: Sequence[int], graph: LoadedGraph, others: Mapping[str, int]) -> int:
    """Return how many texts the next batch has, of those whose descending lengths these are."""
    table = graph.table
    count, longest = len(lengths), max(lengths[0], 1)
    if any(bucket.bounds for bucket in table.buckets):
        sizes = {"batch": count, **others, "sequence": longest}
        return min(count, graph.capacity(table.choose(sizes), sizes))
    known = sorted({bucket.sizes["sequence"] for bucket in table.buckets})
    size = next((size for size in known if size >= longest), known[-1])
    smaller = max((other for other in known if other < size), default=0)
    same = sum(max(length, 1) > smaller for length in lengths)
    most = max(bucket.sizes["batch"] for bucket in table.buckets if bucket.sizes["sequence"] == size)
    if same >= most:
        return same // most * most
    room = table.choose({"batch": same, **others, "sequence": size}).sizes["batch"]
    return min(count, ceil(same / room) * room)


def tokenize(tokenizer: Any, texts: Sequence[Any], pairs: Sequence[Any] | None = None, **keywords: Any) -> Any:
    """
    Tokenize texts, padded on the right whatever the tokenizer's side: our padding is not to move positions.

    Args:
        tokenizer: The checkpoint's.
        texts: At least one.
        pairs: Second texts.
        **keywords: For the tokenizer.

    Returns:
        The tokenizer's own result, with numpy arrays ``[texts, longest]``: tensors take torch five times as long.
    """
    both = (list(texts),) if pairs is None else (list(texts), list(pairs))
    return tokenizer(
        *both, padding=True, padding_side="right", return_attention_mask=True, return_tensors="np", **keywords
    )


def tensors_of(encoded: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return what a graph may take of a tokenizer's result."""
    return {name: torch.as_tensor(encoded[name]) for name in ENCODER_INPUTS if name in encoded}


def encode_texts(
    processors: Processors,
    texts: Sequence[str],
    pairs: Sequence[str] | None = None,
    *,
    truncation: bool,
    name: str = "text",
    is_list: bool = True,
) -> dict[str, torch.Tensor]:
    """
    Tokenize texts for a graph.

    Args:
        processors: The artifact's.
        texts: At least one.
        pairs: Second texts.
        truncation: Cut texts that are longer than the graph takes.
        name: The input, for the message.
        is_list: Whether the message needs the text's number.

    Returns:
        int64 tensors ``[texts, longest]`` by name.

    Raises:
        InputError: A text is longer than the graph takes, and is not to be cut.
    """
    limit = processors.limits["sequence"]
    cut: dict[str, Any] = {"truncation": True, "max_length": limit} if truncation else {}
    tensors = tensors_of(tokenize(processors.tokenizer, texts, pairs, **cut))
    check_fits(tensors, limit, name, is_list=is_list)
    return tensors


def check_fits(tensors: Mapping[str, torch.Tensor], limit: int, name: str, *, is_list: bool) -> None:
    """
    Refuse texts that are longer than the graph.

    Args:
        tensors: What `tensors_of` returned.
        limit: Tokens of the longest text that the graph takes.
        name: The input, for the message.
        is_list: Whether the message needs the text's number.

    Raises:
        InputError: A text is longer.
    """
    lengths = tensors["attention_mask"].sum(-1)
    if int(lengths.max()) > limit:
        which = f" {int(lengths.flatten().argmax())}" if is_list else ""
        raise InputError(
            f"{name}{which} has {int(lengths.max())} tokens and the model was compiled for {limit}.\n"
            f"Try: truncation=True (--truncation), or compile with a larger sequence_length."
        )


def run_batches(
    shell: Any, tensors: Mapping[str, torch.Tensor], batch_size: int
) -> Iterator[tuple[list[int], torch.Tensor, Mapping[str, torch.Tensor]]]:
    """
    Run texts in batches of similar length, so that little padding is computed.

    Args:
        shell: The compiled model.
        tensors: ``[texts, ..., longest]`` by name, padded on the right.
        batch_size: Texts that run together.

    Yields:
        The texts' numbers, their masks cut to the longest of them, and the model's outputs for them.
    """
    graph = next(iter(shell.session.graphs.values()))
    names = {input.name for input in graph.graph.inputs}
    masks = tensors["attention_mask"]
    lengths = masks.sum(-1) if masks.dim() == 2 else masks.sum(-1).amax(-1)
    others = {} if masks.dim() == 2 else {"num_choices": masks.shape[1]}
    for rows in plan(lengths.tolist(), batch_size, graph, others):
        longest = max(int(lengths[rows[0]]), 1)
        batch = {name: tensor[rows, ..., :longest] for name, tensor in tensors.items() if name in names}
        mask = masks[rows, ..., :longest]
        if GIVEN in names:
            batch[GIVEN] = mask
        yield rows, mask, shell(**batch)


def run_texts(
    shell: Any, tensors: Mapping[str, torch.Tensor], batch_size: int, names: Sequence[str]
) -> dict[str, list[Any]]:
    """
    Run texts and return their outputs one by one, in the texts' order.

    Args:
        shell: The compiled model.
        tensors: ``[texts, ..., longest]`` by name, padded on the right; none for no text.
        batch_size: Texts that run together.
        names: The outputs to return.

    Returns:
        For each name one float32 tensor a text; those with a ``sequence`` axis as long as the text.
    """
    results: dict[str, list[Any]] = {name: [] for name in names}
    if not tensors:
        return results
    graph = next(iter(shell.session.graphs.values())).graph
    along = {output.name: "sequence" in output.axes for output in graph.outputs}
    count = len(tensors["attention_mask"])
    results = {name: [None] * count for name in names}
    for rows, mask, outputs in run_batches(shell, tensors, batch_size):
        for name in names:
            for row, kept, tensor in zip(rows, mask, outputs[name], strict=True):
                results[name][row] = (tensor[: int(kept.sum())] if along[name] else tensor).float()
    return results
