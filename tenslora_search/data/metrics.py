"""METRICS: from predictions and labels to one score, higher is better; computed by scikit-learn and
scipy.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenslora_search.spec.table import Table

Metric = Callable[[ArrayLike, ArrayLike], float]


def accuracy(predictions: ArrayLike, labels: ArrayLike) -> float:
    """Share of rows whose largest logit is the label's; predictions (n, n_labels), labels (n,)."""
    from sklearn.metrics import accuracy_score

    return _of_classes(lambda chosen, truth: accuracy_score(truth, chosen), predictions, labels)


def f1_macro(predictions: ArrayLike, labels: ArrayLike) -> float:
    """Mean over the classes that occur of the harmonic mean of precision and recall; predictions
    (n, n_labels).
    """
    from sklearn.metrics import f1_score

    options: dict[str, Any] = {"average": "macro", "zero_division": 0}
    return _of_classes(
        lambda chosen, truth: f1_score(truth, chosen, **options), predictions, labels
    )


def matthews(predictions: ArrayLike, labels: ArrayLike) -> float:
    """Matthews correlation, -1 to 1, 0 for a constant guess; predictions (n, n_labels), labels
    (n,).
    """
    from sklearn.metrics import matthews_corrcoef

    return _of_classes(lambda chosen, truth: matthews_corrcoef(truth, chosen), predictions, labels)


def pearson(predictions: ArrayLike, labels: ArrayLike) -> float:
    """Linear correlation of predictions (n,) and labels (n,); 0 when either is constant."""
    from scipy.stats import pearsonr

    return _of_numbers(pearsonr, predictions, labels)


def spearman(predictions: ArrayLike, labels: ArrayLike) -> float:
    """Rank correlation of predictions (n,) and labels (n,); 0 when either is constant."""
    from scipy.stats import spearmanr

    return _of_numbers(spearmanr, predictions, labels)


def pearson_spearman(predictions: ArrayLike, labels: ArrayLike) -> float:
    """Mean of `pearson` and `spearman`: GLUE's score for STS-B."""
    return (pearson(predictions, labels) + spearman(predictions, labels)) / 2


def _of_classes(
    score: Callable[[NDArray, NDArray], float], predictions: ArrayLike, labels: ArrayLike
) -> float:
    logits, truth = np.asarray(predictions, dtype=np.float64), np.asarray(labels)
    assert logits.ndim == 2, f"predictions {logits.shape}; wanted (n, n_labels)"
    assert len(logits) == len(truth) > 0, f"predictions {logits.shape} for labels {truth.shape}"
    return float(score(logits.argmax(axis=1), truth)) if np.isfinite(logits).all() else float("nan")


def _of_numbers(correlation: Callable, predictions: ArrayLike, labels: ArrayLike) -> float:
    guesses, truth = np.asarray(predictions, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if guesses.ndim == 2 and guesses.shape[1] == 1:
        guesses = guesses[:, 0]
    assert guesses.shape == truth.shape, f"predictions {guesses.shape} for labels {truth.shape}"
    if not np.isfinite(guesses).all():
        return float("nan")
    if np.ptp(guesses) == 0 or np.ptp(truth) == 0:
        return 0.0
    return float(correlation(guesses, truth).statistic)


METRICS: Table[Metric] = Table(
    "metric",
    {
        "accuracy": accuracy,
        "f1_macro": f1_macro,
        "matthews": matthews,
        "pearson": pearson,
        "spearman": spearman,
        "pearson_spearman": pearson_spearman,
    },
)
