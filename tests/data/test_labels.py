"""Labels become class numbers with names, or scores; labels that no search could learn from are one
line.
"""

import numpy as np
import pandas as pd
import pytest

from tenslora_search.data.columns import Columns
from tenslora_search.data.goals import GOALS, goal_for
from tenslora_search.data.labels import LabelColumn, Targets, check_complete, label_cells
from tenslora_search.data.spellings import tell_of_spellings
from tenslora_search.spec.table import QuestionError


def labels(
    train, *, names: tuple[str, ...] | None = None, goal: str | None = None, **others
) -> Targets:
    cells = {split: pd.Series(column) for split, column in {"train": train, **others}.items()}
    column = LabelColumn(cells, "label", "mine", names, goal is not None)
    check_complete(column)
    return GOALS[goal or goal_for(cells["train"])].read(column)


@pytest.mark.parametrize(
    ("column", "names", "numbers"),
    [
        (["pos", "neg", "pos"], ("neg", "pos"), [1, 0, 1]),
        ([3, 1, 3], ("1", "3"), [1, 0, 1]),
        (["10", "9", "10"], ("9", "10"), [1, 0, 1]),  # by size, not by text
        ([1.0, 2.0, 1.0], ("1", "2"), [0, 1, 0]),
        ([True, False, True], ("False", "True"), [1, 0, 1]),
        ([" yes", "no ", "yes"], ("no", "yes"), [1, 0, 1]),
        ([b"yes", b"no", b"yes"], ("no", "yes"), [1, 0, 1]),
        ([b"\xff", b"\xfe", b"\xff"], ("\\xfe", "\\xff"), [1, 0, 1]),
        (["1", "01", "1"], ("01", "1"), [1, 0, 1]),  # the same order in every process
        ([10**400, 0, 10**400], ("0", "1" + "0" * 400), [1, 0, 1]),
    ],
)
def test_classes_by_their_own_names(column, names, numbers):
    found = labels(column)
    assert found.names == names
    assert found.of["train"].tolist() == numbers


def test_names_that_say_nothing_or_differ_in_letters_alone_are_told_of(caplog):
    cells = {"train": pd.Series(["NA", "Pos", "pos"])}
    column = LabelColumn(cells, "label", "mine")
    tell_of_spellings(GOALS["classes"].read(column), column)
    missing, alike = (record.getMessage() for record in caplog.records)
    assert "1 row(s) of column 'label' of mine have the label 'NA'" in missing
    assert "'Pos' and 'pos'" in alike
    named = LabelColumn(cells, "label", "mine", ("NA", "Pos", "pos"))
    tell_of_spellings(GOALS["classes"].read(named), named)
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    ("cells", "goal", "told"),
    [
        (["a|null", "a", "null"], "labels", "2 row(s) of column 'label' of mine have the label"),
        ([["null"], ["a"], ["a", "b"]], "labels", "1 row(s) of column 'label' of mine have the"),
        (["-", "a", "-"], "classes", "2 row(s) of column 'label' of mine have the label '-'"),
        (["-", "+", "?"], "classes", ""),
        (["-", "+", "NA"], "classes", "have the label 'NA', which"),
    ],
)
def test_rows_whose_label_says_nothing_are_counted(cells, goal, told, caplog):
    column = LabelColumn({"train": pd.Series(cells)}, "label", "mine")
    tell_of_spellings(GOALS[goal].read(column), column)
    said = "".join(record.getMessage() for record in caplog.records)
    assert (told in said) if told else not said


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
    assert labels(versions).names == ()
    assert labels(versions, goal="classes").names == ("1.1", "1.2", "2", "2.1")
    scores = labels(list(range(60)), goal="numbers")
    assert scores.of["train"].tolist() == list(range(60))
    assert len(labels([f"id {row % 30}" for row in range(50)], goal="classes").names) == 30


