"""load_task() on real files: fit, select and report never share a row, keep the shares of the
classes, and obey the seed.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tenslora_search.data import task as module
from tenslora_search.data.goals import base
from tenslora_search.data.task import load_task
from tenslora_search.spec.table import QuestionError


@pytest.fixture
def texts(monkeypatch) -> dict[str, list]:
    """The texts of each split by the next load_task, in its order."""
    found: list = []

    def spy(rows, *arguments, **options):
        found.append(list(zip(*rows.columns, strict=True)))
        return encode(rows, *arguments, **options)

    encode = base.encode
    monkeypatch.setattr(base, "encode", spy)
    return found


def share(labels) -> float:
    return float((labels == 0).double().mean())


def test_split_from_train_alone(reviews, tiny_bert, tmp_path, texts):
    """Every row once; one of four is negative on each side; the duplicates of a text are on one
    side.
    """
    reviews.to_csv(tmp_path / "reviews.csv", index=False)
    task = load_task(data=tmp_path / "reviews.csv", model=tiny_bert)
    assert (task.name, task.goal.names, task.goal.metric, task.goal.n_outputs) == (
        "reviews",
        ("negative", "positive"),
        "accuracy",
        2,
    )
    assert (
        len(task.fit) + len(task.select) + len(task.report) == len(reviews) == sum(map(len, texts))
    )
    assert reviews["sentence"].duplicated().any()
    assert not any(
        set(one) & set(other)
        for one, other in ((texts[0], texts[1]), (texts[0], texts[2]), (texts[1], texts[2]))
    )
    for split in (task.fit, task.select, task.report):
        assert share(split.labels) == pytest.approx(0.25, abs=0.1)
    assert len(task.select) == pytest.approx(0.3 * len(reviews), abs=12)


def test_labels_stay_with_their_texts(reviews, tiny_bert, tmp_path, texts):
    reviews.to_parquet(tmp_path / "train.parquet")
    task = load_task(data=tmp_path, model=tiny_bert)
    mood = dict(zip(reviews["sentence"], reviews["label"], strict=True))
    for split, rows in zip((task.fit, task.select, task.report), texts, strict=True):
        assert [task.goal.names[label] for label in split.labels] == [
            mood[text] for (text,) in rows
        ]


def test_the_seed_decides_the_cut_and_the_digest(reviews, tiny_bert, tmp_path, texts):
    reviews.to_csv(tmp_path / "train.csv", index=False)
    once, again, other = (
        load_task(data=tmp_path, model=tiny_bert, seed=seed) for seed in (0, 0, 1)
    )
    assert texts[0:3] == texts[3:6] != texts[6:9]
    assert once.digest == again.digest != other.digest
    changed = reviews.assign(label=reviews["label"].where(reviews.index != 5, "negative"))
    changed.to_csv(tmp_path / "train.csv", index=False)
    assert load_task(data=tmp_path, model=tiny_bert).digest != once.digest


def test_a_test_split_is_the_report_and_its_rows_leave_train(reviews, tiny_bert, tmp_path, texts):
    apart = reviews.drop_duplicates("sentence").reset_index(drop=True)
    apart.to_csv(tmp_path / "train.csv", index=False)
    report = pd.concat([apart.iloc[:10], apart.iloc[:2].assign(sentence="so bad")])
    report.to_csv(tmp_path / "test.csv", index=False)
    task = load_task(data=tmp_path, model=tiny_bert)
    fit, select, own = map(set, texts)
    assert len(task.report) == 12  # as it stands in the file
    assert [text for (text,) in texts[2]] == report["sentence"].tolist()
    assert not own & (fit | select)
    assert len(fit) + len(select) == len(apart) - 10


def test_rows_of_a_group_column_stay_on_one_side(reviews, tiny_bert, tmp_path, texts):
    own = reviews.drop_duplicates("sentence").reset_index(drop=True)
    own = own.assign(patient=[f"p{k // 6}" for k in range(len(own))])
    own.loc[own.index[-6:], "patient"] = [f"alone {k}" for k in range(6)]
    own.assign(patient=own["patient"].where(~own["patient"].str.startswith("alone"))).to_csv(
        tmp_path / "own.csv", index=False
    )
    columns = {"text": "sentence", "label": "label"}
    found = load_task(data=tmp_path / "own.csv", model=tiny_bert, columns=columns, group="patient")
    patient_of = dict(zip(own["sentence"], own["patient"], strict=True))
    sides = [{patient_of[text] for (text,) in part} for part in texts]
    assert not sides[0] & sides[1]
    assert not (sides[0] | sides[1]) & sides[2]
    n_groups = own["patient"].nunique()
    about = {"by": "patient", "rows": len(own), "groups": n_groups, "largest": 6}
    assert found.grouped == about
    with pytest.raises(QuestionError, match="no column 'docter' for --group"):
        load_task(data=tmp_path / "own.csv", model=tiny_bert, columns=columns, group="docter")


@pytest.mark.parametrize(
    ("name", "files", "expected"),
    [
        (None, ("train", "validation", "test"), "test"),
        (None, ("train", "validation"), "validation"),
        (
            "sst2",
            ("train", "validation", "test"),
            "validation",
        ),  # GLUE's test has no labels to speak of
        ("trec", ("train", "validation", "test"), "test"),
    ],
)
def test_which_split_is_the_report(reviews, tiny_bert, tmp_path, texts, name, files, expected):
    for file in files:
        own = reviews.assign(sentence=reviews["sentence"] + f" {file}")
        own.to_csv(tmp_path / f"{file}.csv", index=False)
    load_task(name, data=tmp_path, model=tiny_bert)
    assert {text.split()[-1] for (text,) in texts[2]} == {expected}
    assert {text.split()[-1] for (text,) in texts[0] + texts[1]} == {"train"}


def test_a_split_without_labels_is_passed_over_and_told(reviews, tiny_bert, tmp_path, caplog):
    numbers = reviews.assign(label=(reviews["label"] == "positive").astype(int))
    numbers.to_csv(tmp_path / "train.csv", index=False)
    numbers.head(30).assign(label=-1).to_csv(tmp_path / "test.csv", index=False)
    task = load_task(data=tmp_path, model=tiny_bert)
    assert len(task.report) != 30
    assert task.goal.names == ("0", "1")
    assert f"test of {tmp_path} is left out: it has no labels" in caplog.text
    assert "is scored on rows cut from train" in caplog.text


def test_scores_are_cut_from_low_to_high(tiny_bert, tmp_path):
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "text": [f"good {'very ' * (row % 9)}{row}" for row in range(200)],
            "score": generator.normal(size=200),
        }
    )
    frame.to_csv(tmp_path / "train.csv", index=False)
    task = load_task(data=tmp_path, model=tiny_bert)
    assert (task.goal.name, task.goal.n_outputs, task.goal.names, task.goal.metric) == (
        "numbers",
        1,
        (),
        "pearson_spearman",
    )
    for split in (task.fit, task.select, task.report):
        assert float(split.labels.median()) == pytest.approx(frame["score"].median(), abs=0.25)


def test_images_of_a_csv_file(tiny_vit, tmp_path):
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    names = [f"pictures/{row}.png" for row in range(40)]
    for row, name in enumerate(names):
        Image.new("RGB", (9, 7), (row, 255 - row, 200 * (row % 2))).save(tmp_path / name)
    pd.DataFrame({"image": names, "label": ["even", "odd"] * 20}).to_csv(
        tmp_path / "train.csv", index=False
    )
    task = load_task(data=tmp_path, model=tiny_vit)
    assert task.fit.inputs["pixel_values"].shape == (len(task.fit), 3, 12, 12)
    blue = task.fit.inputs["pixel_values"][:, 2].amax((1, 2))
    assert [task.goal.names[label] for label in task.fit.labels] == [
        "odd" if shade else "even" for shade in blue
    ]


def test_a_class_that_some_part_has_no_row_of_is_told(reviews, tiny_bert, tmp_path):
    rare = pd.DataFrame({"sentence": ["a single row of its own"], "label": ["rare"]})
    pd.concat([reviews, rare]).to_csv(tmp_path / "train.csv", index=False)
    ((name, parts),) = load_task(data=tmp_path, model=tiny_bert).absent.items()
    assert name == "rare"
    assert len(parts) == 2
    assert set(parts) < {"fit", "select", "report"}


def test_fit_rows_is_a_stratified_cap(reviews, tiny_bert, tmp_path):
    reviews.to_csv(tmp_path / "train.csv", index=False)
    whole = load_task(data=tmp_path, model=tiny_bert)
    capped = load_task(data=tmp_path, model=tiny_bert, fit_rows=16)
    assert len(capped.fit) <= 16
    assert share(capped.fit.labels) == pytest.approx(0.25, abs=0.1)
    assert (len(capped.select), len(capped.report)) == (len(whole.select), len(whole.report))
    with pytest.raises(QuestionError, match="fit_rows must be 1 or more; got 0"):
        load_task(data=tmp_path, model=tiny_bert, fit_rows=0)


def test_a_glance_is_a_stratified_part_of_select(reviews, tiny_bert, tmp_path, monkeypatch):
    reviews.to_csv(tmp_path / "train.csv", index=False)
    assert (small := load_task(data=tmp_path, model=tiny_bert)).glance is small.select
    monkeypatch.setattr(module, "GLANCE_ROWS", 12)
    first, second = (load_task(data=tmp_path, model=tiny_bert) for _ in range(2))
    assert len(first.glance) == pytest.approx(12, abs=1)
    assert share(first.glance.labels) == pytest.approx(0.25, abs=0.1)
    assert first.glance.inputs["input_ids"].equal(second.glance.inputs["input_ids"])
    rows = {tuple(row) for row in first.select.inputs["input_ids"].tolist()}
    assert {tuple(row) for row in first.glance.inputs["input_ids"].tolist()} <= rows


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (
            "text,label\na,x\na,y\na,x\n",
            None,
            "train has 3 rows, 1 of them different: too few to cut a report split from",
        ),
        (
            "text,label\na,x\nb,y\n",
            "text,label\na,x\nb,y\n",
            "2 of 2 rows of train are in test too",
        ),
        (
            "text,label\na,x\nb,y\nc,x\n",
            "text,label\nb,y\n",
            "holds less than two different labels",
        ),
    ],
)
def test_too_little_is_one_line(tiny_bert, tmp_path, train, test, message):
    (tmp_path / "train.csv").write_text(train)
    if test:
        (tmp_path / "test.csv").write_text(test)
    with pytest.raises(QuestionError, match=message):
        load_task(data=tmp_path, model=tiny_bert)


def test_a_model_of_the_other_kind(reviews, tiny_vit, tiny_bert, tmp_path):
    reviews.to_csv(tmp_path / "train.csv", index=False)
    with pytest.raises(
        QuestionError,
        match=r"the data \(column 'sentence'\) is text, model .* reads image; for text try",
    ):
        load_task(data=tmp_path, model=tiny_vit)
    with pytest.raises(
        QuestionError,
        match=r"task digits is image, model .* reads text; for image try .*digits-vit",
    ):
        load_task("digits", model=tiny_bert)


def test_nothing_asked():
    with pytest.raises(
        QuestionError, match="name a task or give your own data with --data; tasks: sst2"
    ):
        load_task(model="minilm")
    with pytest.raises(QuestionError, match="no such file or folder"):
        load_task(data=Path("nowhere"), model="minilm")


def test_the_tasks_without_network():
    digits = load_task("digits", model="digits-vit")
    assert (digits.goal.names, digits.goal.metric) == (tuple("56789"), "accuracy")
    assert len(digits.fit) + len(digits.select) + len(digits.report) == 896
    words = load_task("docstrings", model="minilm", fit_rows=100)
    assert words.goal.names == ("numpy", "pandas", "ray", "torch", "transformers")
    assert 95 <= len(words.fit) <= 100
