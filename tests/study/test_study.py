"""The study against a synthetic objective: budgets, rungs, pauses, failures, and going on from any
point of its journal.
"""

import itertools
import math
import random
import shutil

import optuna
import pytest

from tenslora_search.runs.journal import Journal
from tenslora_search.runs.segment import TrialResult
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.table import QuestionError, Table
from tenslora_search.study.order import FRESH
from tenslora_search.study.pruners import PRUNERS
from tenslora_search.study.samplers import SAMPLERS
from tenslora_search.study.space import SearchSpace
from tenslora_search.study.study import Study

BUDGET, RUNGS = 6_000, (3, 9, 27)
GEOMETRY = Geometry.attention(32, 4, 3)


def open_study(folder, *, n_trials=24, space="default", budget=BUDGET, **options) -> Study:
    return Study(
        SearchSpace.load(space, GEOMETRY, budget), folder, n_trials=n_trials, rungs=RUNGS, **options
    )


def score(spec, step: int) -> float:
    """More parameters and steps are better, a learning rate near 5e-3 is best."""
    rate = abs(math.log(spec.learning_rate / 5e-3)) * 0.05
    return 1 - spec.adapter.n_params**-0.3 - rate - 0.2 / (1 + step / 5)


def results(work) -> list[TrialResult]:
    return [
        TrialResult(one.number, work.to_step, score(one.spec, work.to_step), 0.5, None, 1.0)
        for one in work.entrants
    ]


def serve(
    study: Study, *, limit: int = 8, segments: int | None = None, ran: list | None = None
) -> Study:
    """Runs the study's segments, one at a time."""
    for _ in itertools.count() if segments is None else range(segments):
        if study.done:
            break
        work = study.next_segment(limit, split=1)
        if work is None:
            assert study.done
            break
        assert len(work.numbers) <= limit
        if ran is not None:
            ran += [(number, work.from_step, work.to_step) for number in work.numbers]
        study.record(
            work, results(work), {number: f"states/{number}" for number in work.numbers}, 1.0
        )
    return study


@pytest.mark.parametrize("pruner", list(PRUNERS))
@pytest.mark.parametrize("objective", ["front", "score"])
def test_every_trial_ends_and_lora_is_among_the_complete(tmp_path, pruner, objective):
    ran: list = []
    study = serve(open_study(tmp_path, pruner=pruner, objective=objective), ran=ran)
    study.close()
    states = [record.state for record in study.records.values()]
    assert len(states) == 24
    assert set(states) <= {"complete", "paused"}
    lora = [study.records[number] for number in (0, 1)]
    assert [one.state for one in lora] == ["complete"] * 2
    assert [one.spec.adapter.method for one in lora] == ["LoRA"] * 2
    assert lora[0].n_params > lora[1].n_params
    assert len(ran) == len(set(ran)), "no trial is trained over the same rung twice"
    for record in study.records.values():
        assert set(record.curve) == {step for step in RUNGS if step <= record.step}
    assert (states.count("complete") == 24) == (pruner == "none" or "paused" not in states)


@pytest.mark.parametrize("pruner", list(PRUNERS))
def test_with_many_workers_no_trial_is_in_two_segments(tmp_path, pruner):
    """Segments come back in any order, while trials of the same rung are on their way."""
    study, generator = open_study(tmp_path, n_trials=40, pruner=pruner), random.Random(0)
    ran: set = set()
    flying: list = []
    while not study.done:
        work = study.next_segment(4, split=1) if len(flying) < 5 else None
        if work is not None:
            busy = {number for other in flying for number in other.numbers}
            assert not busy & set(work.numbers)
            assert not ran & {(number, work.to_step) for number in work.numbers}
            assert all(study.records[number].step == work.from_step for number in work.numbers)
            ran |= {(number, work.to_step) for number in work.numbers}
            flying.append(work)
        elif flying:
            back = flying.pop(generator.randrange(len(flying)))
            study.record(
                back, results(back), {number: f"states/{number}" for number in back.numbers}, 1.0
            )
    assert not flying
    assert len(study.records) == 40
    assert {record.state for record in study.records.values()} <= {"complete", "paused"}


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_every_proposal_fits_and_is_new(tmp_path, sampler):
    n_trials = 16 if sampler == "gp" else 40  # its proposals take seconds
    study = serve(
        open_study(tmp_path, n_trials=n_trials, sampler=sampler, pruner="successive_halving")
    )
    assert len(study.records) == n_trials
    assert all(record.n_params <= BUDGET for record in study.records.values())
    assert len({study.space.key(record.spec) for record in study.records.values()}) == n_trials


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "gp"])
def test_the_same_seed_proposes_the_same(tmp_path, sampler):
    specs = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        study = serve(open_study(tmp_path / name, sampler=sampler, seed=3))
        specs.append([record.spec for record in study.records.values()])
    assert specs[0] == specs[1]


