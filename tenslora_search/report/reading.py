"""read_run(): a run folder as data frames; from run.json and trials.jsonl alone."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tenslora_search.spec.table import QuestionError

COLUMNS = (
    "number", "state", "method", "construction", "decomposition", "ranks", "n_params", "head_params", "score", "report_score",
    "report_std", "step", "seconds", "reason", "scale", "learning_rate", "rule", "n_retests",
)  # fmt: skip


@dataclass(frozen=True)
class RunRecord:
    """A run as read: its file, one row a trial, and one row a rung (number, step, score, loss, seconds)."""

    folder: Path
    file: dict[str, Any]
    trials: pd.DataFrame
    rungs: pd.DataFrame
    retests: pd.DataFrame
    segments: pd.DataFrame


def read_run(folder: str | Path) -> RunRecord:
    """`QuestionError` if the folder holds no run, or one that cannot be read."""
    folder = Path(folder)
    file, events = _run_file(folder / "run.json"), _events(folder / "trials.jsonl")
    kinds = {
        kind: [event for event in events if event["event"] == kind]
        for kind in ("proposed", "rung", "retest", "segment", "failed", "complete", "paused", "promoted")
    }
    rungs = pd.DataFrame(kinds["rung"], columns=["number", "step", "score", "loss", "seconds"])
    retests = pd.DataFrame(kinds["retest"], columns=["number", "seed", "report_score", "seconds"])
    segments = pd.DataFrame(kinds["segment"], columns=["id", "numbers", "from_step", "to_step", "seconds"])
    states: dict[int, str] = {}
    reasons: dict[int, str] = {}
    for event in events:
        if event["event"] in STATES:
            states[event["number"]] = STATES[event["event"]]
            reasons[event["number"]] = event.get("reason", "")
    rows = [_row(event, states, reasons, file) for event in kinds["proposed"]]
    trials = pd.DataFrame(rows, columns=[name for name in COLUMNS if name not in DERIVED]).set_index("number", drop=False)
    last = rungs.sort_values("step").drop_duplicates("number", keep="last").set_index("number")
    trials["score"], trials["step"] = (
        last["score"].reindex(trials.index),
        last["step"].reindex(trials.index).fillna(0).astype(int),
    )
    trials["seconds"] = rungs.groupby("number")["seconds"].sum().reindex(trials.index).fillna(0.0)
    by_trial = retests.groupby("number")["report_score"]
    trials["report_score"], trials["report_std"] = by_trial.mean().reindex(trials.index), by_trial.std().reindex(trials.index)
    trials["n_retests"] = by_trial.count().reindex(trials.index).fillna(0).astype(int)
    return RunRecord(folder, file, trials[list(COLUMNS)].reset_index(drop=True), rungs, retests, segments)


STATES = {
    "proposed": "running",
    "rung": "running",
    "promoted": "running",
    "paused": "paused",
    "complete": "complete",
    "failed": "failed",
}
"""What a trial is after an event."""
DERIVED = ("score", "step", "seconds", "report_score", "report_std", "n_retests")


def _row(event: dict[str, Any], states: dict[int, str], reasons: dict[int, str], file: dict[str, Any]) -> dict[str, Any]:
    spec = event["spec"]
    known = {name: event[name] for name in ("number", "n_params", "method", "construction", "decomposition")}
    return {
        **known,
        "ranks": ",".join(map(str, event["ranks"])),
        "state": states[event["number"]],
        "reason": reasons.get(event["number"], ""),
        "head_params": file["head_params"],
        "scale": spec["adapter"]["scale"],
        "learning_rate": spec["learning_rate"],
        "rule": spec["rule"],
    }


def _run_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise QuestionError(f"{path.parent} is no run folder: run.json is missing.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise QuestionError(f"{path} cannot be read: {error}.") from error


def _events(path: Path) -> list[dict[str, Any]]:
    """The events of a journal that may still be written to: a last line without its end is not there yet."""
    if not path.is_file():
        return []
    events = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            events.append(json.loads(line))
        except ValueError as error:
            raise QuestionError(f"{path} is damaged: line {number} is no event.") from error
    return events
