"""Every row of TASKS says all that loading needs, and names only what exists."""

import pytest

from tenslora_search.data.metrics import METRICS
from tenslora_search.data.sources import MAKERS, SPLIT_NAMES
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.tasks import TASKS

WANTED = (
    "sst2 cola mrpc rte stsb qnli qqp mnli trec ag_news eurosat dtd cifar10 digits docstrings"
).split()


def test_the_table_holds_the_promised_tasks():
    assert list(TASKS) == WANTED


@pytest.mark.parametrize("name", TASKS)
def test_a_row_is_complete(name):
    task = TASKS[name]
    assert task.name == name
    assert task.metric in METRICS
    assert len(task.columns) == (2 if task.kind == "text_pair" else 1)
    assert SPLIT_NAMES[task.report_split] in ("validation", "test")
    assert (task.goal == "numbers") == (task.metric == "pearson_spearman") == (task.n_outputs == 1)
    assert task.max_steps > 0
    assert task.batch_size > 0
    assert (name in MAKERS) == (not task.needs_network)


def test_default_models():
    assert TASKS["sst2"].model == TASKS["rte"].model == "roberta-base"
    assert TASKS["dtd"].model == "google/vit-base-patch16-224"
    assert (TASKS["digits"].model, TASKS["docstrings"].model) == ("digits-vit", "minilm")


def test_a_wrong_name_suggests_the_right_one():
    with pytest.raises(
        QuestionError, match=r"no task named 'sst'\. Did you mean 'sst2'\? Known: sst2, cola"
    ):
        TASKS["sst"]
