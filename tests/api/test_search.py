"""search() and Run: a small search on digits, what its folder tells, and going on in it."""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from tenslora_search.api.results import load_run
from tenslora_search.api.search import search
from tenslora_search.engine.serving import Serving
from tenslora_search.runs.question import Question
from tenslora_search.runs.run_file import RunFile
from tenslora_search.runs.segment import Probe
from tenslora_search.spec.table import QuestionError

ASKED = {
    "task": "digits",
    "budget": "6k",
    "max_steps": 18,
    "batch_size": 16,
    "retest": 2,
    "executor": "inline",
    "cut": False,
}
COLUMNS = """number state method construction decomposition ranks n_params head_params score
report_score report_std step seconds reason"""


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        if "TENSLORA_CACHE" not in os.environ:
            patch.setenv("TENSLORA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def heard():
    return []


@pytest.fixture(scope="module")
def run(tmp_path_factory, told, heard):
    folder = tmp_path_factory.mktemp("search") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["/home/me/tenslora-study/study.py", "--foo"])
        return search(
            **ASKED, trials=8, out=folder, pruner="successive_halving",
            progress=told.append, callbacks=[heard.append],
        )  # fmt: skip


def test_retests_are_told_by_class(run):
    retests = [one for trial in run._record.trials.values() for one in trial.retests.values()]
    assert retests
    for one in retests:
        assert one.by_class is not None
        found, _, there = map(sum, zip(*one.by_class, strict=True))
        assert found / there == pytest.approx(one.report_score)


def test_every_trial_has_a_row(run):
    trials = run.trials()
    assert set(COLUMNS.split()) <= set(trials.columns)
    assert sorted(trials["number"]) == list(range(8))
    assert set(trials["state"]) <= {"complete", "paused"}
    assert "LoRA" in set(trials["method"])
    assert trials["n_params"].max() <= 6_000
    assert run.proof == (8, 0)


def test_the_front_is_not_dominated_and_was_retested(run):
    front, complete = run.front(), run.trials().query("state == 'complete'")
    assert front["score"].is_monotonic_decreasing
    for row in front.itertuples():
        better = complete[(complete["n_params"] <= row.n_params) & (complete["score"] > row.score)]
        assert better.empty
    assert front["report_score"].notna().all()
    assert front["report_std"].notna().all()


def test_the_retest_uses_fresh_seeds(run):
    events = [json.loads(line) for line in (run.folder / "trials.jsonl").read_text().splitlines()]
    searched = {event["spec"]["seed"] for event in events if event["event"] == "proposed"}
    assert {event["seed"] for event in events if event["event"] == "retest"} == {1, 2}
    assert all(seed < 1_000_000 for seed in searched)


def test_others_may_read_states_and_exports(run, tmp_path):
    base = run.export("best", tmp_path / "peft") / "base"
    native = run.export("best", tmp_path / "native", "native")
    paths = [
        path
        for folder in (run.folder, base.parent, native)
        for path in (folder, *folder.rglob("*"))
    ]
    before = os.umask(0o022)
    os.umask(before)
    assert base.is_dir()
    for path in paths:
        assert path.stat().st_mode & 0o777 == (0o777 if path.is_dir() else 0o666) & ~before, path


def test_best_within_fewer_parameters(run):
    front = run.front()
    assert run.best() == front.iloc[0]["number"]
    smallest = front.sort_values("n_params").iloc[0]
    assert run.best(max_params=int(smallest["n_params"])) == smallest["number"]
    assert run.pick("smallest") in set(front["number"])
    with pytest.raises(QuestionError, match="no complete trial has 3 parameters or fewer"):
        run.best(max_params=3)


def test_best_within_a_tolerance(run, monkeypatch):
    def told(*rows: tuple[int, int, float, float]) -> None:
        names = "number", "n_params", "score", "worth"
        found = [SimpleNamespace(state="complete", **dict(zip(names, row, strict=True)))
                 for row in rows]  # fmt: skip
        monkeypatch.setattr(run.__class__, "_record", SimpleNamespace(rows=found))

    told((4, 5000, 0.9, 0.9), (1, 900, 0.88, 0.88), (6, 100, 0.7, 0.7))
    assert [run.best(within=within) for within in (0.0, 0.01, 0.03, 0.5)] == [4, 4, 1, 6]
    assert run.best(max_params=1000) == run.best(max_params=1000, within=0.1) == 1
    for within in (-0.1, float("nan")):
        with pytest.raises(QuestionError, match="within is a difference of scores"):
            run.best(within=within)
    told((4, 5000, 0.8, 0.85), (1, 900, 0.93, 0.82), (6, 100, 0.7, 0.7))  # the luckiest is no best
    assert [run.best(within=within) for within in (0.0, 0.05)] == [4, 1]


