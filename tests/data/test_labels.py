"""Labels become class numbers with names, or scores; labels that no search could learn from are one
line.
"""

import numpy as np
import pandas as pd
import pytest

from tenslora_search.data.columns import Columns
from tenslora_search.data.labels import read_labels
from tenslora_search.data.sources import Source
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.tasks import TASKS, LabelKind


def labels(
    train,
    *,
    task: str | None = None,
    names: tuple[str, ...] | None = None,
    kind: LabelKind | None = None,
    **others,
):
    frames = {
        split: pd.DataFrame({"label": column})
        for split, column in {"train": train, **others}.items()
    }
    source = Source("mine", frames, {"label": names} if names else {})
    return read_labels(
        source,
        Columns("text", ("text",), "label"),
        TASKS[task] if task else None,
        tuple(frames),
        kind,
    )


@pytest.mark.parametrize(
    ("column", "names", "numbers"),
    [
        (["pos", "neg", "pos"], ("neg", "pos"), [1, 0, 1]),
        ([3, 1, 3], ("1", "3"), [1, 0, 1]),
        (["10", "9", "10"], ("9", "10"), [1, 0, 1]),  # by size, not by text
        ([1.0, 2.0, 1.0], ("1", "2"), [0, 1, 0]),
        ([True, False, True], ("False", "True"), [1, 0, 1]),
        ([" yes", "no ", "yes"], ("no", "yes"), [1, 0, 1]),
    ],
)
def test_classes_by_their_own_names(column, names, numbers):
    found = labels(column)
    assert (found.names, found.regression) == (names, False)
    assert found.of["train"].tolist() == numbers


def test_classes_by_the_names_of_the_files():
    found = labels([1, 0, 1], names=("no", "yes", "perhaps"), test=["0", "1"])
    assert found.names == ("no", "yes", "perhaps")
    assert found.of["test"].tolist() == [0, 1]


def test_the_same_label_written_otherwise_in_another_split():
    found = labels(["0", "1.0"], test=[0, 1], validation=[1.0, 0.0], dev=["1", "0.00"])
    assert found.names == ("0", "1")
    assert found.of["test"].tolist() == [0, 1]
    assert found.of["validation"].tolist() == found.of["dev"].tolist() == [1, 0]


@pytest.mark.parametrize("names", [("1", "²"), ("--1", "1")])
def test_what_looks_like_a_number_and_is_none(names):
    assert labels(list(names)).names == tuple(sorted(names))


def test_the_question_says_what_the_labels_are():
    versions = ["1.1", "1.2", "2.1", "2.0"] * 2
    assert labels(versions).regression
    assert labels(versions, kind="classes").names == ("1.1", "1.2", "2", "2.1")
    scores = labels(list(range(60)), kind="numbers")
    assert scores.regression
    assert scores.of["train"].tolist() == list(range(60))
    assert len(labels([f"id {row % 30}" for row in range(50)], kind="classes").names) == 30


def test_scores():
    assert labels([0.5, 1.0]).regression
    assert labels(["0.5", "1"]).regression
    assert not labels([0, 1], task="sst2").regression
    found = labels(
        ["0", "5"], task="stsb", validation=["2", "3"]
    )  # the task says so, whole numbers or not
    assert (found.names, found.regression) == ((), True)
    assert found.of["train"].dtype == np.float32
    assert found.of["validation"].tolist() == [2, 3]


@pytest.mark.parametrize(
    ("train", "options", "message"),
    [
        (["a", "a"], {}, "one class only in train, column 'label' of mine: every label is 'a'"),
        (
            ["a", None],
            {},
            r"1 of 2 rows of train of mine have no label in column 'label' \(first: row 2\)",
        ),
        (["a", " ", ""], {}, "2 of 3 rows of train"),
        (
            ["a", "b"],
            {"test": ["b", "c"]},
            "labels differ between splits, .*: test has c; train has a, b",
        ),
        ([0, 1, 7], {"names": ("no", "yes")}, "train has 7; the named classes are 0, 1"),
        (
            [f"id {row}" for row in range(50)],
            {},
            "holds 50 different labels in 50 rows of train; is it the label.* --labels numbers",
        ),
        (
            [[0], [1]],
            {},
            r"row 1 of train of mine has a list in column 'label': '\[0\]'; "
            "a label is one text or number",
        ),
        (
            ["a", "b"],
            {"test": ["a", {"b": 1}]},
            "row 2 of test of mine has a dict in column 'label'",
        ),
        ([0.5, 0.5], {}, "every label is 0.5 in train.*; there is nothing to learn"),
        (
            [0.5, 1.5],
            {"test": ["0.5", "much"]},
            "row 2 of test, .* is no number: 'much'; a score must be one",
        ),
        (["good", "bad"], {"task": "stsb"}, "row 1 of train, .* is no number: 'good'"),
    ],
)
def test_refused(train, options, message):
    with pytest.raises(QuestionError, match=message) as error:
        labels(train, **options)
    assert "\n" not in str(error.value)
