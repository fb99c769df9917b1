"""METRICS: from answers and labels to one score, higher is better; computed by scikit-learn and
scipy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenslora_search.spec.metrics import NOISE, OWN_METRICS
from tenslora_search.spec.table import QuestionError, Table, shortened


@dataclass(frozen=True, slots=True)
class Metric:
    """A score and what surrounds it. `noise(n_rows)`: by how much it wavers with the rows it is
    taken on.
    """

    score: Callable[[ArrayLike, ArrayLike], float]
    noise: Callable[[int], float]
    hub_name: str
    """what model hubs call it"""
    goals: tuple[str, ...] = ()
    """of a metric from outside: the goals whose answers it scores"""

    def __call__(self, answers: ArrayLike, labels: ArrayLike) -> float:
        score: Any = self.score(answers, labels)
        try:
            return float(score)
        except (TypeError, ValueError) as error:
            raise QuestionError(
                f"metric {self.hub_name} gives {shortened(repr(score))} instead of a number."
            ) from error


_OWN: dict[str, Metric] = {}


def metric(
    *, noise: str, hub_name: str = "", shows: str = ""
) -> Callable[[Callable[..., float]], Callable[..., float]]:
    """Makes a function an entry of METRICS; spec reads the same words from this file.

    `noise`: a word of `spec.metrics.SCALES`; `shows`: the number that people know it by.
    """

    def put(score: Callable[..., float]) -> Callable[..., float]:
        name = score.__name__
        _OWN[name] = Metric(score, NOISE[name], hub_name or name)
        return score

    return put


@metric(noise="share")
def accuracy(answers: ArrayLike, labels: ArrayLike) -> float:
    """Share of rows whose largest logit is the label's; answers (n, n_classes), labels (n,)."""
    from sklearn.metrics import accuracy_score

    return _of_chosen(lambda chosen, truth: accuracy_score(truth, chosen), answers, labels)


@metric(noise="share", hub_name="f1")
def f1_macro(answers: ArrayLike, labels: ArrayLike) -> float:
    """Mean over the classes of the harmonic mean of precision and recall.

    Of one class a row: answers (n, n_classes), labels (n,), over the classes that occur. Of any
    number of labels a row: answers are probabilities, labels 0 or 1, both (n, n_labels); a label
    that never occurs and is never given counts 0.
    """
    return _f1("macro", answers, labels)


@metric(noise="share", hub_name="f1")
def f1_micro(answers: ArrayLike, labels: ArrayLike) -> float:
    """Harmonic mean of precision and recall over all labels of all rows; shapes as in `f1_macro`.

    Of one class a row it is the accuracy.
    """
    return _f1("micro", answers, labels)


@metric(noise="correlation", hub_name="matthews_correlation")
def matthews(answers: ArrayLike, labels: ArrayLike) -> float:
    """Matthews correlation, -1 to 1, 0 for a constant guess; answers (n, n_classes), labels
    (n,).
    """
    from sklearn.metrics import matthews_corrcoef

    return _of_chosen(lambda chosen, truth: matthews_corrcoef(truth, chosen), answers, labels)


@metric(noise="share")
def balanced_accuracy(answers: ArrayLike, labels: ArrayLike) -> float:
    """Mean over the classes that occur of the share of their rows that is found; answers
    (n, n_classes), labels (n,).
    """
    from sklearn.metrics import recall_score

    options: dict[str, Any] = {"average": "macro", "zero_division": 0}
    return _of_chosen(
        lambda chosen, truth: recall_score(truth, chosen, labels=np.unique(truth), **options),
        answers,
        labels,
    )


@metric(noise="share")
def roc_auc(answers: ArrayLike, labels: ArrayLike) -> float:
    """How often a row of a class gets more of it than a row of another: the area under the ROC
    curve, each class or label against the rest, mean over those that occur beside others; 0.5 by
    chance. Answers (n, n_classes) of labels (n,), or both (n, n_labels).
    """
    from sklearn.metrics import roc_auc_score

    given, truth = np.asarray(answers, dtype=np.float64), np.asarray(labels)
    if not np.isfinite(given).all():
        return float("nan")
    if truth.ndim == 1:
        given = np.exp(given - given.max(axis=1, keepdims=True))
        given /= given.sum(axis=1, keepdims=True)
        truth = truth[:, None] == np.arange(given.shape[1])
    mixed = [k for k in range(given.shape[1]) if 0 < truth[:, k].sum() < len(truth)]
    areas = [roc_auc_score(truth[:, k].astype(int), given[:, k]) for k in mixed]
    return float(np.mean(areas)) if areas else 0.5


@metric(noise="correlation")
def pearson(answers: ArrayLike, labels: ArrayLike) -> float:
    """Linear correlation of answers (n,) and labels (n,); 0 when either is constant."""
    from scipy.stats import pearsonr

    return _of_numbers(pearsonr, answers, labels)