def test_an_export_is_of_the_weights_whose_report_score_its_card_states(run, tmp_path):
    from safetensors.torch import load_file

    number = run.best()
    events = [json.loads(line) for line in (run.folder / "trials.jsonl").read_text().splitlines()]
    first, second = (
        event for event in events if event["event"] == "retest" and event["number"] == number
    )
    assert (first["seed"], second["seed"]) == (1, 2)
    folder = run.export("best", tmp_path / "native", "native")
    exported, state = (
        load_file(folder / "tenslora.safetensors"),
        load_file(run.folder / first["state"]),
    )
    assert exported["head.classifier.bias"].equal(state["value.head.classifier.bias"].flatten())
    card = (folder / "README.md").read_text()
    mean = (first["report_score"] + second["report_score"]) / 2
    assert f"| {first['report_score']:.4f} |" in card
    assert f"| {mean:.4f} ± " in card
    assert f"value: {first['report_score']}\n" in card
    assert "budget=6000, model='digits-vit', task='digits', trials=8" in card
    assert (
        f"tenslora-search export {run.folder} --pick {number} --format native --to {folder}" in card
    )


def test_a_trial_that_was_not_retested_is_exported_as_the_search_left_it(tmp_path):
    run = search(**{**ASKED, "retest": 0}, trials=2, out=tmp_path / "run")
    number = run.best()
    card = (run.export(number, tmp_path / "peft") / "README.md").read_text()
    assert "not measured" in card
    state = next((run.folder / "states").glob(f"{number}-*.safetensors"))
    state.unlink()
    with pytest.raises(
        QuestionError, match=f"the weights of trial {number} are not in .*{state.name} is missing"
    ):
        run.export(number, tmp_path / "again")


@pytest.mark.parametrize(
    ("which", "format", "to", "message"),
    [
        (8, "peft", "new", "no trial 8 in .* it has 8, numbered from 0"),
        ("bets", "peft", "new", "Did you mean 'best'"),
        ("-1", "peft", "new", "no pick named '-1'"),
        ("²", "peft", "new", "no pick named '²'"),
        (
            "paused",
            "peft",
            "new",
            r"trial \d is paused, not complete; only a trained adapter can be exported",
        ),
        ("best", "pfet", "new", "Did you mean 'peft'"),
        ("best", "peft", "run.json", "it is a file"),
        ("best", "peft", ".", "is no export: it holds adapters, front.csv"),
    ],
)
def test_what_cannot_be_exported(run, tmp_path, which, format, to, message):
    if which == "paused":
        which = int(run.trials().query("state == 'paused'")["number"].iloc[0])
    to = tmp_path / to if to == "new" else run.folder / to
    with pytest.raises(QuestionError, match=message) as error:
        run.export(which, to, format)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "new").exists()


def test_a_run_is_loaded_from_its_folder(run):
    again = load_run(run.folder)
    assert again.trials().equals(run.trials())
    assert again.proof == (8, 0)
    assert {path.name for path in (run.folder / "adapters").iterdir()} >= set(
        map(str, run.front()["number"])
    )
    assert not list(run.folder.glob(".segment-*"))


def test_a_script_of_the_users_is_no_command_line(run):
    assert run.file.command is None


def test_progress_is_told(run, told):
    assert [one.phase for one in told] == sorted(
        (one.phase for one in told), reverse=True
    )  # search, then retest
    assert told[-1].n_retests == (2, 2)  # a pack a seed
    assert told[-1].n_trials == sum(told[-1].counts.values()) == 8
    assert told[-1].best == pytest.approx(run.front()["score"].max())


def test_callbacks_hear_of_every_event_of_a_trial(run, heard):
    events = [json.loads(line) for line in (run.folder / "trials.jsonl").read_text().splitlines()]
    assert heard == [event for event in events if "number" in event]
    assert {event["event"] for event in heard} == {
        "proposed",
        "rung",
        "promoted",
        "paused",
        "complete",
        "retest",
    }


def test_what_a_callback_raises_ends_the_search_and_nothing_is_lost(tmp_path):
    def breaks(event):
        if event["event"] == "rung":
            raise ConnectionError("no such server")

    with pytest.raises(ConnectionError, match="no such server"):
        search(**ASKED, trials=2, out=tmp_path / "run", callbacks=[breaks])
    run = search(**ASKED, trials=2, out=tmp_path / "run")
    assert set(run.trials()["state"]) <= {"complete", "paused"}
    assert run.proof == (2, 0)


