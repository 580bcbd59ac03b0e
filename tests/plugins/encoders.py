"""Tiny random checkpoints of every encoder architecture, for every task that transformers defines for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tests.plugins.checkpoints import WORDS

HIDDEN, LAYERS, ATTENTION_HEADS, POSITIONS = 16, 1, 2, 64
_BERT = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": ATTENTION_HEADS,
    "intermediate_size": 24,
    "max_position_embeddings": POSITIONS,
    "initializer_range": 0.3,
}
_ROBERTA = {**_BERT, "max_position_embeddings": POSITIONS + 2, "type_vocab_size": 1}
_XLM = {
    "emb_dim": HIDDEN,
    "n_layers": LAYERS,
    "n_heads": ATTENTION_HEADS,
    "max_position_embeddings": POSITIONS,
    "init_std": 0.3,
    "embed_init_std": 0.3,
    "summary_type": "first",
    "use_lang_emb": False,
    "n_langs": 1,
}
_DEBERTA = {
    **_BERT,
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "max_relative_positions": -1,
    "pooler_hidden_size": HIDDEN,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "albert": {**_BERT, "embedding_size": 12},
    "bert": _BERT,
    "camembert": _ROBERTA,
    "convbert": {
        **_BERT,
        "num_hidden_layers": 2,
        "embedding_size": 12,
        "head_ratio": 2,
        "conv_kernel_size": 3,
        "num_attention_heads": 4,
    },
    "deberta": {**_DEBERTA, "position_biased_input": True},
    "deberta-v2": {
        **_DEBERTA,
        # The convolution behind the first layer clears the masked positions.
        "num_hidden_layers": 2,
        "position_biased_input": False,
        "position_buckets": 8,
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "conv_kernel_size": 3,
        "conv_act": "gelu",
    },
    "distilbert": {
        "dim": HIDDEN,
        "n_layers": LAYERS,
        "n_heads": ATTENTION_HEADS,
        "hidden_dim": 24,
        "max_position_embeddings": POSITIONS,
        "initializer_range": 0.3,
    },
    "electra": {**_BERT, "embedding_size": 12},
    "esm": {**_BERT, "position_embedding_type": "rotary", "token_dropout": True, "emb_layer_norm_before": False},
    "flaubert": _XLM,
    "mobilebert": {
        **_BERT,
        "embedding_size": 12,
        "intra_bottleneck_size": 8,
        "true_hidden_size": 8,
        "num_feedforward_networks": 2,
        # Without layer norms hidden states grow, and with them rounding.
        "initializer_range": 0.1,
    },
    "modernbert": {
        **_BERT,
        "num_hidden_layers": 2,
        "local_attention": 8,
        "global_attn_every_n_layers": 2,
        "classifier_pooling": "mean",
    },
    "mpnet": _ROBERTA,
    "roberta": _ROBERTA,
    "roformer": {**_BERT, "embedding_size": 12, "rotary_value": True},
    "xlm": _XLM,
    "xlm-roberta": _ROBERTA,
}
"""Fields of each architecture's configuration beside the vocabulary's."""

AUTO_CLASSES = {
    "feature-extraction": "AutoModel",
    "fill-mask": "AutoModelForMaskedLM",
    "multiple-choice": "AutoModelForMultipleChoice",
    "question-answering": "AutoModelForQuestionAnswering",
    "sentence-similarity": "AutoModel",
    "text-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
}
"""transformers' auto class of each task."""
_PAD_SECOND = ("camembert", "esm", "flaubert", "mpnet", "roberta", "xlm", "xlm-roberta")
"""Their tokenizers have another token before the padding; position ids count from it."""
_TOKEN_TYPES = (
    "albert", "bert", "convbert", "deberta", "deberta-v2", "electra", "flaubert", "mobilebert", "roformer", "xlm",
)  # fmt: skip
LABELS = ["O", "B-ANIMAL", "I-ANIMAL", "B-PLACE", "I-PLACE"]


def mapping_of(task: str) -> Mapping[str, Any]:
    """Return transformers' mapping from architecture to the class of a task."""
    from transformers.models.auto import modeling_auto

    name = {
        "feature-extraction": "MODEL_MAPPING_NAMES",
        "fill-mask": "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
        "multiple-choice": "MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES",
        "question-answering": "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES",
        "sentence-similarity": "MODEL_MAPPING_NAMES",
        "text-classification": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
        "token-classification": "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
    }[task]
    return getattr(modeling_auto, name)


