"""ask_tell(): a loop of one's own trains what is proposed, is stopped where others do better, and
goes on after a drop.
"""

import copy
import json

import pytest
import torch

from tenslora_search import (
    AdapterSpec,
    Geometry,
    QuestionError,
    ask_tell,
    attach,
    geometry_of,
    search,
)
from tenslora_search.spec.table import NothingFitsError

GEOMETRY = Geometry.attention(32, 4, 2)
ASKED = {
    "budget": "2k",
    "geometry": GEOMETRY,
    "sampler": "random",
    "pruner": "successive_halving",
    "max_steps": 36,
    "seed": 2,  # of its trials two are stopped, and go on once others do worse
}


def score_of(trial, step: int) -> float:
    """A stand-in for training: smaller adapters are better, and all improve."""
    return 1 - trial.spec.adapter.n_params / 4000 + step / 10_000


def run_all(study, most: int = 100) -> list[tuple[int, int]]:
    """Trains what is asked for; (number, step begun from) of each."""
    begun = []
    while len(begun) < most and (trial := study.ask()):
        begun.append((trial.number, trial.step))
        for step in trial.steps:
            if not study.report(trial, step, score_of(trial, step)):
                break
    return begun


@pytest.fixture
def study(tmp_path):
    with ask_tell(**ASKED, trials=12, out=tmp_path / "own") as study:
        yield study


def test_a_real_training_loop(tiny, tmp_path):
    """Adapters of a tiny BERT learn which of two tokens a row begins with; every proposal fits."""
    base, _ = tiny("bert")
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(3, 32, (64, 6), generator=generator)
    labels = (rows[:, 1] > 17).long()
    with ask_tell(
        budget=600, geometry=geometry_of(base), trials=4, max_steps=24, out=tmp_path / "own"
    ) as study:
        while trial := study.ask():
            assert isinstance(trial.spec.adapter, AdapterSpec)
            assert trial.spec.adapter.n_params <= 600
            model = copy.deepcopy(base)
            adapter = attach(model, trial.spec.adapter, seeds=trial.spec.seed)
            assert adapter.n_params == trial.spec.adapter.n_params
            trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
            optimizer = torch.optim.AdamW(trained, lr=trial.spec.learning_rate)
            done = 0
            for step in trial.steps:
                for _ in range(done, step):
                    torch.nn.functional.cross_entropy(model(rows).logits, labels).backward()
                    optimizer.step()
                    optimizer.zero_grad()
                done = step
                with torch.no_grad():
                    score = (model(rows).logits.argmax(1) == labels).double().mean()
                if not study.report(trial, step, score):  # a tensor is a number too
                    break
        trials = study.run.trials()
        assert set(trials["state"]) <= {"complete", "paused"}
        assert (
            study.front()["score"].iloc[0]
            == trials.query("state == 'complete'")["score"].max()
            > 0.6
        )
        assert study.run.proof == (4, 0)
        assert study.run.report().is_file()
        with pytest.raises(QuestionError, match=r"weights of trial \d are not in .* save_peft"):
            study.run.export("best", tmp_path / "adapter")


def test_a_model_is_a_path_too_and_a_seed_the_largest_there_is(tmp_path):
    (tmp_path / "config.json").write_text(
        '{"model_type": "bert", "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 2}'
    )
    for _ in ("begun", "gone on with"):
        with ask_tell(
            budget=600, model=tmp_path, trials=2, seed=2**32 - 1, out=tmp_path / "own"
        ) as study:
            assert run_all(study, 1)


def test_none_means_wait_until_all_are_done(tmp_path):
    with ask_tell(**{**ASKED, "max_steps": 1}, trials=2, out=tmp_path / "own") as study:
        first, second = study.ask(), study.ask()
        assert study.ask() is None
        assert not study.done
        study.tell(first, 0.5)
        study.tell(second, 0.6)
        assert study.ask() is None
        assert study.done


def test_trials_are_stopped_at_rungs_and_some_go_on_after_all(study):
    begun = run_all(study)
    trials = study.run.trials().set_index("number")
    assert [number for number, step in begun if step == 0] == list(range(12))
    assert set(trials["state"]) == {"complete", "paused"}
    again = {number: step for number, step in begun if step > 0}
    assert again
    for number, step in again.items():
        assert trials.loc[number, "step"] > step
    assert study.ask() is None
    assert study.front().equals(study.run.front())


def test_one_score_a_trial_where_there_are_no_rungs(tmp_path):
    import optuna

    with ask_tell(budget="2k", geometry=GEOMETRY, trials=3, out=tmp_path / "own") as study:
        for state in ("complete", "failed", "failed"):
            trial = study.ask()
            assert trial.steps == (1,)
            if state == "complete":
                study.tell(trial, 0.5)
            elif trial.number == 1:
                study.tell(trial, error="the GPU fell off the bus")
            else:
                study.tell(trial, float("nan"))
        assert study.ask() is None
        trials = study.run.trials()
    assert list(trials["state"]) == ["complete", "failed", "failed"]
    assert list(trials["reason"]) == ["", "the GPU fell off the bus", "its score is not finite"]
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "own" / "study.journal"))
    )
    states = [one.state.name for one in optuna.load_study(study_name=None, storage=storage).trials]
    assert states == ["COMPLETE", "FAIL", "FAIL"]