def test_an_inline_search_has_no_use_for_callbacks_of_ray(tmp_path):
    class Logger:
        """Stands for ray.tune.Callback: no function."""

    with pytest.raises(
        QuestionError,
        match='Logger is no function of an event; callbacks of Ray Tune need executor="ray"',
    ):
        search(**ASKED, trials=2, out=tmp_path / "run", callbacks=[Logger()])
    assert not (tmp_path / "run").exists()


def test_more_trials_take_a_search_further_and_another_question_is_refused(tmp_path):
    folder = tmp_path / "run"
    few = search(**{**ASKED, "retest": 0}, trials=3, out=folder)
    before = few.trials().set_index("number")["n_params"]
    more = (
        search(**{**ASKED, "retest": 0}, trials=5, out=folder)
        .trials()
        .set_index("number")["n_params"]
    )
    assert len(more) == 5
    assert more.loc[before.index].equals(before)
    with pytest.raises(QuestionError, match="seed was 0, now 1"):
        search(**{**ASKED, "retest": 0}, trials=5, seed=1, out=folder)
    assert (
        len(search(**{**ASKED, "retest": 0}, trials=3, seed=1, out=folder, force=True).trials())
        == 3
    )


@pytest.mark.usefixtures("run")
def test_a_time_limit_ends_the_search_with_a_report(tmp_path):
    """Model and data, which `run` has read, are there before it is over."""
    found = search(**ASKED, trials=500, time_limit=5.0, out=tmp_path / "run")
    assert len(found.trials()) < 500
    assert (found.folder / "report.html").is_file()


@pytest.mark.parametrize("gpus", [-1, 1.5, float("nan")])
def test_gpus_per_worker(gpus, tmp_path):
    with pytest.raises(QuestionError, match="--gpus-per-worker"):
        search(**ASKED, gpus_per_worker=gpus, out=tmp_path / "run")


def test_a_wave_is_cut_into_a_pack_a_worker_and_no_larger_than_was_asked(tmp_path):
    """On GPUs, where a pack of all there is would leave others without work."""
    sizes = {}
    for name, pack in (("auto", None), ("asked", 5)):
        segments: list[int] = []
        question = Question.of(budget=20_000, task="digits", trials=80)
        run = RunFile(
            question=question, budget=20_000, head_params=0, task="digits", model="digits-vit",
            metric="accuracy", labels=(), goal="classes", geometry=question.geometry(),
            rungs=question.rungs, versions={}, data_digest=None, command=None,
        )  # fmt: skip
        (tmp_path / name / "states").mkdir(parents=True)
        serving = Serving(
            tmp_path / name,
            question,
            run,
            began=time.monotonic(),
            time_limit=None,
            pack=pack,
            progress=None,
        )
        serving.served_by(2, on_gpu=True)
        while (work := serving.next_work()) is not None:
            if isinstance(work, Probe):
                serving.answered(work, (64.0,))
            else:
                segments.append(len(work.entrants))
        sizes[name] = segments
    assert sizes == {"auto": [10, 10], "asked": [5, 5, 5, 5]}


def test_searches_in_threads_take_turns_and_give_what_they_give_alone(run, tmp_path):
    """They share the backbone that a process keeps; `run` is there so that it is trained."""
    asked = {**ASKED, "retest": 0, "trials": 2, "max_steps": 6}

    def scores(seed: int, folder: str) -> list[float]:
        return search(**asked, seed=seed, out=tmp_path / folder).trials()["score"].tolist()

    with ThreadPoolExecutor(2) as threads:
        found = [threads.submit(scores, seed, f"thread-{seed}") for seed in range(2)]
    assert [one.result() for one in found] == [scores(seed, f"alone-{seed}") for seed in range(2)]


def test_texts_where_lists_belong_and_a_time_limit_as_it_is_typed(tmp_path):
    for name, value in (("track", "mlflow"), ("plugins", "mine.py"), ("plugins", 3)):
        with pytest.raises(QuestionError, match=f"{name} is a list of texts.*; got {value!r}"):
            search(**ASKED, **{name: value}, out=tmp_path / "run")
    with pytest.raises(QuestionError, match="'soon' is no time limit"):
        search(**ASKED, time_limit="soon", out=tmp_path / "run")
