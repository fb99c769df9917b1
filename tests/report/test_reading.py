"""read_run(): what a folder says, by hand; older folders, torn lines and unknown specifications."""

import json
import math
import shutil

import pytest

from tenslora_search.report.pages.evidence import proof_sentence
from tenslora_search.report.reading import read_run
from tenslora_search.report.rows import columns_of, frame
from tenslora_search.spec.table import QuestionError

LINE = {
    "event": "segment",
    "id": "segment-00001",
    "numbers": [0],
    "from_step": 0,
    "to_step": 222,
    "seconds": 2.0,
}


def trials_of(folder):
    return frame(read_run(folder).rows)


def events(folder):
    return [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]


def rewrite(folder, changed):
    (folder / "trials.jsonl").write_text("".join(json.dumps(event) + "\n" for event in changed))


def test_one_row_a_trial(digits):
    record = read_run(digits)
    trials = frame(record.rows)
    assert list(trials.columns) == columns_of(record.rows)
    assert list(trials["number"]) == list(range(48))
    assert trials["state"].value_counts().to_dict() == {"paused": 38, "complete": 10}
    retests = [
        event["report_score"]
        for event in events(digits)
        if event["event"] == "retest" and event["number"] == 38
    ]
    row = trials.set_index("number").loc[38]
    assert (row["n_retests"], row["report_score"]) == (3, pytest.approx(sum(retests) / 3))
    assert row["bytes"] == 4 * row["n_params"]
    assert row["lora_bytes"] >= 4 * row["lora_rank"] > 0
    assert record.curves[38] == [
        (event["step"], event["score"])
        for event in events(digits)
        if event["event"] == "rung" and event["number"] == 38
    ]


def test_when_a_trial_was_complete(write_run, tmp_path):
    folder = write_run(tmp_path / "run", 40)
    seconds, waiting, expected = 0.0, [], {}
    for event in events(folder):
        if event["event"] == "complete":
            waiting.append(event["number"])
        if event["event"] == "segment":
            seconds += event["seconds"]
            expected |= dict.fromkeys(waiting, seconds)
            waiting = []
    trials = trials_of(folder).set_index("number")
    assert trials["completed_at"].dropna().to_dict() == pytest.approx(expected)
    assert set(expected) == set(trials.index[trials["state"] == "complete"])


def test_peak_memory_where_the_rungs_have_it(write_run, tmp_path):
    assert trials_of(write_run(tmp_path / "without", 5))["peak_memory_mb"].isna().all()
    assert (
        trials_of(write_run(tmp_path / "with", 5, peak_memory=True))["peak_memory_mb"] > 40
    ).all()


def test_folders_of_older_versions(write_run, tmp_path):
    """Fewer entries in run.json, fewer fields in specifications, no retests."""

    def change(event):
        if event["event"] != "proposed":
            return event
        spec = {
            name: value
            for name, value in event["spec"].items()
            if name not in ("warmup", "clip", "weight_decay")
        }
        spec["adapter"] = {
            name: value for name, value in spec["adapter"].items() if name != "head_layout"
        }
        return {**event, "spec": spec}

    folder = write_run(tmp_path / "run", 9, change=change, retests=0)
    file = json.loads((folder / "run.json").read_text())
    for name in ("hardware", "importances", "importances_step", "rows"):
        del file[name]
    (folder / "run.json").write_text(json.dumps(file))
    trials = trials_of(folder)
    assert trials["extra_macs"].isna().all()
    assert "warmup" not in trials.columns
    assert set(trials["learning_rate"]) == {
        event["spec"]["learning_rate"] for event in events(folder) if "spec" in event
    }
    assert (trials["bytes"] > 0).all()
    assert "9 as they were proposed" in proof_sentence(read_run(folder))


def test_the_budget_is_proved_anew(digits, tmp_path):
    """Not by what the search left in run.json, as older versions did, nor by the counts it wrote
    down.
    """
    folder = tmp_path / "run"
    folder.mkdir()
    file = json.loads((digits / "run.json").read_text())
    changed = events(digits)
    first = next(event for event in changed if event["event"] == "proposed")
    counts = [event["n_params"] for event in changed if event["event"] == "proposed"]
    first["n_params"] = 1
    rewrite(folder, changed)
    (folder / "run.json").write_text(
        json.dumps({**file, "budget": max(counts) - 1, "proof": {"checked": 4, "over": 0}})
    )
    assert proof_sentence(read_run(folder)).startswith(
        f"{counts.count(max(counts))} of 48 over budget"
    )


def test_estimates_are_of_the_folder_that_is_read(digits, tmp_path):
    """Not of one that was read before, with the same scores and other points."""
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copyfile(digits / "run.json", folder / "run.json")
    changed = events(digits)
    for event in changed:
        if event["event"] == "proposed":
            event["point"] = {**event["point"], "learning_rate": 1e-2 / (1 + event["number"])}
    rewrite(folder, changed)
    first, other, again = (trials_of(one)["estimate"].dropna() for one in (digits, folder, digits))
    assert list(first) == list(again)
    assert list(first) != list(other)


def test_an_unfinished_last_line_is_not_there_yet(write_run, tmp_path):
    folder = write_run(tmp_path / "run", 3)
    before = trials_of(folder)
    with (folder / "trials.jsonl").open("a") as file:
        file.write('{"event":"rung","numb')
    assert trials_of(folder).equals(before)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("trials.jsonl", '{"event":"journal"}\nno event\n', "line 2 is no event"),
        ("trials.jsonl", "{}\n", "line 1 is no event"),
        ("trials.jsonl", '{"event":"journal","version":99}\n', "newer tenslora-search"),
        ("run.json", '{"version": 99}', "newer tenslora-search"),
        ("run.json", '{"version": 1}', "is damaged: question, budget"),
        ("run.json", "{", "cannot be read"),
        ("run.json", None, "no run folder"),
    ],
)
def test_what_cannot_be_read(write_run, tmp_path, name, content, message):
    folder = write_run(tmp_path / "run", 3)
    (folder / name).unlink() if content is None else (folder / name).write_text(content)
    with pytest.raises(QuestionError, match=message):
        read_run(folder)


def test_states_and_reasons(write_run, tmp_path):
    folder = write_run(tmp_path / "run", 3)
    kept = [event for event in events(folder) if event["event"] in ("journal", "proposed")]
    rung = {"event": "rung", "step": 222, "score": 0.5, "loss": 1.0, "seconds": 1.0, "state": ""}
    extra = [
        {**rung, "number": 0},
        {**rung, "number": 1},
        LINE,
        {"event": "paused", "number": 0, "step": 222},
        {"event": "promoted", "number": 1, "step": 222},
        {"event": "failed", "number": 2, "step": 0, "reason": "why"},
    ]
    rewrite(folder, kept + extra)
    trials = trials_of(folder)
    assert list(trials["state"]) == ["paused", "running", "failed"]
    assert list(trials["reason"]) == ["", "", "why"]
    assert list(trials["score"])[:2] == [0.5, 0.5]
    assert math.isnan(trials["score"][2])