def test_it_goes_on_from_any_point_of_its_journal(tmp_path):
    """Whatever line a crash came after: no finished rung runs again, no trial is lost or
    doubled, and the answer is that of an undisturbed search."""
    whole = tmp_path / "whole"
    whole.mkdir()
    expected = decisions(serve(open_study(whole)))
    lines = (whole / "trials.jsonl").read_bytes().splitlines(keepends=True)
    for cut in range(0, len(lines) + 1, 11):
        folder = tmp_path / str(cut)
        folder.mkdir()
        shutil.copy(whole / "study.journal", folder)
        (folder / "trials.jsonl").write_bytes(
            b"".join(lines[:cut]) + lines[min(cut, len(lines) - 1)][:7]
        )
        study = open_study(folder)
        before = {
            (record.number, step) for record in study.records.values() for step in record.curve
        }
        specs = {record.number: record.spec for record in study.records.values()}
        ran: list = []
        serve(study, ran=ran)
        assert not before & {(number, to_step) for number, _, to_step in ran}
        assert sorted(study.records) == list(range(24))
        assert all(study.records[number].spec == spec for number, spec in specs.items())
        assert decisions(study) == expected


def test_a_crash_in_mid_segment_gives_its_trials_back(tmp_path):
    study = serve(open_study(tmp_path), segments=2)
    lost = study.next_segment(8, split=1)
    again = open_study(tmp_path)
    assert all(again.records[number].state == "waiting" for number in lost.numbers)
    assert [again.records[number].step for number in lost.numbers] == [lost.from_step] * len(
        lost.numbers
    )


def test_more_trials_may_be_asked_for_later(tmp_path):
    serve(open_study(tmp_path, n_trials=8))
    study = serve(open_study(tmp_path, n_trials=16))
    assert sorted(study.records) == list(range(16))


def test_a_search_taken_further_tries_the_known_methods_it_left_out(tmp_path):
    known = [
        tuple(point.items()) for point in SearchSpace.load("default", GEOMETRY, BUDGET).seeds()
    ]
    serve(open_study(tmp_path, n_trials=8))
    study = serve(open_study(tmp_path, n_trials=40))
    points = [tuple(study.records[number].point.items()) for number in range(40)]
    assert points[:4] == known[:4]
    assert points[8 : 8 + len(known) - 4] == known[4:]


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_search_that_is_opened_again_proposes_anew(tmp_path, sampler):
    """Not what it proposed before, nudged: here each trial has a process of its own."""
    n_known = len(SearchSpace.load("default", GEOMETRY, BUDGET).seeds())
    for _ in range(n_known + 6):
        study = open_study(tmp_path, n_trials=40, sampler=sampler, pruner="none")
        begun = study.start(FRESH, study.propose(1))
        study.record(begun, results(begun), {begun.numbers[0]: None}, 1.0)
        study.close()
    points = [study.records[number].point for number in range(n_known, n_known + 6)]
    numbers = [name for name, value in points[0].items() if isinstance(value, float)]
    for one, other in itertools.combinations(points, 2):
        assert any(abs(one[name] / other[name] - 1) > 0.2 for name in numbers)


