"""Every row of TASKS says all that loading needs, and names only what exists."""

import pandas as pd
import pytest

from tenslora_search.data.columns import find_columns
from tenslora_search.data.goals import GOALS
from tenslora_search.data.metrics import METRICS
from tenslora_search.data.sources import MAKERS, SPLIT_NAMES, Source
from tenslora_search.data.worded import right_answers, worded
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.tasks import TASKS

WANTED = (
    "sst2 cola mrpc rte stsb qnli qqp mnli trec ag_news eurosat dtd cifar10 digits docstrings "
    "wikitext2 gsm8k alpaca samsum squad boolq piqa arc_easy arc_challenge openbookqa winogrande "
    "hellaswag docstrings_lm"
).split()


def test_the_table_holds_the_promised_tasks():
    assert list(TASKS) == WANTED


@pytest.mark.parametrize("name", TASKS)
def test_a_row_is_complete(name):
    task = TASKS[name]
    assert task.name == name
    assert task.metric in METRICS
    n_columns = 2 if task.kind == "text_pair" else 1
    assert task.wording or len(task.columns) == n_columns
    assert SPLIT_NAMES.get(task.report_split, "") in ("validation", "test", "")
    assert (task.goal == "numbers") == (task.metric == "pearson_spearman") == (task.n_outputs == 1)
    assert task.max_steps > 0
    assert task.batch_size > 0
    assert (name in MAKERS) == (not task.needs_network)


def test_default_models():
    assert TASKS["sst2"].model == TASKS["rte"].model == "roberta-base"
    assert TASKS["dtd"].model == "google/vit-base-patch16-224"
    assert (TASKS["digits"].model, TASKS["docstrings"].model) == ("digits-vit", "minilm")


ROWS = {
    "gsm8k": {"question": "1 + 1?", "answer": "2\n#### 2"},
    "samsum": {"dialogue": "A: hi", "summary": "A greets."},
    "squad": {"context": "It rains.", "question": "What?", "answers": {"text": ["rain"]}},
    "boolq": {"question": "is it", "passage": "It is.", "answer": True},
    "piqa": {"goal": "open it", "sol1": "push", "sol2": "pull", "label": 1},
    "arc_easy": {
        "question": "Which?", "choices": {"text": ["a", "b"], "label": ["1", "2"]}, "answerKey": "2"
    },
    "openbookqa": {
        "question_stem": "The sun", "choices": {"text": ["a", "b"], "label": ["A", "B"]},
        "answerKey": "B",
    },
    "winogrande": {
        "sentence": "He ate the _ whole", "option1": "pie", "option2": "cake", "answer": "2"
    },
    "hellaswag": {"ctx": "He sits", "endings": ["down.", "up."], "label": "1"},
}  # fmt: skip
WRITTEN = {
    "gsm8k": ("Question: 1 + 1?\nAnswer:", " 2\n#### 2"),
    "samsum": ("A: hi\n\nSummary:", " A greets."),
    "squad": ("It rains.\nQuestion: What?\nAnswer:", " rain"),
    "boolq": ("It is.\nQuestion: is it?\nAnswer:", '[" no", " yes"]'),
    "piqa": ("Question: open it\nAnswer:", '[" push", " pull"]'),
    "arc_easy": ("Question: Which?\nAnswer:", '[" a", " b"]'),
    "openbookqa": ("The sun", '[" a", " b"]'),
    "winogrande": ("He ate the", '[" pie whole", " cake whole"]'),
    "hellaswag": ("He sits", '[" down.", " up."]'),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_of_a_row(name):
    """The right answer, of those that have several, is the second."""
    source = Source("mine", {"train": pd.DataFrame([ROWS[name]])})
    roles = find_columns(source, TASKS[name], {}, GOALS[TASKS[name].goal].kinds)
    frame = source.frames["train"]
    assert tuple(one[0] for one in worded(frame, roles, "mine")) == WRITTEN[name]
    is_choice = TASKS[name].goal == "choice"
    assert right_answers(frame, roles, "mine").tolist() == [int(is_choice)]


def test_a_wrong_name_suggests_the_right_one():
    with pytest.raises(
        QuestionError, match=r"no task named 'sst'\. Did you mean 'sst2'\? Known: sst2, cola"
    ):
        TASKS["sst"]
