"""Which columns are what: by the question, by the task, by the names people use, by what they
hold."""

import pandas as pd
import pytest

from tenslora_search.data.columns import find_columns
from tenslora_search.data.sources import Source
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.tasks import TASKS

BYTES = b"\x89PNG"


def source(**columns) -> Source:
    return Source(
        "mine", {"train": pd.DataFrame({name: [cell] * 3 for name, cell in columns.items()})}
    )


def roles(data: Source, task: str | None = None, **chosen: str):
    found = find_columns(data, TASKS[task] if task else None, chosen)
    return found.kind, found.inputs, found.label


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"Text": "a", "Label": 1}, ("text", ("Text",), "Label")),
        ({"id": 1, "review": "a", "stars": 5}, ("text", ("review",), "stars")),
        (
            {"question": "a", "sentence": "b", "label": 1},
            ("text_pair", ("question", "sentence"), "label"),
        ),
        (
            {"premise": "a", "hypothesis": "b", "label": 1},
            ("text_pair", ("premise", "hypothesis"), "label"),
        ),
        (
            {"question": "a", "passage": "b", "label": 1},
            ("text_pair", ("question", "passage"), "label"),
        ),
        (
            {"query": "a", "document": "b", "label": 1},
            ("text_pair", ("query", "document"), "label"),
        ),
        ({"body": "a", "title": "b", "label": 1}, ("text_pair", ("title", "body"), "label")),
        ({"img": BYTES, "label": 1}, ("image", ("img",), "label")),
        ({"image_path": "a.png", "class": "cat"}, ("image", ("image_path",), "class")),
        ({"words": "a", "y": 1}, ("text", ("words",), "y")),
        ({"scan": {"bytes": BYTES, "path": None}, "label": 1}, ("image", ("scan",), "label")),
    ],
)
def test_found_by_name_or_content(columns, expected):
    assert roles(source(**columns)) == expected


def test_other_columns_of_text_are_told_of_where_nobody_named_the_inputs():
    data = source(question="a", passage="b", title="c", date="2020", number=3, label="d")
    found = find_columns(data, None, {})
    assert (found.roles, found.unused) == (
        {"text": "question", "text_pair": "passage", "label": "label"},
        ("title",),
    )
    assert find_columns(data, None, {"text": "title"}).unused == ()
    assert find_columns(source(sentence="a", genre="b", label=1), TASKS["sst2"], {}).unused == ()
    assert find_columns(source(image=BYTES, label=1), None, {}).roles == {
        "image": "image",
        "label": "label",
    }


def test_prompts_alone_are_told_what_is_missing():
    for asked in ({}, {"kinds": ("text", "pairs")}):
        with pytest.raises(QuestionError, match=r"with its completion, .* --column text=Prompt"):
            find_columns(source(Prompt="a", other=1), None, {}, **asked)


def test_a_task_knows_its_columns_and_takes_others_of_its_kind():
    glue = source(sentence1="a", sentence2="b", label=1, idx=0)
    assert roles(glue, "mrpc") == ("text_pair", ("sentence1", "sentence2"), "label")
    assert roles(source(text="a", coarse_label=1, fine_label=2), "trec") == (
        "text",
        ("text",),
        "coarse_label",
    )
    assert roles(source(sentence="a", label=1), "trec") == ("text", ("sentence",), "label")
    assert roles(source(image=BYTES, label=1), "cifar10") == ("image", ("image",), "label")


def test_chosen_columns_come_first():
    data = source(text="a", label=1, other="b", verdict=0)
    assert roles(data, text="other", label="verdict") == ("text", ("other",), "verdict")
    assert roles(data, text="text", text_pair="other") == ("text_pair", ("text", "other"), "label")
    assert roles(data, "sst2", text="other") == ("text", ("other",), "label")
    assert roles(source(file="a.png", label=1), image="file") == ("image", ("file",), "label")


@pytest.mark.parametrize(
    ("columns", "task", "chosen", "message"),
    [
        (
            {"text": "a", "mood": 1},
            None,
            {},
            "no label column; columns of mine: text, mood. Name it with --column label=NAME",
        ),
        (
            {"a": "a", "b": "b", "label": 1},
            None,
            {},
            "no text, text pair or image column; columns of mine: a, b, label",
        ),
        ({"text": "a", "label": 1}, "stsb", {}, "no text pair column"),
        (
            {"text": "a", "label": 1},
            None,
            {"label": "verdict"},
            "no column 'verdict' for label; columns of mine: text, label",
        ),
        (
            {"text": "a", "label": 1},
            None,
            {"lable": "label"},
            "no column role named 'lable'. Did you mean 'label'",
        ),
        (
            {"text": "a", "label": 1},
            None,
            {"text_pair": "text"},
            "a column for 'text_pair' needs one for 'text' too",
        ),
        (
            {"a": "a", "b": "b", "label": 1},
            "sst2",
            {"text": "a", "text_pair": "b"},
            "task sst2 is text, the data is text pair",
        ),
    ],
)
def test_what_cannot_be_told_is_one_line(columns, task, chosen, message):
    with pytest.raises(QuestionError, match=message):
        roles(source(**columns), task, **chosen)


def test_a_split_without_labels():
    data = source(text="a", label=1)
    found = find_columns(data, None, {})
    data.frames |= {
        "minus": pd.DataFrame({"text": ["a"], "label": [-1]}),
        "floats": pd.DataFrame({"text": ["a"], "label": [-1.0]}),
        "empty": pd.DataFrame({"text": ["a"], "label": [""]}),
        "none": pd.DataFrame({"text": ["a"]}),
    }
    assert [split for split in data.frames if found.labelled(data, split)] == ["train"]