def shown(folder) -> dict[int, optuna.trial.FrozenTrial]:
    """What optuna-dashboard shows of each trial: the last that its journal holds."""
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(folder / "study.journal"))
    )
    trials = optuna.load_study(study_name="tenslora-search", storage=storage).trials
    return {trial.user_attrs["number"]: trial for trial in trials}


@pytest.mark.parametrize("kind", ["whole", "taken further", "a process a segment", "stopped"])
def test_optuna_sees_the_same_study(tmp_path, kind):
    study = open_study(tmp_path, n_trials=12 if kind == "taken further" else 24)
    if kind == "a process a segment":
        while not study.done:
            serve(study, segments=1).close()
            study = open_study(tmp_path)
    elif kind == "taken further":
        serve(study).close()
        study = serve(open_study(tmp_path))
    elif kind == "stopped":
        serve(study, segments=3).stop()
        study.close()
        assert "RUNNING" in {trial.state.name for trial in shown(tmp_path).values()}
        study = serve(open_study(tmp_path))
    else:
        serve(study)
    study.close()
    names = {"complete": "COMPLETE", "paused": "PRUNED"}
    trials = shown(tmp_path)
    assert {number: trial.state.name for number, trial in trials.items()} == {
        number: names[record.state] for number, record in study.records.items()
    }
    for number, record in study.records.items():
        assert trials[number].user_attrs["n_params"] == record.n_params
        assert trials[number].params == record.point
        if record.state == "complete":
            assert trials[number].values == [record.score, math.log10(record.n_params)]
    n_told = len(study.dashboard.study.trials)
    assert len(open_study(tmp_path).dashboard.study.trials) == n_told


def test_a_trial_told_as_pruned_ends_as_a_second_one(tmp_path, monkeypatch):
    """Which the climbing of a search taken further brings about."""

    def relents(eta, n_rungs):
        """Lets all climb once there are more than ten, and nobody before."""
        return lambda standings, rung: {
            one.number for one in standings if len(one.scores) == rung + 1 and len(standings) > 10
        }

    monkeypatch.setattr(
        "tenslora_search.study.study.PRUNERS", Table("pruner", {"relents": relents})
    )
    serve(open_study(tmp_path, n_trials=10, pruner="relents")).close()
    pruned = {number for number, trial in shown(tmp_path).items() if trial.state.name == "PRUNED"}
    study = serve(open_study(tmp_path, n_trials=30, pruner="relents"))
    study.close()
    again = {number for number in pruned if study.records[number].state == "complete"}
    assert again
    assert len(study.dashboard.study.trials) == 30 + len(again)
    assert {trial.user_attrs["number"] for trial in study.dashboard.study.best_trials} == set(
        study.front()
    )


def test_a_trial_without_a_finite_score_fails_alone(tmp_path):
    study = open_study(tmp_path)
    work = study.next_segment(8, split=1)
    rows = results(work)
    rows[2] = TrialResult(
        work.numbers[2], work.to_step, None, None, "the loss was not finite at step 2", 1.0
    )
    rows[3] = TrialResult(work.numbers[3], work.to_step, math.nan, 0.5, None, 1.0)
    study.record(work, rows, {number: f"states/{number}" for number in work.numbers}, 1.0)
    serve(study)
    study.close()
    assert study.records[work.numbers[2]].state == "failed"
    assert study.records[work.numbers[2]].reason == "the loss was not finite at step 2"
    assert study.records[work.numbers[3]].state == "failed"
    others = [
        record.state for number, record in study.records.items() if number not in work.numbers[2:4]
    ]
    assert set(others) <= {"complete", "paused"}
    again = open_study(tmp_path)
    assert [one.seconds for one in again.records.values()] == [
        one.seconds for one in study.records.values()
    ]
    assert again.records[work.numbers[2]].seconds == 1.0
    assert again.records[work.numbers[2]].reason == "the loss was not finite at step 2"
    assert again.done


def test_a_segment_that_cannot_run_is_tried_once_more(tmp_path):
    study = open_study(tmp_path, n_trials=8)
    work = study.next_segment(8, split=1)
    study.fail(work, "its worker was lost")
    again = study.next_segment(8, split=1)
    assert again.numbers == work.numbers
    study.fail(again, "its worker was lost")
    assert all(study.records[number].reason == "its worker was lost" for number in work.numbers)
    assert study.done


