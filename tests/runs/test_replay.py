"""replay(): what a journal's events make of its trials."""

import pytest

from tenslora_search.runs.events import (
    Complete,
    Failed,
    Opened,
    Paused,
    Promoted,
    Proposed,
    Retest,
    RetestFailed,
    Rung,
    SegmentDone,
    read_events,
)
from tenslora_search.runs.journal import Journal
from tenslora_search.runs.replay import Replay, replay, replayed
from tenslora_search.spec.table import QuestionError


def proposed(number: int) -> Proposed:
    return Proposed(number, {}, {}, 10 * (number + 1), "LoRA", "none", "cp", (1,))


BEGUN = [
    Opened(1),
    proposed(0),
    proposed(1),
    Rung(0, 3, 0.4, 1.0, 2.0, None, "states/0-3"),
    Rung(1, 3, 0.5, 0.9, 2.0, 7.0, "states/1-3"),
    SegmentDone("segment-00004", (0, 1), 0, 3, 4.0),
]


def test_a_rung_is_reached_then_judged():
    records = replay(BEGUN)
    assert [one.state for one in records.values()] == ["reached", "reached"]
    assert (records[1].step, records[1].score, records[1].file) == (3, 0.5, "states/1-3")
    records = replay([*BEGUN, Promoted(1, 3), Paused(0, 3)])
    assert [one.state for one in records.values()] == ["paused", "waiting"]


def test_seconds_are_counted_until_a_trial_is_complete():
    told = Replay()
    last = Rung(1, 9, 0.6, 0.8, 5.0)
    done = SegmentDone("segment-00005", (1,), 3, 9, 5.0)
    for event in [*BEGUN, Promoted(1, 3), last, Complete(1, 9, 0.6), done]:
        told.apply(event)
    record = told.records[1]
    assert (record.state, record.completed_at, record.seconds) == ("complete", 9.0, 7.0)
    assert record.curve == {3: 0.5, 9: 0.6}
    assert told.n_segments == 5


def test_a_failure_says_why():
    record = replay([*BEGUN, Failed(0, 9, "no memory", 1.5)])[0]
    assert (record.state, record.reason, record.seconds) == ("failed", "no memory", 3.5)


def test_a_failed_retest_is_made_good():
    failed = RetestFailed(0, 1, "lost")
    assert replay([*BEGUN, failed])[0].failed_retests == {1: "lost"}
    record = replay([*BEGUN, failed, Retest(0, 1, 0.7)])[0]
    assert record.failed_retests == {}
    assert record.retests[1].report_score == 0.7


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        (Rung(7, 3, 0.5), "event rung of trial 7: it was not proposed before"),
        (Retest(7, 3, 0.5), "event retest of trial 7"),
        (RetestFailed(7, 3, ""), "event retest_failed of trial 7"),
        (proposed(0), "event proposed of trial 0: 2 is the next trial"),
        (proposed(9), "event proposed of trial 9: 2 is the next trial"),
        (Rung(0, 3, 0.5), "event rung of trial 0: it has reached step 3 before"),
    ],
)
def test_events_out_of_order_are_refused(event, problem):
    with pytest.raises(QuestionError, match=problem):
        replay([*BEGUN, event])


def test_an_old_journal(folder):
    records = replay(read_events(folder / "trials.jsonl"))
    states = [one.state for one in records.values()]
    assert (len(states), states.count("complete"), states.count("paused")) == (16, 2, 14)
    assert records[9].retests[1].report_score == pytest.approx(0.7868020304568528)


def test_an_event_out_of_order_is_told_with_its_line(tmp_path):
    path = tmp_path / "trials.jsonl"
    Journal(path).append(*BEGUN)
    assert replayed(path)[0] == BEGUN
    Journal(path).append(Rung(0, 2, 0.4))
    with pytest.raises(QuestionError) as error:
        replayed(path)
    assert str(error.value).startswith(f"{path} is damaged: line 7, event rung of trial 0: ")
