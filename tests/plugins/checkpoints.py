"""Tiny checkpoints with random weights and real tokenizers, made on the spot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

LINES = (
    "the a of in and to is was are who what where when why how big small red green blue cat dog bird house river",
    "mountain city capital france paris london rhine flows through alps snow rain sun moon star sea salt water fire",
    "stone wood iron gold king queen child old new lives near far under over runs sleeps sings reads writes book",
    "letter word number one two three",
)
WORDS = [word for line in LINES for word in line.split()]
HEADS = {"question-answering": "BertForQuestionAnswering", "feature-extraction": "BertModel"}


def tiny_tokenizer(max_length: int = 64) -> Any:
    """Return a fast WordPiece tokenizer: whole words of `WORDS`, letters for the rest."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertTokenizerFast

    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *dict.fromkeys([*letters, *".,?!'-", *WORDS]), *(f"##{letter}" for letter in letters)]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return BertTokenizerFast(tokenizer_object=backend, vocab=vocabulary, model_max_length=max_length)


def tiny_bert(path: Path, head: str = "question-answering", seed: int = 0, **config: Any) -> Path:
    """
    Save a BERT of two small layers.

    Args:
        path: Directory to write.
        head: A task out of `HEADS`.
        seed: Of the weights.
        **config: Fields of `BertConfig` to change; ``add_pooling_layer`` goes to the model.

    Returns:
        The directory.
    """
    import transformers

    tokenizer = tiny_tokenizer()
    kwargs = {name: config.pop(name) for name in ("add_pooling_layer",) if name in config}
    settings = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 64,
        "initializer_range": 0.5,  # logits far enough apart that rounding cannot reorder them
        **config,
    }
    torch.manual_seed(seed)
    model = getattr(transformers, HEADS[head])(transformers.BertConfig(**settings), **kwargs)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def tiny_sentence_transformer(
    path: Path,
    pooling: str | Sequence[str] = "mean",
    normalize: bool = True,
    seed: int = 0,
    dense: int | None = None,
    max_seq_length: int | None = None,
    do_lower_case: bool = False,
) -> Path:
    """
    Save a sentence transformer over a tiny BERT, written by sentence-transformers itself.

    Args:
        path: Directory to write.
        pooling: One mode, or several whose embeddings are put side by side.
        normalize: End with a Normalize module.
        seed: Of the weights.
        dense: Features of a Dense module after the pooling; None has none.
        max_seq_length: Tokens that a text is cut to.
        do_lower_case: Ask for lower-casing of the text.

    Returns:
        The directory.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules

    backbone = tiny_bert(path / "backbone", head="feature-extraction", seed=seed)
    transformer = modules.Transformer(str(backbone), max_seq_length=max_seq_length, do_lower_case=do_lower_case)
    modes = pooling if isinstance(pooling, str) else tuple(pooling)
    chain = [transformer, modules.Pooling(transformer.get_embedding_dimension(), pooling_mode=modes)]
    if dense:
        torch.manual_seed(seed)
        chain.append(modules.Dense(chain[-1].get_embedding_dimension(), dense))
    if normalize:
        chain.append(modules.Normalize())
    SentenceTransformer(modules=chain, device="cpu").save(str(path / "model"), create_model_card=False)
    return path / "model"
