"""gate(): a front held up to an older one, within the noise of both."""

import json
import shutil
from pathlib import Path

import pytest

from tenslora_search.report.gate import gate
from tenslora_search.spec.table import QuestionError


def moved(digits: Path, folder: Path, by: float, **file) -> Path:
    """A copy of the run whose scores on fresh seeds are others."""
    folder.mkdir()
    lines = []
    for line in (digits / "trials.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "retest":
            event["report_score"] += by
        lines.append(json.dumps(event))
    (folder / "trials.jsonl").write_text("\n".join(lines) + "\n")
    said = json.loads((digits / "run.json").read_text()) | file
    (folder / "run.json").write_text(json.dumps(said))
    return folder


def test_it_holds_up_to_itself_and_to_what_is_worse(digits, tmp_path):
    same = gate(digits, digits)
    assert same.holds
    assert len(same.members) > 1
    assert all(one.new == one.old for one in same.members)
    assert gate(digits, moved(digits, tmp_path / "low", -0.3)).holds


def test_a_run_of_luckier_trials_off_its_front_holds_up_to_itself(write_run, tmp_path):
    run = write_run(tmp_path / "run", 120, seed=1)
    assert all(one.new == one.old for one in gate(run, run, slack=1.0).members)
    assert gate(run, run, slack=3.0).holds


def test_within_the_noise_it_holds_and_beyond_it_does_not(digits, tmp_path):
    margin = max(one.margin for one in gate(digits, digits).members)
    assert gate(moved(digits, tmp_path / "near", -0.5 * margin), digits).holds
    verdict = gate(moved(digits, tmp_path / "far", -1.5 * margin), digits)
    assert not verdict.holds
    assert gate(moved(digits, tmp_path / "allowed", -1.5 * margin), digits, within=margin).holds
    assert str(verdict).endswith("gate: worse than before, beyond the noise (accuracy on report)")
    assert json.loads(json.dumps(verdict.to_json(), allow_nan=False))["holds"] is False


def test_a_front_that_lost_its_small_members_is_worse(digits, tmp_path):
    best = gate(digits, digits).members[0].old
    large = shutil.copytree(digits, tmp_path / "large")
    kept = [
        line
        for line in (large / "trials.jsonl").read_text().splitlines()
        if json.loads(line)["event"] != "retest" or json.loads(line)["number"] in (0, best)
    ]
    (large / "trials.jsonl").write_text("\n".join(kept) + "\n")
    verdict = gate(large, digits)
    assert any(one.new is None and not one.holds for one in verdict.members)
    assert "nothing on the new front is as small" in str(verdict)
    small = min(one.old_score for one in verdict.members)
    alone = [{"event": "head_alone", "seed": s, "score": small + 0.001 * s} for s in (1, 2)]
    with (large / "trials.jsonl").open("a") as file:
        file.writelines(f"{json.dumps(one)}\n" for one in alone)
    held = [one for one in gate(large, digits).members if one.new is None]
    assert [one.holds for one in held if one.old_score == small] == [True]
    assert "(without an adapter)" in str(gate(large, digits))


def test_what_cannot_be_compared_is_one_line(digits, write_run, tmp_path):
    with pytest.raises(QuestionError, match=r"the task of .* is digits, of .* sst2"):
        gate(moved(digits, tmp_path / "other", 0.0, task="sst2"), digits)
    with pytest.raises(QuestionError, match=r"--slack is 1 or more; got 0.5"):
        gate(digits, digits, slack=0.5)
    bare = write_run(tmp_path / "bare", 40, retests=0)
    with pytest.raises(QuestionError, match=r"no member of the front of .* was retested"):
        gate(bare, bare)
    once = write_run(tmp_path / "once", 40, retests=1)
    twice = write_run(tmp_path / "twice", 40, retests=2)
    for pair in ((once, twice), (twice, once)):
        with pytest.raises(QuestionError, match=r"/once were retested on one seed, .* --retest 2"):
            gate(*pair)