def test_a_dropped_loop_goes_on_where_it_was(tmp_path):
    straight, dropped = tmp_path / "straight", tmp_path / "dropped"
    with ask_tell(**ASKED, trials=8, out=straight) as study:
        begun = run_all(study)
        expected = study.run.trials()
    study = ask_tell(**ASKED, trials=8, out=dropped)
    run_all(
        study, most=begun.index((7, 0))
    )  # up to the last proposal: an opened study draws its proposals anew
    lost = study.ask()
    study.report(lost, lost.steps[0], score_of(lost, lost.steps[0]))
    del study  # its process dies
    with ask_tell(**ASKED, trials=8, out=dropped) as study:
        run_all(study)
        found = study.run.trials()
    columns = ["number", "state", "n_params", "score", "step"]
    assert found[columns].equals(expected[columns])


def test_a_trial_that_was_never_told_is_asked_again(tmp_path):
    with ask_tell(**ASKED, trials=8, out=tmp_path / "own") as study:
        before = study.ask()
    with ask_tell(**ASKED, trials=8, out=tmp_path / "own") as study:
        assert study.ask() == before


def test_several_trials_at_once(study):
    trials = [study.ask() for _ in range(3)]
    assert [trial.number for trial in trials] == [0, 1, 2]
    for trial in reversed(trials):
        study.report(trial, trial.steps[0], score_of(trial, trial.steps[0]))
    events = [
        json.loads(line) for line in (study.run.folder / "trials.jsonl").read_text().splitlines()
    ]
    assert [event["number"] for event in events if event["event"] == "rung"] == [2, 1, 0]


def test_wrong_reports_say_what_is_awaited(study):
    trial = study.ask()
    with pytest.raises(
        QuestionError, match="trial 0 is to be reported at step 4 next; got step 36"
    ):
        study.report(trial, 36, 0.5)
    with pytest.raises(
        QuestionError, match=r"reported at step 4 first; tell\(\) takes the score at step 36"
    ):
        study.tell(trial, 0.5)
    with pytest.raises(QuestionError, match="its score or its error"):
        study.tell(trial)
    study.tell(trial, error="no memory")
    with pytest.raises(QuestionError, match="trial 0 is not being trained: it is failed"):
        study.report(trial, 4, 0.5)


def test_wrong_questions(tmp_path, study):
    with pytest.raises(QuestionError, match="one of the two"):
        ask_tell(budget="2k", out=tmp_path / "a")
    with pytest.raises(QuestionError, match="Did you mean 'pruner'"):
        ask_tell(budget="2k", geometry=GEOMETRY, out=tmp_path / "a", prunr="none")
    with pytest.raises(QuestionError, match="Did you mean 'random'"):
        ask_tell(budget="2k", geometry=GEOMETRY, out=tmp_path / "a", sampler="randm")
    with pytest.raises(NothingFitsError):
        ask_tell(budget=3, geometry=GEOMETRY, out=tmp_path / "a")
    assert not (tmp_path / "a").exists()
    with pytest.raises(QuestionError, match="another search runs in"):
        ask_tell(**ASKED, trials=12, out=study.run.folder)
    study.close()
    with pytest.raises(QuestionError, match="another geometry"):
        ask_tell(
            **{**ASKED, "geometry": Geometry.attention(16, 4, 2)}, trials=12, out=study.run.folder
        )
    with pytest.raises(QuestionError, match="max_steps was 36, now 9"):
        ask_tell(**{**ASKED, "max_steps": 9}, trials=12, out=study.run.folder)
    with pytest.raises(QuestionError, match=r"holds another search: .*task was None, now digits"):
        search(task="digits", budget="2k", out=study.run.folder, executor="inline")
    with ask_tell(**ASKED, trials=14, out=study.run.folder) as more:
        assert len(run_all(more)) >= 14


def test_methods_narrow_the_proposals_and_are_part_of_the_question(tmp_path):
    said = {**ASKED, "out": tmp_path / "own"}
    with ask_tell(**said, methods="sora,lotr") as study:
        assert {study.ask().spec.method for _ in range(6)} == {"SoRA", "LoTR"}
    with pytest.raises(QuestionError, match="methods was"):
        ask_tell(**said, methods=["sora"])
    with pytest.raises(QuestionError, match="needs the probe"):
        ask_tell(**said, methods="gelora", force=True)
    with pytest.raises(QuestionError, match="no method named 'sorra'"):
        ask_tell(**said, methods=["sorra"], force=True)
