"""Scores against numbers worked out by hand, and at the edges where a library would warn or give
nan.
"""

import math

import numpy as np
import pytest
import torch

from tenslora_search.data.metrics import METRICS, MOST_CLASSES, Metric, accuracy, by_class
from tenslora_search.spec.metrics import NOISE, OWN_METRICS, metrics_of, noise_of, of_share
from tenslora_search.spec.table import QuestionError


def logits(chosen: list[int], n_labels: int = 3) -> np.ndarray:
    return np.eye(n_labels)[chosen] * 2 - 1


TRUTH = [0, 0, 0, 1, 1, 2]
CHOSEN = [0, 0, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", 4 / 6),
        (
            "f1_macro",
            (2 / 3 + 4 / 5 + 0) / 3,
        ),  # class 0: precision 2/3, recall 2/3; class 1: 2/3 and 1; class 2: nothing
        ("balanced_accuracy", (2 / 3 + 1 + 0) / 3),
        ("roc_auc", (6 / 9 + 7 / 8 + 1 / 2) / 3),  # pairs of a row of the class and one of others
        (
            "matthews",
            (6 * 4 - (3 * 3 + 2 * 3 + 1 * 0)) / math.sqrt((36 - 18) * (36 - 14)),
        ),  # Gorodkin 2004
    ],
)
def test_class_metrics_by_hand(name, expected):
    assert METRICS[name](logits(CHOSEN), TRUTH) == pytest.approx(expected)
    assert METRICS[name](torch.tensor(logits(CHOSEN)), torch.tensor(TRUTH)) == pytest.approx(
        expected
    )


@pytest.mark.parametrize(
    "name", ["accuracy", "f1_macro", "balanced_accuracy", "roc_auc", "matthews"]
)
def test_a_right_answer_is_one(name):
    assert METRICS[name](logits(TRUTH), TRUTH) == pytest.approx(1)


def test_a_constant_guess_has_no_correlation():
    assert METRICS["matthews"](logits([1] * 6), TRUTH) == 0
    assert METRICS["pearson"]([2.0] * 4, [1.0, 2.0, 3.0, 4.0]) == 0
    assert METRICS["spearman"]([2.0] * 4, [1.0, 2.0, 3.0, 4.0]) == 0


def test_correlations():
    guesses, truth = [0.0, 1.0, 4.0, 9.0], [0.0, 1.0, 2.0, 3.0]
    by_hand = np.corrcoef(guesses, truth)[0, 1]
    assert METRICS["pearson"](guesses, truth) == pytest.approx(by_hand)
    assert METRICS["spearman"](guesses, truth) == pytest.approx(1)
    assert METRICS["pearson_spearman"](guesses, truth) == pytest.approx((by_hand + 1) / 2)
    assert METRICS["pearson"](np.array(guesses)[:, None], truth) == pytest.approx(
        by_hand
    )  # a head of one output
    assert METRICS["pearson"]([-guess for guess in guesses], truth) == pytest.approx(-by_hand)


@pytest.mark.parametrize("name", METRICS)
def test_predictions_that_are_not_finite_give_nan(name):
    wrong = (
        np.full(6, np.nan)
        if name in ("pearson", "spearman", "pearson_spearman")
        else np.full((6, 3), np.nan)
    )
    assert math.isnan(METRICS[name](wrong, TRUTH))


def test_areas_of_two_classes_and_of_labels_are_scikit_learns():
    from sklearn.metrics import roc_auc_score

    generator = np.random.default_rng(0)
    answers, truth = generator.normal(size=(40, 2)), generator.integers(0, 2, 40)
    expected = roc_auc_score(truth, answers[:, 1] - answers[:, 0])
    assert METRICS["roc_auc"](answers, truth) == pytest.approx(expected)
    several = generator.integers(0, 2, (40, 2))
    expected = roc_auc_score(several, answers, average="macro")
    assert METRICS["roc_auc"](answers, several) == pytest.approx(expected)
    assert METRICS["roc_auc"](answers, np.ones(40, dtype=int)) == 0.5  # one class alone


def of_nobody(name: str) -> bool:
    return not any(name in table for table in (METRICS, METRICS.added, NOISE, OWN_METRICS))


def test_noise_needs_no_docstring():
    METRICS.add("own", Metric(accuracy, lambda n_rows: 0.1, "own", goals=("classes",)))
    try:
        assert noise_of("own", 10) == 0.1
        assert "own" in metrics_of("classes")
    finally:
        METRICS.remove("own")
    assert of_nobody("own")


@pytest.mark.parametrize(
    "entry",
    [accuracy, None, Metric(accuracy, 0.1, "own")],  # type: ignore[arg-type]
    ids=["function", "none", "number"],
)
def test_what_is_no_metric_leaves_nothing(entry):
    with pytest.raises(QuestionError, match="metric own is a Metric") as raised:
        METRICS.add("own", entry)
    assert "\n" not in str(raised.value)
    assert of_nobody("own")


def test_a_metric_whose_goals_are_wrong_leaves_nothing():
    with pytest.raises(TypeError):
        METRICS.add("own", Metric(accuracy, of_share, "own", goals=1))  # type: ignore[arg-type]
    assert of_nobody("own")


def test_a_metric_whose_noise_is_taken_is_not_added():
    NOISE.add("own", of_share)
    try:
        with pytest.raises(QuestionError, match="already"):
            METRICS.add("own", Metric(accuracy, of_share, "own"))
        assert "own" not in METRICS
        assert not METRICS.added
    finally:
        NOISE.remove("own")
    assert of_nobody("own")


def test_a_metric_goes_though_spec_knows_nothing_of_it():
    METRICS.add("own", Metric(accuracy, of_share, "own"))
    NOISE.remove("own")
    del OWN_METRICS["own"]
    METRICS.remove("own")
    assert of_nobody("own")


def test_counts_by_class_by_hand():
    """(found, given, there) of classes, and of labels."""
    assert by_class(logits(CHOSEN), TRUTH) == ((2, 3, 3), (2, 3, 2), (0, 0, 1))
    chances, truth = [[0.9, 0.2], [0.8, 0.7], [0.1, 0.6]], [[1, 1], [0, 1], [0, 1]]
    assert by_class(chances, truth) == ((1, 2, 1), (2, 2, 3))
    assert by_class([[math.nan, 0.0]], [0]) is None
    assert by_class(np.zeros((1, MOST_CLASSES + 1)), [0]) is None


@pytest.mark.parametrize("given", [None, "good"])
def test_a_metric_that_gives_no_number(given):
    with pytest.raises(QuestionError, match=r"metric mine gives .* instead of a number"):
        Metric(lambda *_: given, lambda n: 0.0, "mine")([1.0], [1.0])