@metric(noise="correlation")
def spearman(answers: ArrayLike, labels: ArrayLike) -> float:
    """Rank correlation of answers (n,) and labels (n,); 0 when either is constant."""
    from scipy.stats import spearmanr

    return _of_numbers(spearmanr, answers, labels)


@metric(noise="correlation")
def pearson_spearman(answers: ArrayLike, labels: ArrayLike) -> float:
    """Mean of `pearson` and `spearman`: GLUE's score for STS-B."""
    return (pearson(answers, labels) + spearman(answers, labels)) / 2


@metric(noise="loss", hub_name="loss", shows="perplexity")
def minus_loss(answers: ArrayLike, labels: ArrayLike) -> float:
    """Minus the mean loss a token, in nats; answers (n, 2): the sum of a row's losses, and of how
    many tokens. exp(-score) is the perplexity.
    """
    sums, counts = np.asarray(answers, dtype=np.float64)[:, :2].sum(axis=0)
    return float(-sums / counts) if np.isfinite(sums) and counts else float("nan")


MOST_CLASSES = 200
"""More are not counted one by one: a line of trials.jsonl and a table of a report hold them."""


def by_class(answers: ArrayLike, labels: ArrayLike) -> tuple[tuple[int, int, int], ...] | None:
    """For each class or label: rows of it that are found, rows that are given it, rows that have
    it. None of answers that are not finite, of too many classes, and of other shapes than (n,
    n_classes) beside labels (n,) or (n, n_classes).
    """
    given, truth = np.asarray(answers), np.asarray(labels)
    if given.ndim != 2 or given.shape[1] > MOST_CLASSES or not np.isfinite(given).all():
        return None
    if truth.ndim == 1:
        classes = np.arange(given.shape[1])
        has, gets = truth[:, None] == classes, given.argmax(axis=1)[:, None] == classes
    elif truth.shape == given.shape:
        has, gets = truth > 0.5, given > 0.5
    else:
        return None
    counts = np.stack([(has & gets).sum(axis=0), gets.sum(axis=0), has.sum(axis=0)], axis=1)
    return tuple((int(found), int(all_given), int(there)) for found, all_given, there in counts)


def _f1(average: str, answers: ArrayLike, labels: ArrayLike) -> float:
    from sklearn.metrics import f1_score

    options: dict[str, Any] = {"average": average, "zero_division": 0}
    return _of_chosen(lambda chosen, truth: f1_score(truth, chosen, **options), answers, labels)


def _of_chosen(
    score: Callable[[NDArray, NDArray], float], answers: ArrayLike, labels: ArrayLike
) -> float:
    """The score of the class that has the largest logit, or of the labels that have a probability
    above one half; NaN where an answer is not finite.
    """
    given, truth = np.asarray(answers, dtype=np.float64), np.asarray(labels)
    assert given.ndim == 2, f"answers {given.shape}; wanted (n, n_labels)"
    assert len(given) == len(truth) > 0, f"answers {given.shape} for labels {truth.shape}"
    if not np.isfinite(given).all():
        return float("nan")
    if truth.ndim == 1:
        return float(score(given.argmax(axis=1), truth))
    return float(score((given > 0.5).astype(np.int64), truth.astype(np.int64)))


def _of_numbers(correlation: Callable, answers: ArrayLike, labels: ArrayLike) -> float:
    guesses, truth = np.asarray(answers, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if guesses.ndim == 2 and guesses.shape[1] == 1:
        guesses = guesses[:, 0]
    assert guesses.shape == truth.shape, f"answers {guesses.shape} for labels {truth.shape}"
    if not np.isfinite(guesses).all():
        return float("nan")
    if np.ptp(guesses) == 0 or np.ptp(truth) == 0:
        return 0.0
    return float(correlation(guesses, truth).statistic)


class _Metrics(Table[Metric]):
    """Tells spec of a metric from outside: its noise, and the goals that it scores."""

    def add(self, name: str, entry: Any) -> None:
        if not isinstance(entry, Metric) or not callable(entry.noise):
            raise QuestionError(
                f"metric {name} is a Metric(score, noise, hub_name), noise a function of the "
                f"number of rows; got {shortened(entry)}."
            )
        goals = tuple(entry.goals)
        super().add(name, entry)
        try:
            NOISE.add(name, entry.noise)
        except QuestionError:
            super().remove(name)
            raise
        OWN_METRICS[name] = goals

    def remove(self, name: str) -> None:
        super().remove(name)
        if name in NOISE.added:
            NOISE.remove(name)
        OWN_METRICS.pop(name, None)


METRICS: Table[Metric] = _Metrics("metric", _OWN)