@pytest.mark.parametrize(
    ("column", "goal"),
    [
        ([0.5, 1.0], "numbers"),
        (["0.5", "1"], "numbers"),
        ([0, 1], "classes"),
        ([True, False], "classes"),
        ([["a"], ["a", "b"], []], "labels"),
        ([np.array(["a"]), np.array(["b"])], "labels"),
        (["['a']", '["a", "b"]', "[]"], "labels"),
        (["[a]", "b"], "classes"),
        (["a|b", "a"], "classes"),
        ([["a"], "b"], "classes"),
    ],
)
def test_what_the_values_say(column, goal):
    assert goal_for(pd.Series(column)) == goal


def test_scores():
    found = labels(["0", "5"], goal="numbers", validation=["2", "3"])
    assert found.names == ()
    assert found.of["train"].dtype == np.float32
    assert found.of["validation"].tolist() == [2, 3]


@pytest.mark.parametrize(
    "column",
    [
        [["b", "a"], [], ["b", "b"]],
        [np.array(["b", "a"]), np.array([]), np.array(["b"])],
        ["['b', 'a']", "[]", "['b']"],
        ['["b", "a"]', "[]", '["b"]'],
        ["a|b", "[]", "b"],
        ["a; b", "[]", " b"],
        ["a, b", "[]", "b"],
    ],
)
def test_sets_of_labels(column):
    found = labels(column, goal="labels")
    assert found.names == ("a", "b")
    assert found.of["train"].tolist() == [[1, 1], [0, 0], [0, 1]]
    assert found.of["train"].dtype == np.float32


def test_sets_of_numbered_labels_by_the_names_of_the_files():
    found = labels([[2, 0], [0]], names=("joy", "anger", "fear"), test=[[2], []])
    assert found.names == ("joy", "anger", "fear")
    assert found.of["train"].tolist() == [[1, 0, 1], [1, 0, 0]]
    assert found.of["test"].tolist() == [[0, 0, 1], [0, 0, 0]]


def test_a_column_for_each_label():
    frame = pd.DataFrame({"toxic": ["1", "0", ""], "rude": [1.0, 0.0, 1.0], "spam": [True] * 3})
    cells = label_cells(frame, Columns("text", ("text",), ("toxic", "rude", "spam")), "mine")
    assert cells.tolist() == [["toxic", "rude", "spam"], ["spam"], None]
    frame.loc[1, "toxic"] = "perhaps"
    with pytest.raises(
        QuestionError, match=r"row 2 of mine has 'perhaps' in column 'toxic'.* holds 0 or 1"
    ):
        label_cells(frame, Columns("text", ("text",), ("toxic", "rude")), "mine")


@pytest.mark.parametrize(
    ("train", "options", "message"),
    [
        (["a", "a"], {}, "one class only in train, column 'label' of mine: every label is 'a'"),
        (
            ["a", None],
            {},
            r"1 of 2 rows of train of mine have no label in column 'label' \(row 2\)"
            ".*--drop-unlabelled",
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
            "holds 50 different labels in 50 rows of train; is it the label.* --goal numbers",
        ),
        (
            [[0], 1],
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
            "row 2 of test of mine has no number in column 'label': 'much'; a score must be one",
        ),
        (
            ["good", "bad"],
            {"goal": "numbers"},
            "row 1 of train of mine has no number in column 'label': 'good'",
        ),
        (
            [["a"], ["b"]],
            {"test": [["a"], ["b", "c"]]},
            "row 2 of test of mine has c in column 'label'; the labels of train are a, b",
        ),
        (
            [["a"], ["b", {"c": 1}]],
            {},
            r"row 2 of train of mine has \"\{'c': 1\}\" among the labels in column 'label'",
        ),
        ([["a"], ["b", None]], {}, "row 2 of train of mine has 'None' among the labels"),
        ([["a"], None], {}, r"1 of 2 rows of train .* \(row 2\).*--drop-unlabelled"),
        (["a", 5], {"goal": "labels"}, "row 2 of train of mine has '5' in column 'label'; the"),
        ([["a"], []], {}, r"has 1 label \(a\) in train; two or more are needed"),
        ([[0], [3]], {"names": ("no", "yes")}, "row 2 of train of mine has 3 in column 'label'"),
    ],
)
def test_refused(train, options, message):
    with pytest.raises(QuestionError, match=message) as error:
        labels(train, **options)
    assert "\n" not in str(error.value)
