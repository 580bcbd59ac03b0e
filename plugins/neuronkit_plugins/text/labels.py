"""The labels of a classifier, and the function that makes scores of its logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

FUNCTIONS = ("softmax", "sigmoid", "none")


def label_of(config: Mapping[str, Any], index: int) -> Any:
    """
    Return the name of a class, a number where the configuration has numbers for names.

    transformers leaves the names out of a configuration where they say nothing.
    """
    return (config.get("id2label") or {}).get(str(index), f"LABEL_{index}")


def scoring(config: Mapping[str, Any], labels: int) -> str:
    """
    Return the function that fits a checkpoint, by what it was trained for.

    Args:
        config: Its configuration.
        labels: How many there are.
    """
    problem = config.get("problem_type")
    if problem == "regression":
        return "none"
    if problem == "multi_label_classification" or labels == 1:
        return "sigmoid"
    return "softmax"


def scores(logits: NDArray[np.floating], function: str) -> NDArray[np.float64]:
    """Apply a function out of `FUNCTIONS` along the last axis."""
    values: NDArray[np.float64] = logits.astype(np.float64)
    if function == "sigmoid":
        values = 1.0 / (1.0 + np.exp(-values))
    elif function == "softmax":
        shifted = np.exp(values - values.max(axis=-1, keepdims=True))
        values = shifted / shifted.sum(axis=-1, keepdims=True)
    return values
