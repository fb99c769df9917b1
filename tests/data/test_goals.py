"""Every goal: its losses and answers in a pack are those of plain torch, trial by trial; its score
is scikit-learn's.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score
from torch.nn import functional

from tenslora_search.data.goals import GOALS, Classes, Labels, Numbers
from tenslora_search.data.metrics import METRICS
from tenslora_search.spec.metrics import GOAL_METRICS, NOISE, noise_of
from tenslora_search.spec.table import QuestionError

N_TRIALS, N_ROWS = 3, 4


class Plain(torch.nn.Module):
    """Logits that depend on the row and on the trial."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.arange(n_outputs * 2.0).reshape(2, n_outputs) / 7)

    def forward(self, x):
        trial = torch.arange(N_TRIALS).repeat_interleave(N_ROWS)[:, None]
        return type("Output", (), {"logits": x @ self.weight - trial / 3})


CASES = {
    "classes": (
        Classes(("a", "b", "c"), "accuracy"),
        torch.tensor([0, 2, 1, 1]),
        lambda logits, labels: functional.cross_entropy(logits, labels),
    ),
    "labels": (
        Labels(("a", "b", "c"), "f1_micro"),
        torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]]),
        lambda logits, labels: functional.binary_cross_entropy(logits.sigmoid(), labels),
    ),
    "numbers": (
        Numbers((), "pearson", {"units": (10.0, 4.0)}),
        torch.tensor([8.0, 12.0, 14.0, 5.0]),
        lambda logits, labels: ((logits[:, 0] * 4 + 10 - labels) / 4).square().mean(),
    ),
}


def test_every_goal_is_tried_here():
    assert set(CASES) == {name for name, goal in GOALS.items() if not goal.kinds}
    assert {name: goal.metrics for name, goal in GOALS.items()} == dict(GOAL_METRICS)
    assert list(GOALS)[-1] == "classes"


@pytest.mark.parametrize("name", list(CASES))
def test_losses_and_answers_of_a_pack_are_those_of_each_trial(name):
    goal, labels, loss = CASES[name]
    model = Plain(goal.n_outputs)
    batch = {"x": torch.randn(N_ROWS, 2, generator=torch.manual_seed(0)), "labels": labels}
    losses, answers = goal.losses(model, batch, N_TRIALS), goal.answers(model, batch, N_TRIALS)
    assert losses.shape == (N_TRIALS,)
    assert answers.shape[:2] == (N_TRIALS, N_ROWS)
    alone = model.forward(batch["x"].repeat(N_TRIALS, 1)).logits.unflatten(0, (N_TRIALS, -1))
    for trial in range(N_TRIALS):
        torch.testing.assert_close(losses[trial], loss(alone[trial], labels))
    decoded = {
        "classes": alone,
        "labels": alone.sigmoid(),
        "numbers": alone[..., 0] * 4 + 10,
    }
    torch.testing.assert_close(answers, decoded[name])


@pytest.mark.parametrize("name", list(CASES))
def test_a_goal_is_saved_with_a_trial(name):
    goal = CASES[name][0]
    assert GOALS[name].again(goal.names, goal.metric, goal.kept) == goal


@pytest.mark.parametrize("average", ["micro", "macro"])
def test_f1_of_labels_is_that_of_scikit_learn(average):
    generator = np.random.default_rng(0)
    given, truth = generator.random((50, 4)), (generator.random((50, 4)) > 0.7).astype(np.float32)
    expected = f1_score(truth, given > 0.5, average=average, zero_division=0)
    assert Labels(tuple("abcd"), f"f1_{average}").score(given, truth) == pytest.approx(expected)
    assert Labels(tuple("abcd"), f"f1_{average}").score(truth, truth) == 1
    assert np.isnan(Labels(tuple("abcd"), f"f1_{average}").score(given * np.nan, truth))


def test_rows_of_labels_are_cut_by_the_rarest():
    targets = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0], [1, 0, 1]])
    assert Labels.strata(targets).tolist() == [1, 0, 0, 3, 2]


def test_every_metric_has_its_noise_and_a_goal():
    assert set(METRICS) == set(NOISE) == {one for names in GOAL_METRICS.values() for one in names}
    for name, metric in METRICS.items():
        assert metric.noise is NOISE[name]
        assert 0 < noise_of(name, 2000) < noise_of(name, 200) < 0.1
    assert noise_of("score", 10) == noise_of("score", 1000) == 0.01
    share = np.random.default_rng(0).random((2000, 400)) < 0.5
    assert noise_of("accuracy", 400) == pytest.approx(share.mean(axis=1).std(), rel=0.1)


@pytest.mark.parametrize("metrics", [(), "accuracy", None])
def test_a_goal_that_names_no_metrics_is_refused(metrics):
    goal = type("Own", (Classes,), {"name": "own", "metrics": metrics})
    with pytest.raises(QuestionError, match="goal own names no metrics") as raised:
        GOALS.add("own", goal)
    assert "\n" not in str(raised.value)
    assert "own" not in GOALS
    assert "own" not in GOAL_METRICS


def test_a_goal_that_spec_refuses_is_not_added():
    GOAL_METRICS.add("own", ("accuracy",))
    try:
        with pytest.raises(QuestionError, match="already"):
            GOALS.add("own", type("Own", (Classes,), {"name": "own", "metrics": ("accuracy",)}))
        assert "own" not in GOALS
        assert not GOALS.added
    finally:
        GOAL_METRICS.remove("own")


def test_a_goal_goes_though_spec_knows_nothing_of_it():
    GOALS.add("own", type("Own", (Classes,), {"name": "own", "metrics": ("accuracy",)}))
    GOAL_METRICS.remove("own")
    GOALS.remove("own")
    assert "own" not in GOALS


def test_labels_of_a_csv_file(tiny_bert, tmp_path):
    from tenslora_search.data.task import load_task

    rows = [(f"the plot was good {n}", "a|b" if n % 3 else "b") for n in range(90)]
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(tmp_path / "own.csv", index=False)
    found = load_task(data=tmp_path / "own.csv", model=tiny_bert, goal="labels", metric="f1_macro")
    assert (found.goal.name, found.goal.names, found.goal.metric) == (
        "labels",
        ("a", "b"),
        "f1_macro",
    )
    assert found.fit.labels.shape == (len(found.fit), 2)
    assert found.select.labels[:, 1].all()
    assert found.select.labels[:, 0].mean() == pytest.approx(2 / 3, abs=0.1)