def test_stopping_hands_out_nothing_more(tmp_path):
    study = serve(open_study(tmp_path), segments=2)
    study.stop()
    assert study.next_segment(8, split=1) is None
    assert study.done


def test_a_small_space_runs_out(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(
        'construction = ["none"]\ndecomposition = ["cp"]\nlearning_rate = 1e-2\nsize = { low = '
        "0.1, high = 1.0 }\n"
    )
    study = serve(open_study(tmp_path, space=str(path), budget=4 * 9 * 64, n_trials=50))
    assert study.exhausted
    assert sorted(record.spec.adapter.ranks for record in study.records.values()) == [
        (1,),
        (2,),
        (3,),
        (4,),
    ]
    assert study.done


def test_while_others_run_it_hands_out_what_is_there_and_then_waits(tmp_path):
    study = open_study(tmp_path, n_trials=12)
    first, second = study.next_segment(8, split=1), study.next_segment(8, split=1)
    assert (len(first.numbers), len(second.numbers)) == (6, 6)
    assert study.next_segment(8, split=1) is None
    assert not study.done


def test_what_came_back_first_goes_on_first_where_that_is_asked_for(tmp_path):
    """Full packs of the highest rung, before the others of the lowest have been there."""
    study = open_study(tmp_path, n_trials=24, pruner="none", asynchronous=True)
    serve(study, limit=4, segments=1)
    assert study.next_segment(4).from_step == RUNGS[0]


def test_a_wave_is_judged_when_its_last_trial_is_back(tmp_path):
    study = open_study(tmp_path, n_trials=24)
    first = [study.next_segment(8, split=4) for _ in range(4)]
    assert [len(one.numbers) for one in first] == [4, 4, 4, 4]
    for one in reversed(first):
        assert study.next_segment(8) is None
        study.record(one, results(one), dict.fromkeys(one.numbers), 1.0)
    second = study.next_segment(8, split=1)
    assert second.from_step == RUNGS[0]
    assert len(study.records) == 24
    assert {"waiting", "running", "paused"} >= {one.state for one in study.records.values()}


def decisions(study: Study) -> list:
    """Everything that a study decided and what came of it, in no order of time."""
    return [
        (one.number, one.point, one.spec, one.curve, one.state) for one in study.records.values()
    ]


@pytest.mark.parametrize("pruner", ["front", "successive_halving", "median"])
def test_the_answer_does_not_depend_on_who_comes_back_first(tmp_path, pruner):
    """One worker, or five that come back in any order."""
    found = []
    for n_workers in (1, 5):
        folder = tmp_path / str(n_workers)
        folder.mkdir()
        study, flying = open_study(folder, n_trials=50, pruner=pruner), []
        generator = random.Random(n_workers)
        while not study.done:
            work = study.next_segment(8) if len(flying) < n_workers else None
            if work is not None:
                flying.append(work)
            elif flying:
                back = flying.pop(generator.randrange(len(flying)))
                study.record(back, results(back), dict.fromkeys(back.numbers), 1.0)
        found.append(decisions(study))
    assert found[0] == found[1]
    assert any(one[-1] == "complete" for one in found[0])


def test_the_front_is_not_dominated(tmp_path):
    study = serve(open_study(tmp_path, pruner="none", n_trials=20))
    front = study.front()
    for number in front:
        one = study.records[number]
        rivals = [
            other
            for other in study.records.values()
            if other.n_params <= one.n_params and other is not one
        ]
        assert all(other.score <= one.score for other in rivals)
    assert [study.records[number].score for number in front] == sorted(
        (study.records[n].score for n in front), reverse=True
    )


def test_a_long_front_is_whole(tmp_path, monkeypatch):
    """Its best included."""
    monkeypatch.setitem(globals(), "score", lambda spec, step: 1 - spec.adapter.n_params**-0.3)
    study = serve(open_study(tmp_path, pruner="none", n_trials=40))
    monkeypatch.setattr("tenslora_search.study.records.estimates_of", lambda records: {})
    front = study.front()
    assert len(front) > 20
    assert study.records[front[0]].score == max(one.score for one in study.records.values())


def test_the_front_of_a_search_that_is_over_goes_by_the_estimates(tmp_path, monkeypatch):
    """The luckiest seed is not on it."""
    study = serve(open_study(tmp_path, pruner="none", n_trials=12))
    lucky, *others = study.front()
    told = {number: (one.score, 0.0, 1.0) for number, one in study.records.items()}
    told[lucky] = (0.0, 0.0, 0.0)
    monkeypatch.setattr("tenslora_search.study.records.estimates_of", lambda records: told)
    found = study.front()
    assert lucky not in found
    assert set(others) <= set(found)


def test_when_nothing_new_is_begun_those_on_their_way_reach_the_top(tmp_path):
    study = serve(open_study(tmp_path, n_trials=24), limit=8, segments=1)
    n_begun = len(study.records)
    assert n_begun == 16
    while work := study.next_segment(8, fresh=False):
        study.record(
            work, results(work), {number: f"states/{number}" for number in work.numbers}, 1.0
        )
    assert len(study.records) == n_begun
    assert any(record.state == "complete" for record in study.records.values())
    begun = [record for record in study.records.values() if record.rungs]
    assert len(begun) == 8
    assert all(record.state in ("complete", "paused", "failed") for record in begun)


def test_the_sampler_sees_every_score_there_is_and_is_asked_for_a_whole_batch(
    tmp_path, monkeypatch
):
    """Paused trials and those on their way too, each with the score at its last rung."""
    asked: list[tuple[dict, int]] = []

    def spying(space, seed, objective):
        """Notes what it is asked."""
        propose = SAMPLERS["random"](space, seed, objective)

        def spy(seen, count):
            asked.append(({one.number: one.score for one in seen if one.scores}, count))
            return propose(seen, count)

        return spy

    monkeypatch.setattr(
        "tenslora_search.study.study.SAMPLERS", Table("sampler", {"spying": spying})
    )
    study = serve(open_study(tmp_path, sampler="spying", n_trials=40), segments=2)
    reached = {
        number: record.score for number, record in study.records.items() if record.score is not None
    }
    assert len(reached) >= 16
    study.next_segment(8, split=1)
    assert asked[-1] == (reached, 16)


def test_a_sampler_that_has_no_more_to_propose_ends_the_search(tmp_path, monkeypatch):
    def silent(space, seed, objective):
        """Proposes nothing."""
        return lambda seen, count: []

    table = Table("sampler", {"silent": silent})
    monkeypatch.setattr("tenslora_search.study.study.SAMPLERS", table)
    study = serve(open_study(tmp_path, sampler="silent"))
    assert study.done
    assert study.exhausted


def cut(work, step: int) -> list[TrialResult]:
    return [TrialResult(number, step, None, 0.5, None, 1.0) for number in work.numbers]


def test_a_trial_that_was_cut_short_goes_on_from_there(tmp_path):
    study = open_study(tmp_path, n_trials=8)
    work = study.next_segment(8, split=1)
    files = {number: f"states/{number}-2" for number in work.numbers}
    study.record(work, cut(work, 2), files, 1.0)
    again = open_study(tmp_path, n_trials=8).next_segment(8, split=1)
    assert (again.numbers, again.from_step, again.to_step) == (work.numbers, 2, RUNGS[0])
    assert [one.state for one in again.entrants] == [
        str(tmp_path / files[number]) for number in work.numbers
    ]
    assert all(record.score is None for record in study.records.values())
    serve(open_study(tmp_path, n_trials=8))


def test_a_segment_that_was_cut_before_its_first_step_is_as_if_it_was_not(tmp_path):
    study = open_study(tmp_path, n_trials=8)
    work = study.next_segment(8, split=1)
    study.record(work, cut(work, 0), dict.fromkeys(work.numbers), 1.0)
    again = study.next_segment(8, split=1)
    assert (again.numbers, again.from_step) == (work.numbers, 0)


def test_a_trial_whose_state_is_lost_begins_again_on_its_way_to_the_same_rung(tmp_path):
    study = serve(open_study(tmp_path, pruner="none", n_trials=8), limit=4, segments=2)
    work = study.next_segment(4, split=1)
    assert work.from_step == RUNGS[0]
    lost, *others = work.numbers
    study.give_back(work)
    study.lose(lost)
    segments = [study.next_segment(4, split=1) for _ in range(3)]
    alone = next(one for one in segments if one.numbers == (lost,))
    assert (alone.from_step, alone.to_step, alone.entrants[0].state) == (0, RUNGS[1], None)
    for one in segments:
        study.record(one, results(one), dict.fromkeys(one.numbers), 1.0)
    assert set(study.records[lost].curve) == {RUNGS[0], RUNGS[1]}
    assert not study.records[lost].is_lost
    assert others


@pytest.mark.parametrize("content", [None, b"", b"garbage\n", b"\xff\x00", "cut", "foreign"])
def test_the_dashboard_is_made_anew_where_it_does_not_tell_of_the_search(tmp_path, content):
    folder = tmp_path / "run"
    folder.mkdir()
    study = serve(open_study(folder))
    study.close()
    path, expected = folder / "study.journal", shown(folder)
    if content == "foreign":
        (tmp_path / "other").mkdir()
        serve(open_study(tmp_path / "other", seed=9)).close()
        shutil.copy(tmp_path / "other" / "study.journal", path)
    elif content == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    (folder / "study.journal.lock").symlink_to("study.journal")
    (folder / "study.journal.lock.rename").touch()
    open_study(folder).close()
    found = shown(folder)
    assert {number: (one.state, one.params, one.values) for number, one in found.items()} == {
        number: (one.state, one.params, one.values) for number, one in expected.items()
    }
    assert not list(folder.glob("study.journal.lock*"))


def test_a_journal_of_other_rungs_is_refused(tmp_path):
    serve(open_study(tmp_path, n_trials=8))
    text = (tmp_path / "trials.jsonl").read_text()
    (tmp_path / "trials.jsonl").write_text(text.replace('"step":3,', '"step":2,'))
    with pytest.raises(QuestionError, match="was scored at step 2; the rungs are 3, 9, 27"):
        open_study(tmp_path)


def test_a_state_outside_the_folder_is_refused(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    serve(open_study(folder, n_trials=8), segments=1)
    (folder / "states").symlink_to(tmp_path)
    with pytest.raises(QuestionError, match="leads out of the run folder"):
        serve(open_study(folder, n_trials=8))


def test_of_equal_scores_the_smallest_is_the_front(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "score", lambda spec, step: 0.5)
    study = serve(open_study(tmp_path, pruner="none", n_trials=10))
    complete = [record for record in study.records.values() if record.state == "complete"]
    assert len(complete) == 10
    assert study.front() == [min(complete, key=lambda one: (one.n_params, one.number)).number]


def test_wherever_it_is_killed_the_search_that_goes_on_is_the_undisturbed_one(
    tmp_path, monkeypatch
):
    """The same answer every time: points, specifications, rungs, ends."""
    append, ends = Journal.append, [0]

    def noted(self, *events):
        append(self, *events)
        ends.append(self.path.stat().st_size)

    (tmp_path / "whole").mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "append", noted)
        whole = serve(open_study(tmp_path / "whole", n_trials=16, seed=3)).records
    content = (tmp_path / "whole" / "trials.jsonl").read_bytes()
    assert len(set(ends)) > 8
    for end in sorted(set(ends)):
        folder = tmp_path / str(end)
        folder.mkdir()
        (folder / "trials.jsonl").write_bytes(content[:end])
        again = serve(open_study(folder, n_trials=16, seed=3)).records
        assert {
            number: (one.point, one.spec, one.curve, one.state) for number, one in again.items()
        } == {number: (one.point, one.spec, one.curve, one.state) for number, one in whole.items()}
