"""A search for each goal on data of one's own: what it exports scores what its card says."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import torch

from tenslora_search import load_run, search
from tenslora_search.data.goals import GOALS
from tenslora_search.data.task import load_task

ADJECTIVES = ("good", "bad", "dull", "great")


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Texts with the labels that their words say: none, one or two."""
    generator = np.random.default_rng(0)
    found = []
    for _ in range(300):
        words = [word for word in ADJECTIVES if generator.random() < 0.4]
        names = [word for word in words if word in ("good", "bad", "dull")]
        noun = generator.choice(["film", "plot", "cast", "scene", "ending"])
        text = (
            f"the {noun} was {' and '.join(words) or 'so'} {'very ' * int(generator.integers(4))}"
        )
        found.append((text, json.dumps(names)))
    return pd.DataFrame(found, columns=["text", "label"])


@pytest.fixture(scope="module")
def run(rows, tiny_bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    rows.to_csv(folder / "own.csv", index=False)
    return search(
        data=folder / "own.csv", model=tiny_bert, budget="2k", trials=4, max_steps=60,
        batch_size=16, retest=1, executor="inline", out=folder / "run",
    )  # fmt: skip


def test_labels_are_found_and_learnt(run):
    assert run.file.goal == "labels"
    assert run.file.labels == ("bad", "dull", "good")
    assert run.file.metric == "f1_micro"
    assert set(run.trials()["state"]) <= {"complete", "paused"}
    assert (run.folder / "report.html").is_file()


@pytest.mark.parametrize("format", ["peft", "native", "merged"])
def test_an_export_scores_what_its_card_says(run, format, tmp_path):
    to = run.export("best", tmp_path / format, format)
    readme = (to / "README.md").read_text(encoding="utf-8")
    loading, predicting, many = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    made: dict = {}
    exec(loading, made)
    question = run.file.question
    data = load_task(data=question.data, model=question.model)
    with torch.no_grad():
        answers = made["model"](**data.report.inputs).logits.sigmoid().numpy()
    score = data.goal.score(answers, data.report.labels.numpy())
    said = float(re.search(r"these weights \| ([\d.]+) \|", readme)[1])
    assert said == pytest.approx(score, abs=5e-5)
    assert made["model"].config.problem_type == "multi_label_classification"
    exec(predicting.replace("a text", "the film was bad and dull"), made)
    assert set(made["answer"]) <= {"good", "bad", "dull"}
    exec(many, made)
    answers = [one for of_text in made["answers"] for one in of_text]
    assert [set(one) for one in answers] == [{"label", "score"}] * len(answers)
    assert {one["label"] for one in answers} == {"good", "bad", "dull"}
    assert "name: f1_micro on report, these weights" in readme
    assert "type: f1\n" in readme


def test_several_columns_of_0_and_1(rows, tiny_bert, tmp_path):
    sets = rows["label"].map(json.loads)
    marks = {name: sets.map(lambda names, name=name: int(name in names)) for name in ADJECTIVES[:3]}
    pd.DataFrame({"text": rows["text"], **marks}).to_csv(tmp_path / "own.csv", index=False)
    named = load_task(
        data=tmp_path / "own.csv", model=tiny_bert, columns={"label": "good,bad,dull"}
    )
    listed = load_task(
        data=tmp_path / "own.csv", model=tiny_bert, columns={"label": ["good", "bad", "dull"]}
    )
    assert named.goal == listed.goal
    assert (named.goal.name, named.goal.names) == ("labels", ("good", "bad", "dull"))
    assert named.digest == listed.digest


def test_a_folder_from_before_goals_had_names(run, tmp_path):
    old = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))
    old["question"] = {
        {"goal": "labels"}.get(name, name): value
        for name, value in old["question"].items()
        if name not in ("metric", "drop_unlabelled")
    }
    old["question"]["labels"] = "numbers"
    del old["goal"], old["question"]["labels"]
    for is_number, goal in ((True, "numbers"), (False, "classes")):
        (tmp_path / "run.json").write_text(json.dumps({**old, "regression": is_number}))
        assert load_run(tmp_path).file.goal == goal
        assert goal in GOALS
