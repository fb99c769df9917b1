"""Every wrong option is one line that names what would work; a run folder answers one question
only.
"""

from pathlib import Path

import pytest

from tenslora_search.runs.question import Question
from tenslora_search.spec.table import QuestionError

GOOD = {"budget": "20k", "task": "digits"}

WRONG = [
    ({"budget": "0"}, "not a parameter count"),
    ({"budget": "-5"}, "not a parameter count"),
    ({"budget": "abc"}, "not a parameter count"),
    ({"budget": "1e3x"}, "not a parameter count"),
    ({"budget": "300kk"}, "not a parameter count"),
    ({"task": "sst3"}, "Did you mean 'sst2'"),
    ({"task": None}, "name a task"),
    ({"trials": 0}, "--trials is a whole number of 1 or more; got 0"),
    ({"retest": -1}, "--retest is a whole number of 0 or more"),
    ({"seed": -1}, "--seed is a whole number of 0 or more; got -1"),
    ({"seed": 5_000_000_000}, "--seed is below 2**32, which is 4294967296; got 5000000000"),
    ({"max_steps": 0}, "--max-steps"),
    ({"batch_size": True}, "--batch-size"),
    ({"objective": "fron"}, "Did you mean 'front'"),
    ({"data": "/nowhere/at/all"}, "no such file or folder"),
    (
        {"model": "roberta-base"},
        "task digits is image, model 'roberta-base' reads text; for image try google/vit",
    ),
    (
        {"task": "trec", "model": "google/vit-base-patch16-224"},
        "for text try roberta-base or minilm.",
    ),
    ({"max_steps": 10**400}, "--max-steps is 1,000,000,000 at most"),
    ({"model": "m" * 5000}, "--model is a text of at most 1,000 plain characters"),
    ({"data": "d" * 5000}, "--data is a text of at most 1,000 plain characters"),
    ({"space": "a\0b"}, "--space is a text"),
    ({"trails": 3}, "Did you mean 'trials'"),
]


@pytest.mark.parametrize(("change", "line"), WRONG, ids=[str(change) for change, _ in WRONG])
def test_a_wrong_option_is_one_line(change, line):
    with pytest.raises(QuestionError) as error:
        Question.of(**{**GOOD, **change})
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_a_task_brings_its_defaults_and_options_win():
    question = Question.of(**GOOD)
    assert (question.model, question.max_steps, question.trials) == ("digits-vit", 120, 44)
    assert Question.of(**GOOD, max_steps=30, model="some/model").max_steps == 30
    assert Question.of(**GOOD, trials=7).trials == 7


def test_own_data_needs_a_model(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("text,label\n")
    with pytest.raises(QuestionError, match="--model"):
        Question.of(budget="1k", data=path)
    assert Question.of(budget="1k", data=path, model="minilm").data == str(path)


@pytest.mark.parametrize(
    ("max_steps", "rungs"),
    [(240, (27, 80, 240)), (2000, (222, 667, 2000)), (12, (4, 12)), (3, (3,))],
)
def test_rungs_are_eta_apart_and_end_at_max_steps(max_steps, rungs):
    assert Question.of(**GOOD, max_steps=max_steps).rungs == rungs


def test_json_there_and_back():
    question = Question.of(**GOOD, columns={"label": "stars"}, count_head=True)
    assert Question.from_json(question.to_json()) == question


def test_a_folder_from_before_an_option_goes_on(tmp_path):
    question = Question.of(budget="1k", data=tmp_path, model="minilm")
    before = Question.from_json(
        {name: value for name, value in question.to_json().items() if name != "goal"}
    )
    before.check_same(question, tmp_path)
    with pytest.raises(QuestionError, match="goal was None, now numbers"):
        before.check_same(
            Question.of(budget="1k", data=tmp_path, model="minilm", labels="numbers"), tmp_path
        )


def test_another_question_in_the_same_folder_is_refused_by_name(tmp_path):
    before, now = Question.of(**GOOD), Question.of(**{**GOOD, "budget": "30k"}, sampler="random")
    with pytest.raises(
        QuestionError, match=r"budget was 20000, now 30000; sampler was tpe, now random"
    ):
        before.check_same(now, tmp_path)
    before.check_same(Question.of(**GOOD, trials=128, retest=5), tmp_path)


def test_a_model_folder_is_known_from_everywhere(tmp_path, monkeypatch):
    (tmp_path / "my-model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert Question.of(budget=100, task="sst2", model="my-model").model == str(
        tmp_path / "my-model"
    )
    assert Question.of(budget=100, task="sst2", model=Path("my-model")).model == str(
        tmp_path / "my-model"
    )
    assert Question.of(budget=100, task="sst2", model="minilm").model == "minilm"


def test_a_goal_may_be_given_by_its_former_name(tmp_path):
    (tmp_path / "own.csv").write_text("text,label\na,b\n")
    asked = Question.of(budget="1k", data=tmp_path / "own.csv", model="minilm", labels="numbers")
    assert asked.goal == "numbers"
    kept = {name: value for name, value in asked.to_json().items() if name != "goal"}
    assert Question.from_json({**kept, "labels": "numbers"}) == asked
    with pytest.raises(QuestionError, match="metric 'accuracy' does not score numbers; these do"):
        Question.of(
            budget="1k",
            data=tmp_path / "own.csv",
            model="minilm",
            goal="numbers",
            metric="accuracy",
        )
    with pytest.raises(QuestionError, match=r"no goal named 'label'. Did you mean 'labels'"):
        Question.of(budget="1k", data=tmp_path / "own.csv", model="minilm", goal="label")