PAIRS = [
    (architecture, task)
    for architecture in sorted(CONFIGS)
    for task in sorted(AUTO_CLASSES)
    if architecture in mapping_of(task)
]
"""Every architecture with every task that transformers defines for it."""


def encoder_tokenizer(architecture: str, *, padding_side: str = "right", max_length: int = POSITIONS) -> Any:
    """Return a fast WordPiece tokenizer with the architecture's inputs and its place of the padding token."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    if architecture in _PAD_SECOND:
        special = ["[CLS]", "[PAD]", "[UNK]", "[SEP]", "[MASK]"]
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
    names = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=max_length,
        padding_side=padding_side,
        model_input_names=names if architecture in _TOKEN_TYPES else [names[0], names[2]],
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def tiny_encoder(
    path: Path, architecture: str, task: str, *, seed: int = 0, padding_side: str = "right", **config: Any
) -> Path:
    """
    Save a model of one or two small layers, whose weights are far enough apart for rounding not to reorder results.

    Args:
        path: Directory to write.
        architecture: One out of `CONFIGS`.
        task: One out of `AUTO_CLASSES`.
        seed: Of the weights.
        padding_side: Of the tokenizer.
        **config: Fields of the configuration to change.

    Returns:
        The directory.
    """
    import transformers

    tokenizer = encoder_tokenizer(architecture, padding_side=padding_side)
    settings = {**CONFIGS[architecture], "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    if architecture in ("xlm", "flaubert"):
        settings |= {
            "n_words": len(tokenizer),
            "pad_index": tokenizer.pad_token_id,
            "mask_token_id": tokenizer.mask_token_id,
        }
    if architecture == "esm":
        settings |= {"mask_token_id": tokenizer.mask_token_id}
    if architecture == "modernbert":
        settings |= {"cls_token_id": tokenizer.cls_token_id, "sep_token_id": tokenizer.sep_token_id}
        settings |= {"bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id}
    if task in ("text-classification", "token-classification"):
        settings |= {"id2label": dict(enumerate(LABELS)), "label2id": {label: i for i, label in enumerate(LABELS)}}
    settings |= config
    torch.manual_seed(seed)
    model_config = transformers.CONFIG_MAPPING[architecture](**settings)
    model = getattr(transformers, AUTO_CLASSES[task]).from_config(model_config).float()
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():  # trained weights are not zero where fresh ones are: the padding's, biases
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data += 0.05 * noise
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


class MeanPooled(torch.nn.Module):
    """A backbone with the mean of its tokens: what a checkpoint without modules is as a sentence encoder."""

    def __init__(self, backbone: torch.nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.config = backbone.config

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Run the backbone and pool."""
        tokens = self.backbone(**inputs)["last_hidden_state"]
        mask = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"])).unsqueeze(-1).float()
        return {"token_embeddings": tokens, "sentence_embedding": (tokens * mask).sum(1) / mask.sum(1)}


def eager_model(path: Path, task: str, **kwargs: Any) -> torch.nn.Module:
    """Return transformers' own model of a checkpoint."""
    import transformers

    model = getattr(transformers, AUTO_CLASSES[task]).from_pretrained(path, dtype=torch.float32, **kwargs).eval()
    return MeanPooled(model).eval() if task == "sentence-similarity" else model


def example(
    architecture: str, task: str, rows: int, length: int, *, padding: str | None = None, seed: int = 0
) -> dict[str, torch.Tensor]:
    """
    Return random inputs.

    Args:
        architecture: Decides on token types.
        task: Decides on choices.
        rows: Of the batch.
        length: Of the sequence.
        padding: The side on which all rows but the first are padded, each more than the one before; None gives no mask.
        seed: Of the tokens.
    """
    tokenizer = encoder_tokenizer(architecture)
    shape = (rows, 3, length) if task == "multiple-choice" else (rows, length)
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, len(tokenizer), shape, generator=generator)
    if padding is None:
        return {"input_ids": ids}
    kept = (length - 2 * torch.arange(rows)).clamp(min=1).reshape(-1, *[1] * (len(shape) - 1))
    places = torch.arange(length)
    mask = (places < kept if padding == "right" else places >= length - kept).long().expand(shape).clone()
    ids = ids.masked_fill(mask == 0, tokenizer.pad_token_id)
    inputs = {"input_ids": ids, "attention_mask": mask}
    if architecture in _TOKEN_TYPES and architecture != "deberta":
        inputs["token_type_ids"] = torch.randint(0, 2, shape, generator=generator)
    return inputs
